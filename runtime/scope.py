"""Where code is while a step runs: the frame of its span and the lane of its task."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import anyio

    from runtime.oracle import Oracle
    from runtime.streams import Stream

UNKNOWN_LANE = "?"


class Frame:
    """One attempt of a running span."""

    __slots__ = (
        "address", "attempt", "attempts", "attributes", "calls", "completions", "draws", "findings", "generators", "log",
        "oracle", "record", "seed", "starts", "streams", "timeout", "wall",
    )  # fmt: skip

    def __init__(self, oracle: Oracle, record: int, address: str, seed: bytes, wall: int) -> None:
        self.oracle, self.record, self.address, self.seed, self.wall = oracle, record, address, seed, wall
        self.attempt = 1
        self.attempts: list[tuple[int, int, int, Any]] | None = None
        self.starts = 0
        self.completions = 0
        self.calls: dict[tuple[str, str], int] | None = None
        self.attributes: dict[str, Any] | None = None
        self.log: list[Any] | None = None
        self.findings: list[str] | None = None
        self.draws: dict[str, list[tuple[str, Any]]] | None = None
        self.generators: dict[str, Any] | None = None
        """Of its threads, whose lanes nobody knows: they share one set, or each would draw what the others do."""
        self.streams: list[Stream] | None = None
        """That its code has begun to read."""
        self.timeout: anyio.CancelScope | None = None
        """Of the attempt that runs, where the step declares one."""

    def next_attempt(self) -> None:
        """Calls of another attempt are counted anew."""
        self.attempt += 1
        self.calls = self.generators = None

    def nth(self, lane: str, name: str) -> int:
        """Count a call: 1 for the first of its name in its lane."""
        calls = self.calls
        if calls is None:
            self.calls = {(lane, name): 1}
            return 1
        count = calls[lane, name] = calls.get((lane, name), 0) + 1
        return count

    def start(self) -> int:
        """The start number of a call."""
        self.starts += 1
        return self.starts

    def complete(self) -> int:
        """The completion number of a call."""
        self.completions += 1
        return self.completions

    def reads(self, stream: Stream) -> None:
        """Close this stream when the span ends, unless it has ended before."""
        if self.streams is None:
            self.streams = []
        self.streams.append(stream)

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
        self.generators: dict[str, Any] | None = None

    def held_generators(self) -> dict[str, Any]:
        """The generators of this lane by kind."""
        holder = self.frame if self.lane == UNKNOWN_LANE else self
        if holder.generators is None:
            holder.generators = {}
        return holder.generators

    def child(self) -> Scope:
        """The scope of a task that this one spawns."""
        if self.lane == UNKNOWN_LANE:
            return Scope(self.frame, UNKNOWN_LANE)
        self.spawned += 1
        return Scope(self.frame, f"{self.lane}.{self.spawned}" if self.lane else str(self.spawned))


class EffectScope(Scope):
    """The scope of an effect's body. Few bodies ask who runs them, so their frame is made when one does.

    Args:
        oracle: of what the body calls.
        caller: where the effect was called.
        name: of the effect.
        nth: which call of that name in its lane.
        address: where that is known already.
    """

    __slots__ = ("_address", "_caller", "_name", "_nth", "_oracle", "made")

    made: Frame | None
    """The body's frame, where it was asked for."""

    def __init__(self, oracle: Oracle, caller: Scope, name: str, nth: int, address: str | None = None) -> None:
        self.lane, self.spawned, self.generators = "", 0, None
        self._oracle, self._caller, self._name, self._nth, self._address = oracle, caller, name, nth, address
        self.made = None

    def __getattr__(self, name: str) -> Frame:
        # Asked for what its slot does not hold yet: Python looks here only then.
        if name != "frame":
            raise AttributeError(name)
        caller = self._caller.frame
        attempt = caller.attempt if caller.attempt > 1 else None
        address = self._address or call_address(caller.address, attempt, self._name, self._caller.lane, self._nth)
        self.frame = self.made = Frame(self._oracle, 0, address, caller.seed, caller.wall)
        return self.made

    @property
    def attributes(self) -> dict[str, Any] | None:
        """What the body set on its span."""
        return None if self.made is None else self.made.attributes


SCOPE: ContextVar[Scope | None] = ContextVar("kitchenlog_scope", default=None)


def step_scope() -> Scope | None:
    """The scope of the step whose own code runs here: None outside every step, and inside an effect's body."""
    scope = SCOPE.get()
    return None if scope is None or isinstance(scope, EffectScope) else scope


_PLACE: Final = re.compile(r"(?:!\d+|\[\d+\])\Z")


def parent_address(address: str) -> str:
    """The address of the span around one, empty for a node: of `answer[2]/generate` it is `answer`, of `ask!2/chat` `ask`."""
    return _PLACE.sub("", address.rpartition("/")[0])


def call_address(parent: str, attempt: int | None, name: str, lane: str, nth: int, *, item: bool = False) -> str:
    """The address of a call made inside a span; `attempt` is None where the span had one.

    Where it is an iteration or item of a control node, `nth` counts those, and the lane is not told.
    """
    if item:
        return f"{parent}[{nth - 1}]/{name}"
    where = parent if attempt is None else f"{parent}!{attempt}"
    return f"{where}/{name}{f'~{lane}' if lane else ''}{f'#{nth}' if nth > 1 else ''}"
