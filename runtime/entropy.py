"""`runtime.current()`: what a step may ask of its run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import anyio

from runtime.errors import RuntimeMisuse
from runtime.scope import SCOPE, Scope
from storage import digest

T = TypeVar("T")
R = TypeVar("R")


class Current:
    """The span that runs now. Its clock is recorded; its randomness is derived from the trace, so both replay exactly."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def address(self) -> str:
        """Where the span sits in its trace."""
        return self._scope.frame.address

    def time(self) -> float:
        """Unix seconds, recorded."""
        return float(self._draw("time") / 1e9)

    def now(self) -> dt.datetime:
        """The time in UTC, recorded."""
        return dt.datetime.fromtimestamp(self.time(), tz=dt.UTC)

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back, recorded."""
        return float(self._draw("monotonic") / 1e9)

    @property
    def random(self) -> Random:
        """A generator of this span and lane, the same in every replay."""
        return self._generator("random")

    def uuid(self) -> UUID:
        """A version 4 UUID of this span and lane, the same in every replay."""
        return UUID(int=self._generator("uuid").getrandbits(128), version=4)

    @property
    def idempotency_key(self) -> str:
        """32 hexadecimal digits, the same for every attempt and replay of this span."""
        frame = self._scope.frame
        return digest.entropy(frame.seed, frame.address, "", "idempotency").hex()[:32]

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the span; what is set here is recorded with it."""
        frame = self._scope.frame
        if frame.attributes is None:
            frame.attributes = {}
        return frame.attributes

    def log(self, message: str, **fields: Any) -> None:
        """Record a line with the span."""
        frame = self._scope.frame
        if frame.log is None:
            frame.log = []
        frame.log.append([message, fields])

    async def map(self, fn: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
        """`fn` of every item at once, results in the items' order. Each item has a lane of its own, whoever runs first."""
        given = list(items)
        results: list[Any] = [None] * len(given)

        async def one(place: int, item: T) -> None:
            results[place] = await fn(item)

        async with anyio.create_task_group() as group:
            for place, item in enumerate(given):
                group.start_soon(one, place, item)
        return results

    async def gather(self, *calls: Callable[[], Awaitable[R]]) -> list[R]:
        """The calls at once, results in their order, each in a lane of its own."""
        return await self.map(lambda call: call(), calls)

    def _draw(self, kind: str) -> Any:
        return self._scope.frame.oracle.draw(self._scope, kind)

    def _generator(self, kind: str) -> Random:
        scope = self._scope
        held = scope.held_generators()
        made = held.get(kind)
        if made is None:
            frame = scope.frame
            where = f"{frame.address}!{frame.attempt}"
            made = held.setdefault(kind, Random(digest.entropy(frame.seed, where, scope.lane, kind)))
        return made  # type: ignore[no-any-return]


def current() -> Current:
    """The span that runs now.

    Raises:
        RuntimeMisuse: no step is running here.
    """
    scope = SCOPE.get()
    if scope is None:
        raise RuntimeMisuse("runtime.current() is for code of a running step; here none runs")
    return Current(scope)
