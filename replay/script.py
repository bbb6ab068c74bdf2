"""The oracle of a span on the fast path: it answers each call only if it is the next one that was recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from runtime import failure
from runtime.ambient import is_direct
from runtime.declaration import Bound, StepInfo
from runtime.effects import ITEM, STREAM, EffectCall
from runtime.oracle import Guard
from runtime.recording import EFFECT
from runtime.scope import Scope
from storage import codec
from storage.errors import CorruptRecord
from storage.pack.scan import Unusual
from storage.records import Intent, Outcome, Ref, Span


class Recorded(Protocol):
    """The trace that answers."""

    redact: Callable[[Any], Any]
    seed: bytes
    """From which direct use of randomness is derived, as the replayer derives it."""
    outcomes: dict[int, Outcome]
    """By the record id of their intent."""
    by_intent: dict[int, tuple[int, Span]]
    """Nested spans, with their record ids, by that of their intent."""

    def data(self, ref: Ref, /) -> bytes:
        """The value of a reference.

        Raises:
            Unusual: it cannot be had, or nobody knows a part of it.
        """
        ...


class Otherwise(BaseException):
    """Something was asked that was not recorded in this place; no handler of the step's may take it for an error."""


class Taken(NamedTuple):
    """A call that was answered."""

    intent: Intent
    request: bytes
    answer: bytes
    callee: StepInfo | None
    """Of a nested step, as are the others below."""
    span: tuple[int, Span] | None
    sync: bool
    """Whether a sync step asked for it."""


class Script:
    """The oracle of one span: its calls, in the order in which they were recorded."""

    __slots__ = ("ambient", "asked", "calls", "draws", "ended", "guard", "last", "otherwise", "read", "run", "taken", "wall")

    def __init__(self, run: Recorded, calls: list[tuple[int, Intent]], span: Span) -> None:
        self.run, self.calls, self.wall = run, calls, span.wall
        self.ambient = run.seed
        self.guard: Guard | None = Door(self)
        self.draws: Sequence[tuple[str, Any]] = () if span.draws is None else span.draws.get("", ())
        self.read = 0
        self.asked = 0
        self.ended, self.last = -1, 0
        """When the call before ended, and its completion number."""
        self.otherwise = False
        self.taken: list[Taken] = []

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        """See `Oracle`."""
        return self.effect_sync(scope, call)

    def effect_sync(self, scope: Scope, call: EffectCall) -> Any:
        """See `Oracle`."""
        effect = call.effect
        request = codec.encode_request(self.run.redact(call.arguments()))
        return self._decoded(self._answer(scope, effect.name, request, None), effect.codec)

    async def step(self, scope: Scope, call: Bound) -> Any:
        """See `Oracle`."""
        return self._step(scope, call, sync=False)

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        """See `Oracle`."""
        return self._step(scope, call, sync=True)

    def _step(self, scope: Scope, call: Bound, *, sync: bool) -> Any:
        info = call.info
        if call.item is not None:
            raise self.give_up()
        request = info.encode_request(self.run.redact(call.arguments()))
        return self._decoded(self._answer(scope, call.name, request, info, sync=sync), info.codec)

    def announce(self, scope: Scope, calls: Sequence[Bound]) -> None:
        """See `Oracle`."""
        raise self.give_up()

    def glue(self, scope: Scope, call: Bound) -> Any:
        """See `Oracle`."""
        raise self.give_up()

    def stream(self, scope: Scope, call: EffectCall) -> AsyncIterator[Any]:
        """See `Oracle`."""
        raise self.give_up()

    def draw(self, scope: Scope, kind: str) -> Any:
        """See `Oracle`."""
        place = self.read
        self.read += 1
        if is_direct(kind) or scope.lane or place >= len(self.draws) or self.draws[place][0] != kind:
            raise self.give_up()
        return self.draws[place][1]

    def _answer(self, scope: Scope, name: str, request: bytes, callee: StepInfo | None, *, sync: bool = False) -> bytes:
        """The answer of the next recorded call, if that is the one that is asked for: the rest of what makes it ordinary too."""
        place, frame, run = self.asked, scope.frame, self.run
        if scope.lane or place >= len(self.calls) or self.otherwise:
            raise self.give_up()
        number, intent = self.calls[place]
        if (
            intent.name != name
            or intent.nth != frame.nth("", name)
            or intent.lane
            or intent.attempt != 1
            or frame.attempt != 1
            or intent.flags & (STREAM | ITEM)
            or (intent.call == EFFECT) is not (callee is None)
        ):
            raise self.give_up()
        nested = None
        try:
            if run.data(intent.request) != request:
                raise self.give_up()
            if callee is None:
                outcome = run.outcomes.get(number)
                if outcome is None or outcome.status != failure.OK:
                    raise self.give_up()
                start, end, completion, answer = intent.time, outcome.time, outcome.completion, run.data(outcome.value)
            else:
                nested = run.by_intent.get(number)
                if nested is None:
                    raise self.give_up()
                span = nested[1]
                if span.status != failure.OK or span.attempts or span.fingerprint != callee.fingerprint.digest:
                    raise self.give_up()
                start, end, completion, answer = span.start, span.start + span.duration, span.completion, run.data(span.output)
        except Unusual:
            raise self.give_up() from None
        if start < self.ended or end < start or completion <= self.last:
            raise self.give_up()  # two overlapped: which was answered first has a part in what comes next
        self.asked, self.ended, self.last = place + 1, end, completion
        self.taken.append(Taken(intent, request, answer, callee, nested, sync))
        return answer

    def _decoded(self, answer: bytes, wanted: codec.Codec) -> Any:
        try:
            return wanted.decode(answer)
        except (CorruptRecord, codec.TypeChanged):
            raise self.give_up() from None

    def give_up(self) -> Otherwise:
        """What to raise where something is otherwise. Noted, so that no handler of the step's hides it."""
        self.otherwise = True
        return Otherwise()


class GivesUp(Protocol):
    """What can leave a trace to the replayer."""

    def give_up(self) -> BaseException:
        """What to raise; noted, so that no handler hides it."""
        ...


class Door:
    """The guard of the fast path: code that leaves the process is the replayer's to name."""

    def __init__(self, script: GivesUp) -> None:
        self._script = script

    def refuse(self, address: str, what: str) -> BaseException:
        """See `runtime.oracle.Guard`."""
        return self._script.give_up()

    def writes(self, address: str, what: str) -> None:
        """See `runtime.oracle.Guard`."""
        raise self._script.give_up()

    def hold(self) -> Callable[[], None]:
        """See `runtime.oracle.Guard`. What outlives its step is the replayer's to watch."""
        raise self._script.give_up()
