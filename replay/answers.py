"""Answering the calls of one span from what was recorded of it.

A call is matched by its key and lane, each recorded outcome is used once, and where calls overlapped answers are delivered
in the order in which the recorded ones completed. Nothing here ever calls a provider that the caller did not name.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from replay import difference
from replay.stream import AnsweredStream
from runtime import failure
from runtime.declaration import Bound
from runtime.effects import EffectCall
from runtime.errors import Refused
from runtime.recorder import RAW, invoke, invoke_sync
from runtime.recording import Call, Result, Span
from runtime.scope import UNKNOWN_LANE, EffectScope, Frame, Scope, call_address
from storage import codec

if TYPE_CHECKING:
    from replay.replayer import Replayer

_SETTLE_TICKS: Final = 10
"""Scheduler turns without any call that an answer waits for whoever got the one before it: what that task does next, through
a few checkpoints of its own, came first in the recording."""
_IDLE_TICKS: Final = 25
"""Scheduler turns without any call after which a waiting answer of a changed span is released."""

Key = tuple[int, str, bytes]


class Asked:
    """A call that the span made in the replay."""

    __slots__ = (
        "address",
        "attempt",
        "effect",
        "flags",
        "held",
        "lane",
        "live",
        "name",
        "nth",
        "recorded",
        "request",
        "result",
    )

    def __init__(self, address: str, name: str, attempt: int, lane: str, nth: int, request: bytes) -> None:
        self.address, self.name, self.attempt, self.lane, self.nth = address, name, attempt, lane, nth
        self.request = request
        self.effect = False
        self.flags = 0
        self.held = ""
        """Why it may not be made live, where something other than its name forbids it."""
        self.live = False
        self.recorded: Call | None = None
        self.result: Result | None = None


class Answers:
    """The oracle of one span that runs again.

    Args:
        replayer: what is swapped, what may go live, and where findings are told.
        recorded: the span whose outcomes may answer; None where nothing was recorded.
        verify: the span stands as recorded, so anything else it asks is a divergence.
    """

    def __init__(self, replayer: Replayer, recorded: Span | None, *, verify: bool) -> None:
        self.replayer, self.recorded, self.verify = replayer, recorded, verify
        self.asked: list[Asked] = []
        self.refusals: list[tuple[str, str]] = []
        """(status, reason) of each call that was refused; no handler in the step can hide it."""
        self.reasons: list[str] = []
        self.used: set[int] = set()
        self.claimed: set[int] = set()
        self._pool: dict[Key, list[Call]] = defaultdict(list)
        self._pending: list[int] = []
        self._waiting: dict[int, anyio.Event] = {}
        self._activity = 0
        self._taken: set[str] = set()
        self._draws: dict[str, int] = {}
        for call in () if recorded is None else recorded.calls:
            self._pool[call.key].append(call)
            if call.result is not None and call.result.status != "cancelled":
                insort(self._pending, call.completion)
        self._overlapping = _overlapping([] if recorded is None else recorded.calls)
        self.ambiguous = sum(len(calls) for calls in self._pool.values() if _is_ambiguous(calls))

    # the calls of the seam

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        asked = self.ask_effect(scope, call)
        if self.goes_live(asked, call):
            inner = EffectScope(RAW, scope, asked.name, asked.nth, asked.address)
            self.replayer.live_calls += 1
            try:
                value = await invoke(inner, call)
            except BaseException as error:
                self._live_result(asked, inner, call, None, error)
                raise
            finally:
                self.replayer.live_calls -= 1
            return self._live_result(asked, inner, call, value, None)
        recorded = self.recorded_call(asked)
        await self.turn(scope.frame, recorded, asked)
        return self._deliver(asked, recorded, call.effect.codec)

    def effect_sync(self, scope: Scope, call: EffectCall) -> Any:
        asked = self.ask_effect(scope, call)
        if self.goes_live(asked, call):
            inner = EffectScope(RAW, scope, asked.name, asked.nth, asked.address)
            try:
                value = invoke_sync(inner, call)
            except BaseException as error:
                self._live_result(asked, inner, call, None, error)
                raise
            return self._live_result(asked, inner, call, value, None)
        recorded = self.recorded_call(asked)
        self.advance(recorded.completion)
        return self._deliver(asked, recorded, call.effect.codec)

    def stream(self, scope: Scope, call: EffectCall) -> AsyncIterator[Any]:
        made = AnsweredStream(self, scope, call)
        scope.frame.reads(made)
        return made

    async def step(self, scope: Scope, call: Bound) -> Any:
        asked = self._ask_step(scope, call)
        recorded = asked.recorded
        if self.verify:
            if recorded is None or recorded.result is None or recorded.span is None:
                raise self._refuse_divergence(asked)
            self.replayer.callees[recorded.span.address] = call.info
            await self.turn(scope.frame, recorded, asked)
            return self._deliver(asked, recorded, call.info.codec)
        result = await self._nested(asked, call)
        if recorded is not None and result is recorded.result:
            await self.turn(scope.frame, recorded, asked)
        elif recorded is not None:
            self.advance(recorded.completion)
        return self._value(asked, result, call.info.codec)

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        asked = self._ask_step(scope, call)
        recorded = asked.recorded
        if self.verify:
            if recorded is None or recorded.result is None or recorded.span is None:
                raise self._refuse_divergence(asked)
            self.replayer.callees[recorded.span.address] = call.info
            result = recorded.result
        else:
            result = _drive(self._nested(asked, call))
        if recorded is not None:
            self.advance(recorded.completion)
        return self._value(asked, result, call.info.codec)

    def draw(self, scope: Scope, kind: str) -> Any:
        recorded = {} if self.recorded is None else self.recorded.record.draws or {}
        readings = recorded.get(scope.lane, [])
        place = self._draws.get(scope.lane, 0)
        self._draws[scope.lane] = place + 1
        if place < len(readings) and readings[place][0] == kind:
            return readings[place][1]
        if self.verify:
            raise self.refuse(
                "diverged",
                f"{scope.frame.address} read the clock {place + 1} times, recorded {len(readings)}",
            )
        self._note("clock extended")
        same = [value for was, value in readings if was == kind]
        last = max(same) if same else (scope.frame.wall if kind == "time" else 0)
        return last + 1000 * (place + 1 - len(same) if place >= len(same) else 1)

    # matching

    def ask_effect(self, scope: Scope, call: EffectCall) -> Asked:
        """Note a call of an effect, with the recorded one that answers it."""
        request = self.replayer.encode(call.arguments(), codec.encode_request)
        asked = self._ask(scope, call.effect.name, request, request)
        asked.effect = True
        asked.flags = call.effect.flags
        return asked

    def _ask_step(self, scope: Scope, call: Bound) -> Asked:
        request = self.replayer.encode(call.arguments(), call.info.encode_request)
        return self._ask(scope, call.name, request, codec.canonical(request))

    def _ask(self, scope: Scope, name: str, request: bytes, canonical: bytes) -> Asked:
        self._activity += 1
        frame, lane = scope.frame, scope.lane
        nth = frame.nth(lane, name)
        found = self._match((frame.attempt, name, self.replayer.mac("request", canonical)), lane)
        attempt = frame.attempt if self._is_retried(frame) else None
        label = found.address if found is not None else call_address(frame.address, attempt, name, lane, nth)
        if label in self._taken:
            label = self._free_address(frame.address, attempt, name, lane)
        self._taken.add(label)
        asked = Asked(label, name, frame.attempt, lane, nth, request)
        self.asked.append(asked)
        if found is not None:
            self.used.add(found.record)
            asked.recorded = found
            if found.intent.lane != lane or lane == UNKNOWN_LANE:
                self._moved(found)
        return asked

    def _free_address(self, parent: str, attempt: int | None, name: str, lane: str) -> str:
        """An address that neither this run nor the recording has used: a call's place may be taken by one that came before."""
        known = self._taken if self.recorded is None else self._taken | {call.address for call in self.recorded.calls}
        numbers = itertools.count(2)
        return next(one for nth in numbers if (one := call_address(parent, attempt, name, lane, nth)) not in known)

    def _is_retried(self, frame: Frame) -> bool:
        return frame.attempt > 1 or bool(self.recorded is not None and self.recorded.record.attempts)

    def _match(self, key: Key, lane: str) -> Call | None:
        free = [call for call in self._pool.get(key, ()) if call.record not in self.used]
        for call in free:
            if call.intent.lane == lane:
                return call
        return free[0] if free else None

    def _moved(self, found: Call) -> None:
        if _is_ambiguous(self._pool[found.key]):
            self._note("reassigned")
            if self.verify:
                self.refusals.append(
                    (
                        "diverged",
                        f"reassigned: {len(self._pool[found.key])} equal requests of {found.intent.name} got other answers",
                    )
                )
        else:
            self.replayer.moved.add(found.address)

    def note_reassigned(self) -> None:
        """Say where equal requests of several tasks shared too few recorded answers: who asked first is the scheduler's."""
        groups: dict[tuple[int, str, bytes], list[Asked]] = defaultdict(list)
        for asked in self.asked:
            groups[asked.attempt, asked.name, asked.request].append(asked)
        for same in groups.values():
            moved = any(one.recorded is not None and one.recorded.intent.lane != one.lane for one in same)
            outcomes = {None if one.result is None else one.result.digest for one in same}
            if moved and len({one.lane for one in same}) > 1 and len(outcomes) > 1:
                self._note("reassigned")

    def positional(self, asked: Asked) -> Call | None:
        """The recorded call in the same place, whatever its request."""
        for call in () if self.recorded is None else self.recorded.calls:
            intent = call.intent
            if (
                (intent.name, intent.attempt, intent.lane, intent.nth) == (asked.name, asked.attempt, asked.lane, asked.nth)
                and (intent.call == 0) == asked.effect
                and call.record not in self.used
            ):
                return call
        return None

    # answers

    def recorded_call(self, asked: Asked) -> Call:
        """What answers a call.

        Raises:
            Refused: nothing does.
        """
        recorded = asked.recorded
        if recorded is None:
            raise self._refuse_divergence(asked) if self.verify else self.refuse_miss(asked)
        if recorded.result is None:
            raise self.refuse("unreplayable", f"{asked.address} has no recorded outcome: the process ended during the call")
        return recorded

    def _deliver(self, asked: Asked, recorded: Call, wanted: codec.Codec) -> Any:
        assert recorded.result is not None
        return self._value(asked, recorded.result, wanted)

    def _value(self, asked: Asked, result: Result, wanted: codec.Codec) -> Any:
        asked.result = result
        if result.status == "blocked":
            raise self.refuse("blocked", f"{asked.address} is blocked")
        if not result.ok:
            if result.status == "cancelled":
                raise self.refuse("blocked", f"{asked.address} was cancelled in the recording and has no answer")
            raise failure.rebuild(result.error)
        assert result.data is not None
        stand_in = codec.holds_opaque(result.data)
        if stand_in is not None:
            raise self.refuse("unreplayable", f"opaque: the answer of {asked.address} could not be recorded ({stand_in})")
        try:
            return wanted.decode(result.data)
        except codec.TypeChanged as error:
            raise self.refuse("unreplayable", f"type changed: {asked.address}: {error}") from error

    async def _nested(self, asked: Asked, call: Bound) -> Result:
        counterpart = None
        if asked.recorded is None:
            counterpart = self.positional(asked)
            if counterpart is not None:
                self.claimed.add(counterpart.record)
        result = await self.replayer.nested(asked, asked.recorded, counterpart, call)
        asked.result = result
        if counterpart is not None:
            self.advance(counterpart.completion)
        return result

    # the order of delivery

    async def turn(self, frame: Frame, recorded: Call, asked: Asked) -> None:
        """Wait until it is this outcome's turn. No checkpoint follows the turn: the task goes on at once."""
        assert recorded.result is not None
        turn = recorded.completion
        if recorded.result.status == "cancelled":
            await self._until_cancelled(frame, recorded, asked)
        try:
            await self._wait_for_turn(turn)
        except BaseException:
            self.advance(turn)  # it was cancelled while it waited: those behind it must not wait for it
            raise
        self.advance(turn)

    async def _wait_for_turn(self, turn: int) -> None:
        event = self._waiting[turn] = anyio.Event()
        try:
            if bisect_left(self._pending, turn) > 0:
                if self.verify:
                    with anyio.move_on_after(self._patience()):
                        await event.wait()
                else:
                    await self._until_idle(turn, event)
            if turn in self._overlapping:
                await self._settle()
        finally:
            # Not before it has settled: the next one must not overtake it meanwhile.
            self._waiting.pop(turn, None)

    async def _settle(self) -> None:
        quiet, seen = 0, self._activity
        while quiet < _SETTLE_TICKS:
            await anyio.lowlevel.checkpoint()
            quiet = quiet + 1 if self._activity == seen else 0
            seen = self._activity

    def _patience(self) -> float:
        took = 0 if self.recorded is None else self.recorded.record.duration / 1e9
        return took + self.replayer.grace

    async def _until_idle(self, turn: int, event: anyio.Event) -> None:
        quiet, seen = 0, -1
        while not event.is_set():
            await anyio.lowlevel.checkpoint()
            now = self._activity + self.replayer.ticks
            quiet = quiet + 1 if now == seen and not self.replayer.live_calls else 0
            seen = now
            if quiet >= _IDLE_TICKS and turn == min(self._waiting):
                return

    async def _until_cancelled(self, frame: Frame, recorded: Call, asked: Asked) -> None:
        attempts = None if self.recorded is None else self.recorded.record.attempts
        number = recorded.intent.attempt
        ended = attempts[number - 1][2] if attempts else None if self.recorded is None else self.recorded.record.status
        if frame.timeout is not None and ended == failure.TIMEOUT:
            for _ in range(_IDLE_TICKS):
                await anyio.lowlevel.checkpoint()
            frame.timeout.cancel()  # the recorded timeout is not waited for
        with anyio.move_on_after(self._patience()):
            await anyio.sleep_forever()
        if self.verify:
            raise self.refuse("diverged", f"{asked.address} was cancelled in the recording; here nobody cancels it")
        raise self.refuse_miss(asked)

    def advance(self, turn: int) -> None:
        """Take a completion off those that others wait for."""
        self._activity += 1
        place = bisect_left(self._pending, turn)
        if place < len(self._pending) and self._pending[place] == turn:
            del self._pending[place]
        if self._pending and self._pending[0] in self._waiting:
            self._waiting[self._pending[0]].set()

    # going live, and refusing

    def goes_live(self, asked: Asked, call: EffectCall) -> bool:
        """Whether a call is made for real."""
        allowed = self.replayer.may_go_live(self, asked, call)
        if allowed:
            asked.live = True
        return allowed

    def _live_result(self, asked: Asked, inner: EffectScope, call: EffectCall, value: Any, error: BaseException | None) -> Any:
        if error is not None:
            self.came_live(asked, inner, self.replayer.result(failure.status_of(error), None, error))
            return None
        self.came_live(asked, inner, self.replayer.result(0, self.replayer.encode(value, call.effect.codec.encode), None))
        return value

    def came_live(self, asked: Asked, inner: EffectScope, result: Result) -> None:
        """A live call has ended."""
        self._activity += 1
        self.replayer.spend(asked, inner.attributes or {})
        if asked.recorded is not None:
            self.advance(asked.recorded.completion)
        asked.result = result

    def refuse(self, status: str, reason: str) -> Refused:
        """The exception to raise for a call without an answer; it is noted, so that no handler hides it."""
        self.refusals.append((status, reason))
        return Refused(reason)

    def _refuse_divergence(self, asked: Asked) -> Refused:
        near = self.replayer.nearest(self, asked)
        what = f"asked {asked.address} what the recording did not"
        if near is None:
            return self.refuse("diverged", f"{what}: it holds no such call")
        return self.refuse(
            "diverged",
            f"{what}: {difference.first(codec.decode_any(near.request), codec.decode_any(asked.request))}",
        )

    def refuse_miss(self, asked: Asked) -> Refused:
        """As `refuse`, for a request that the recording does not hold: the frontier."""
        self.replayer.block(self, asked)
        return self.refuse("blocked", f"{asked.address} was asked what the recording holds no answer for")

    def _note(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)


def _overlapping(calls: list[Call]) -> set[int]:
    """The completion numbers of calls that ran while another of the span did."""
    found: set[int] = set()
    spans = sorted((call.start_ns, call.start_ns + call.duration_ns, call.completion) for call in calls)
    latest, holder = -1, 0
    for start, end, completion in spans:
        if start < latest:
            found |= {completion, holder}
        if end > latest:
            latest, holder = end, completion
    return found


def _is_ambiguous(calls: list[Call]) -> bool:
    """Whether equal requests of several tasks were answered differently."""
    return (len({call.intent.lane for call in calls}) > 1 or any(call.intent.lane == UNKNOWN_LANE for call in calls)) and len(
        {call.result.digest for call in calls if call.result is not None}
    ) > 1


def _drive(coroutine: Any) -> Any:
    """Run a coroutine that never waits, as that of a sync step does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise Refused("a sync step waits for an async answer")
