"""Answering the calls of one span from what was recorded of it.

A call is matched by its key and lane, and each recorded outcome is used once. Nothing here ever calls a provider that the
caller did not name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from replay import difference
from replay.asked import Asked
from replay.clock import Clock
from replay.delivery import IDLE_TICKS, Delivery
from replay.guard import StepGuard
from replay.matching import Key, Matching, is_ambiguous, is_reassigned
from replay.stream import AnsweredStream
from replay.unknown import opaque
from runtime import failure
from runtime.declaration import Bound
from runtime.effects import ITEM, EffectCall
from runtime.errors import RecordedError, Refused
from runtime.oracle import Guard
from runtime.recording import Call, Result, Span
from runtime.scope import UNKNOWN_LANE, EffectScope, Frame, Scope, call_address
from runtime.unrecorded import RAW, invoke, invoke_sync, read_clock
from storage import codec
from storage.errors import CorruptRecord
from storage.values import StandIn

if TYPE_CHECKING:
    from replay.evaluation import Evaluator


class Answers:
    """The oracle of one span that runs again.

    Args:
        evaluator: what is swapped, what may go live, and where findings are told.
        recorded: the span whose outcomes may answer; None where nothing was recorded.
        verify: the span stands as recorded, so anything else it asks is a divergence.
    """

    match: Callable[[Span | None], Matching] = Matching
    """Makes what finds the recorded answers."""

    def __init__(self, evaluator: Evaluator, recorded: Span | None, *, verify: bool) -> None:
        self.evaluator, self.recorded, self.verify = evaluator, recorded, verify
        self.delivery = Delivery(evaluator, recorded, verify=verify)
        self.asked: list[Asked] = []
        self.refusals: list[tuple[str, str]] = []
        """(status, reason) of each call that was refused; no handler in the step can hide it."""
        self.reasons: list[str] = []
        self.matching = self.match(recorded)
        self.used, self.claimed = self.matching.used, self.matching.claimed
        self.ambiguous = self.matching.ambiguous
        self._announced: dict[int, Asked] = {}
        self.ambient = evaluator.direct_seed
        self.guard: Guard | None = StepGuard(self, strict=evaluator.request.strict)
        self.clock: Clock | None = Clock(self)
        self.deeds: list[str] = []
        """What its step did besides, and was let do."""
        self.over = False
        """Whether its step has ended; a thread or task of it may still run."""

    def be_live(self) -> None:
        """Let the step do what it likes, with the real clock: it was named live."""
        self.ambient, self.guard, self.clock = b"", None, None

    # the calls of the seam

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        asked = self.ask_effect(scope, call)
        if self.goes_live(asked, call):
            inner = EffectScope(RAW, scope, asked.name, asked.nth, asked.address)
            self.evaluator.frontier.live_calls += 1
            try:
                value = await invoke(inner, call)
            except BaseException as error:
                self._live_result(asked, inner, call, None, error)
                raise
            finally:
                self.evaluator.frontier.live_calls -= 1
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
        self.delivery.advance(recorded.completion)
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
            self.evaluator.callees[recorded.span.address] = call.info, False
            await self.turn(scope.frame, recorded, asked)
            return self._deliver(asked, recorded, call.info.codec)
        if recorded is not None and recorded.result is not None and recorded.result.status == "cancelled":
            await self.delivery.idle()  # what cancelled it may come again
        result = await self._nested(asked, call, sync=False)
        if recorded is not None and result is recorded.result:
            await self.turn(scope.frame, recorded, asked)
        elif recorded is not None:
            self.delivery.advance(recorded.completion)
        return self._value(asked, result, call.info.codec)

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        asked = self._ask_step(scope, call)
        recorded = asked.recorded
        if self.verify:
            if recorded is None or recorded.result is None or recorded.span is None:
                raise self._refuse_divergence(asked)
            self.evaluator.callees[recorded.span.address] = call.info, True
            result = recorded.result
        else:
            result = _drive(self._nested(asked, call, sync=True))
        if recorded is not None:
            self.delivery.advance(recorded.completion)
        return self._value(asked, result, call.info.codec)

    def draw(self, scope: Scope, kind: str) -> Any:
        return self.clock.read(scope, kind) if self.clock is not None else read_clock(kind)

    # matching

    def ask_effect(self, scope: Scope, call: EffectCall) -> Asked:
        """Note a call of an effect, with the recorded one that answers it."""
        request = self.evaluator.encode(call.arguments(), codec.encode_request)
        asked = self._ask(scope, call.effect.name, (request, request), effect=True)
        asked.flags = call.effect.flags
        return asked

    def announce(self, scope: Scope, calls: Sequence[Bound]) -> None:
        """Match the items of a map together: who asks first is the scheduler's, and must change nothing."""
        lanes = [str(place) for place in range(1, len(calls) + 1)]
        requests = [self._request(call) for call in calls]
        keys = [self._key(scope.frame, call.name, request[1]) for call, request in zip(calls, requests, strict=True)]
        found = self.matching.find(list(zip(keys, lanes, strict=True)))
        made: dict[int, Asked] = {}
        # An item that is answered keeps its recorded address, so those come first.
        for place in sorted(range(len(calls)), key=lambda place: (found[place] is None, place)):
            made[place] = self._note_ask(
                Scope(scope.frame, lanes[place]), calls[place].name, requests[place], found[place], nth=place + 1, item=True
            )
        self._announced = made
        self.asked += [made[place] for place in range(len(calls))]

    def glue(self, scope: Scope, call: Bound) -> Any:
        """Glue is computed again, whatever stands in for it."""
        item = call.item is not None
        address = call_address(scope.frame.address, None, call.name, "", (call.item or 0) + 1, item=item)
        return self.evaluator.glue(address, call, self.guard)

    def _request(self, call: Bound) -> tuple[bytes, bytes]:
        request = self.evaluator.encode(call.arguments(), call.info.encode_request)
        return request, codec.canonical(request)

    def _ask_step(self, scope: Scope, call: Bound) -> Asked:
        if call.item is not None and call.item in self._announced:
            self.delivery.activity += 1
            return self._announced.pop(call.item)
        nth = None if call.item is None else call.item + 1
        return self._ask(scope, call.name, self._request(call), effect=False, nth=nth)

    def _key(self, frame: Frame, name: str, canonical: bytes) -> Key | None:
        if codec.unknown_part(canonical) is not None:
            return None
        return frame.attempt, name, self.evaluator.mac("request", canonical)

    def _ask(self, scope: Scope, name: str, request: tuple[bytes, bytes], *, effect: bool, nth: int | None = None) -> Asked:
        self.delivery.activity += 1
        frame, lane = scope.frame, scope.lane
        place = frame.nth(lane, name) if nth is None else nth
        [found] = self.matching.find([(self._key(frame, name, request[1]), lane)])
        asked = self._note_ask(scope, name, request, found, nth=place, item=nth is not None, effect=effect)
        self.asked.append(asked)
        return asked

    def _note_ask(
        self, scope: Scope, name: str, request: tuple[bytes, bytes], found: Call | None, *, nth: int, item: bool,
        effect: bool = False,
    ) -> Asked:  # fmt: skip
        frame, lane = scope.frame, scope.lane
        attempt = frame.attempt if self._is_retried(frame) else None
        label = self.matching.take_address(found, frame.address, attempt, name, lane, nth, item=item)
        unknown = codec.unknown_part(request[1])
        asked = Asked(label, name, frame.attempt, lane, nth, request[0], unknown, effect, ITEM if item else 0)
        if found is not None:
            asked.recorded = found
            if found.intent.lane != lane or lane == UNKNOWN_LANE:
                self._moved(found)
        return asked

    def _is_retried(self, frame: Frame) -> bool:
        return frame.attempt > 1 or bool(self.recorded is not None and self.recorded.record.attempts)

    def _moved(self, found: Call) -> None:
        equal = self.matching.equal(found)
        if is_ambiguous(equal):
            self._note("reassigned")
            if self.verify:
                self.refusals.append(
                    (
                        "diverged",
                        f"reassigned: {len(equal)} equal requests of {found.intent.name} got other answers",
                    )
                )
        else:
            self.evaluator.certifier.moved.add(found.address)

    def note_reassigned(self) -> None:
        """Say where equal requests of several tasks shared too few recorded answers: who asked first is the scheduler's."""
        if is_reassigned(self.asked):
            self._note("reassigned")

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
            raise self.rebuilt(asked, result)
        assert result.data is not None
        return self.decoded(asked, result.data, wanted)

    def decoded(self, asked: Asked, data: bytes, wanted: codec.Codec) -> Any:
        """An answer, or a piece of one.

        Raises:
            Refused: nobody knows it, or it is no value of the declared type any more.
        """
        stand_in = codec.holds_opaque(data)
        if stand_in is not None:
            raise self.refuse("unreplayable", opaque(f"the answer of {asked.address}", stand_in))
        try:
            return wanted.decode(data)
        except codec.TypeChanged as error:
            raise self.refuse("unreplayable", f"type changed: {asked.address}: {error}") from error
        except CorruptRecord as error:
            raise self.refuse("unreplayable", f"the answer of {asked.address} cannot be read: {error}") from error

    def rebuilt(self, asked: Asked, result: Result) -> Exception:
        """The error that a call ended in."""
        error = failure.rebuild(result.error)
        if isinstance(error, RecordedError):
            # A handler for its own class does not catch it: if the step goes another way, this is why.
            self._note(f"the error of {asked.address} was given as a RecordedError, since no {error.type_name} can be made again")
        return error

    async def _nested(self, asked: Asked, call: Bound, *, sync: bool) -> Result:
        counterpart = None
        if asked.recorded is None:
            counterpart = self.matching.positional(asked)
            if counterpart is not None:
                self.claimed.add(counterpart.record)
        result = await self.evaluator.nested(asked, counterpart, call, sync=sync)
        asked.result = result
        if counterpart is not None:
            self.delivery.advance(counterpart.completion)
        return result

    async def turn(self, frame: Frame, recorded: Call, asked: Asked) -> None:
        """Wait until it is this outcome's turn."""
        assert recorded.result is not None
        if recorded.result.status == "cancelled":
            await self._until_cancelled(frame, recorded, asked)
        await self.delivery.wait(recorded.completion)

    async def _until_cancelled(self, frame: Frame, recorded: Call, asked: Asked) -> None:
        attempts = None if self.recorded is None else self.recorded.record.attempts
        number = recorded.intent.attempt
        ended = attempts[number - 1][2] if attempts else None if self.recorded is None else self.recorded.record.status
        if frame.timeout is not None and ended == failure.TIMEOUT:
            for _ in range(IDLE_TICKS):
                await anyio.lowlevel.checkpoint()
            frame.timeout.cancel()  # the recorded timeout is not waited for
        with anyio.move_on_after(self.delivery.patience):
            await anyio.sleep_forever()
        if self.verify:
            raise self.refuse("diverged", f"{asked.address} was cancelled in the recording; here nobody cancels it")
        raise self.refuse_miss(asked)

    # going live, and refusing

    def goes_live(self, asked: Asked, call: EffectCall) -> bool:
        """Whether a call is made for real."""
        allowed = self.evaluator.frontier.may_go_live(self, asked, call)
        if allowed:
            asked.go_live()
        return allowed

    def _live_result(self, asked: Asked, inner: EffectScope, call: EffectCall, value: Any, error: BaseException | None) -> Any:
        if error is not None:
            self.came_live(asked, inner, self.evaluator.result(failure.status_of(error), None, error))
            return None
        self.came_live(asked, inner, self.evaluator.result(0, self.evaluator.encode(value, call.effect.codec.encode), None))
        return value

    def came_live(self, asked: Asked, inner: EffectScope, result: Result) -> None:
        """A live call has ended."""
        self.delivery.activity += 1
        self.evaluator.frontier.spend(inner.attributes or {})
        if asked.recorded is not None:
            self.delivery.advance(asked.recorded.completion)
        asked.come_back(result, inner.attributes)

    def refuse(self, status: str, reason: str) -> Refused:
        """The exception to raise for a call without an answer; it is noted, so that no handler hides it."""
        self.refusals.append((status, reason))
        return Refused(reason)

    def _refuse_divergence(self, asked: Asked) -> Refused:
        if asked.unknown is not None:
            return self._refuse_unknown(asked, asked.unknown)
        place = self.matching.positional(asked)
        there = None if place is None else codec.unknown_part(place.request)
        if there is not None:
            return self.refuse("unreplayable", opaque(f"the request of {asked.address}", there))
        near = self.evaluator.frontier.nearest(self, asked)
        what = f"asked {asked.address} what the recording did not"
        if near is None:
            return self.refuse("diverged", f"{what}: it holds no such call")
        return self.refuse(
            "diverged",
            f"{what}: {difference.first(codec.decode_any(near.request), codec.decode_any(asked.request))}",
        )

    def refuse_miss(self, asked: Asked) -> Refused:
        """As `refuse`, for a request that the recording does not hold: the frontier."""
        if asked.unknown is not None:
            refused = self._refuse_unknown(asked, asked.unknown)
            asked.held = asked.held or "its request could not be recorded, so no recorded answer is known to be one to it"
            self.evaluator.frontier.block(self, asked)
            return refused
        self.evaluator.frontier.block(self, asked)
        return self.refuse("blocked", f"{asked.address} was asked what the recording holds no answer for")

    def _refuse_unknown(self, asked: Asked, unknown: StandIn) -> Refused:
        reason = opaque(f"the request of {asked.address}", unknown)
        return self.refuse("unreplayable", f"{reason}, so no recorded answer is known to be one to it")

    def _note(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)


def _drive(coroutine: Any) -> Any:
    """Run a coroutine that never waits, as that of a sync step does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise Refused("a sync step waits for an async answer")
