"""The seam: what happens when a step or an effect is reached.

The engine asks an oracle and does not know whether it runs and records, or answers from a recording.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runtime.declaration import Bound
    from runtime.effects import EffectCall
    from runtime.scope import Scope


class Oracle(Protocol):
    """Resolves the calls made inside a span."""

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
        """A reading of the clock: `time` in unix nanoseconds, `monotonic` in nanoseconds."""
        ...
