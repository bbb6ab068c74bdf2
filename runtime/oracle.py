"""The seam: what happens when a step or an effect is reached.

The engine asks an oracle and does not know whether it runs and records, or answers from a recording.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runtime.declaration import Bound
    from runtime.effects import EffectCall
    from runtime.scope import Scope


class Guard(Protocol):
    """Told of what a step does that leaves the process by another door than an effect."""

    def refuse(self, address: str, what: str, /) -> BaseException:
        """The exception to raise instead of doing it."""
        ...

    def writes(self, address: str, what: str, /) -> None:
        """A file is about to be written; may raise."""
        ...

    def hold(self) -> Callable[[], None]:
        """Go on guarding until what is returned was called: for a thread or task that may outlive its step."""
        ...


class Oracle(Protocol):
    """Resolves the calls made inside a span."""

    @property
    def ambient(self) -> bytes:
        """The seed of direct use of `random`, `uuid` and `os.urandom`; empty where that, and that of `time`, is let be."""
        ...

    @property
    def guard(self) -> Guard | None:
        """None where what is not declared as an effect is let be."""
        ...

    async def step(self, scope: Scope, call: Bound, /) -> Any:
        """The value of a nested step."""
        ...

    def step_sync(self, scope: Scope, call: Bound, /) -> Any:
        """As `step`, for a sync one."""
        ...

    def announce(self, scope: Scope, calls: Sequence[Bound], /) -> None:
        """These nested steps are going to be asked for, at once and in any order."""
        ...

    def glue(self, scope: Scope, call: Bound, /) -> Any:
        """The value of glue inside a span: a condition, or a derived node of an agent that runs as a step."""
        ...

    async def effect(self, scope: Scope, call: EffectCall, /) -> Any:
        """The value of an effect."""
        ...

    def effect_sync(self, scope: Scope, call: EffectCall, /) -> Any:
        """As `effect`, for a sync one."""
        ...

    def stream(self, scope: Scope, call: EffectCall, /) -> AsyncIterator[Any]:
        """As `effect`, for one that answers in pieces."""
        ...

    def draw(self, scope: Scope, kind: str, /) -> Any:
        """A reading of the clock: `time` in unix nanoseconds, `monotonic` in nanoseconds, or a kind of `runtime.ambient`."""
        ...
