"""What records nothing: the inside of an effect, whose outcome is recorded, and glue, which is computed again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runtime.declaration import Bound
from runtime.effects import EffectCall
from runtime.errors import RuntimeMisuse
from runtime.oracle import Guard
from runtime.scope import SCOPE, Frame, Scope


class _Raw:
    """Inside an effect everything is raw: its outcome is what is recorded."""

    ambient = b""
    guard: Guard | None = None

    async def step(self, scope: Scope, call: Bound) -> Any:
        made = call.info.run(*call.args, **call.kwargs)
        return await made if call.info.is_async else made

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        return call.info.run(*call.args, **call.kwargs)

    def announce(self, scope: Scope, calls: Sequence[Bound]) -> None:
        return

    def glue(self, scope: Scope, call: Bound) -> Any:
        return run_glue(scope.frame.address, call)

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        return await call.invoke()

    def effect_sync(self, scope: Scope, call: EffectCall) -> Any:
        return call.invoke()

    def stream(self, scope: Scope, call: EffectCall) -> AsyncIterator[Any]:
        made: AsyncIterator[Any] = call.invoke()
        return made

    def draw(self, scope: Scope, kind: str) -> Any:
        return read_clock(kind)


class _Glue:
    """Glue and conditions are computed, not recorded: they may make no call."""

    ambient = b""

    def __init__(self, guard: Guard | None = None) -> None:
        self.guard = guard

    async def step(self, scope: Scope, call: Bound) -> Any:
        return self.step_sync(scope, call)

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        raise RuntimeMisuse(f"glue {scope.frame.address} called step {call.name}: make it a step, glue has no span")

    def announce(self, scope: Scope, calls: Sequence[Bound]) -> None:
        return

    def glue(self, scope: Scope, call: Bound) -> Any:
        return self.step_sync(scope, call)

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        return self.effect_sync(scope, call)

    def effect_sync(self, scope: Scope, call: EffectCall) -> Any:
        raise RuntimeMisuse(f"glue {scope.frame.address} called effect {call.effect.name}: make it a step, glue has no span")

    def stream(self, scope: Scope, call: EffectCall) -> AsyncIterator[Any]:
        made: AsyncIterator[Any] = self.effect_sync(scope, call)
        return made

    def draw(self, scope: Scope, kind: str) -> Any:
        raise RuntimeMisuse(f"glue {scope.frame.address} read the clock: make it a step, glue has no span")


RAW = _Raw()
_GLUE = _Glue()


def read_clock(kind: str) -> int:
    """A reading of the real clock, in nanoseconds."""
    return time.time_ns() if kind == "time" else time.monotonic_ns()


def run_glue(address: str, call: Bound, guard: Guard | None = None) -> Any:
    """The value of glue: of a derived node, or of a condition.

    Args:
        address: of it.
        call: the function and what it is given.
        guard: of a replay.

    Raises:
        RuntimeMisuse: it called a step or an effect.
    """
    token = SCOPE.set(Scope(Frame(_GLUE if guard is None else _Glue(guard), 0, address, b"", 0)))
    try:
        return call.info.run(*call.args)
    finally:
        SCOPE.reset(token)


async def invoke(scope: Scope, call: EffectCall) -> Any:
    """Run an async effect's body."""
    token = SCOPE.set(scope)
    try:
        return await call.invoke()
    finally:
        SCOPE.reset(token)


def invoke_sync(scope: Scope, call: EffectCall) -> Any:
    """Run a sync effect's body."""
    token = SCOPE.set(scope)
    try:
        return call.invoke()
    finally:
        SCOPE.reset(token)
