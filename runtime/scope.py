"""Where code is while a step runs: the frame of its span and the lane of its task."""

from __future__ import annotations

import random
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anyio

    from runtime.oracle import Oracle

UNKNOWN_LANE = "?"


class Frame:
    """One attempt of a running span."""

    __slots__ = (
        "address", "attempt", "attempts", "attributes", "calls", "completions", "draws", "findings", "log", "oracle",
        "record", "seed", "starts", "timeout", "wall",
    )  # fmt: skip

    def __init__(self, oracle: Oracle, record: int, address: str, seed: bytes, wall: int) -> None:
        self.oracle, self.record, self.address, self.seed, self.wall = oracle, record, address, seed, wall
        self.attempt = 1
        self.attempts: list[tuple[int, int, int, Any]] | None = None
        self.starts = 0
        self.completions = 0
        self.calls: Counter[tuple[str, str]] | None = None
        self.attributes: dict[str, Any] | None = None
        self.log: list[Any] | None = None
        self.findings: list[str] | None = None
        self.draws: dict[str, list[tuple[str, Any]]] | None = None
        self.timeout: anyio.CancelScope | None = None
        """Of the attempt that runs, where the step declares one."""

    def next_attempt(self) -> None:
        """Calls of another attempt are counted anew."""
        self.attempt += 1
        self.calls = None

    def nth(self, lane: str, name: str) -> int:
        """Count a call: 1 for the first of its name in its lane."""
        if self.calls is None:
            self.calls = Counter()
        self.calls[lane, name] += 1
        return self.calls[lane, name]

    def start(self) -> int:
        """The start number of a call."""
        self.starts += 1
        return self.starts

    def complete(self) -> int:
        """The completion number of a call."""
        self.completions += 1
        return self.completions

    def find(self, text: str) -> None:
        """Note a finding on the span."""
        if self.findings is None:
            self.findings = []
        if text not in self.findings:
            self.findings.append(text)


class Scope:
    """A task's place in a frame."""

    __slots__ = ("frame", "generators", "lane", "spawned")

    def __init__(self, frame: Frame, lane: str = "") -> None:
        self.frame, self.lane = frame, lane
        self.spawned = 0
        self.generators: dict[str, random.Random] | None = None

    def child(self) -> Scope:
        """The scope of a task that this one spawns."""
        if self.lane == UNKNOWN_LANE:
            return Scope(self.frame, UNKNOWN_LANE)
        self.spawned += 1
        return Scope(self.frame, f"{self.lane}.{self.spawned}" if self.lane else str(self.spawned))


SCOPE: ContextVar[Scope | None] = ContextVar("kitchenlog_scope", default=None)


def call_address(parent: str, attempt: int | None, name: str, lane: str, nth: int) -> str:
    """The address of a call made inside a span; `attempt` is None where the span had one."""
    where = parent if attempt is None else f"{parent}!{attempt}"
    return f"{where}/{name}{f'~{lane}' if lane else ''}{f'#{nth}' if nth > 1 else ''}"
