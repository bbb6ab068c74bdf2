"""Replaying one trace with minimal work.

A span runs again only if it was swapped or named live, its code or inputs changed, it was never recorded, or a nested step
below it was swapped and, probed on its recorded calls, gave another outcome. A re-run that yields the recorded digest cuts
everything below off. Where a trace is verified, spans that stand run too, each on its recorded inputs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import msgspec

from replay import difference
from replay.answers import Answers, Asked
from replay.blocked import Blocked, blocked_call
from replay.certificate import Entry
from replay.selection import Selection
from runtime import failure, lanes
from runtime.agent import Agent, NodeSpec
from runtime.declaration import Bound, StepInfo, describe
from runtime.effects import EffectCall
from runtime.engine import run_step, run_step_sync
from runtime.recorder import run_glue
from runtime.recording import Call, Recording, Result, Span, result_of, stream_result
from runtime.scope import Frame
from runtime.streams import close_all
from storage import codec

COST = "gen_ai.cost_usd"


@attrs.frozen(eq=False)
class Executed:
    """A span whose code ran, for the replay's own trace."""

    asked: list[Asked]
    frame: Frame
    fingerprint: bytes


@attrs.define(eq=False)
class Request:
    """What the caller of a replay asked for."""

    swaps: Selection[Any]
    overrides: Selection[Any]
    live: Selection[bool]
    needed: bool = False
    """live="needed": what the recording cannot answer may go live, side effects excepted."""
    budget_usd: float | None = None
    use_recorded_code: bool = False

    @property
    def verifies(self) -> bool:
        """Whether spans that stand are run too."""
        return not self.swaps and not self.overrides and not self.live and not self.needed

    def below(self, address: str) -> bool:
        """Whether something under an address is swapped, overridden or live."""
        return self.swaps.below(address) or self.overrides.below(address) or self.live.below(address)


class Replayer:
    """One replay.

    Args:
        recording: of the trace.
        agent: the graph that replays it.
        request: what is swapped, overridden, live.
        redact: applied to every value before it is encoded.
        grace: seconds that an answer waits, beyond the span's recorded duration, for one that came earlier.
        answers: makes the oracle of a span that runs again.
    """

    def __init__(
        self,
        recording: Recording,
        agent: Agent[Any, Any],
        request: Request,
        *,
        redact: Callable[[Any], Any],
        grace: float = 1.0,
        answers: Callable[..., Answers] = Answers,
    ) -> None:
        self.recording, self.agent, self.request, self.grace = recording, agent, request, grace
        self.mac = recording.mac
        self._redact, self._answers = redact, answers
        self.entries: dict[str, Entry] = {}
        self.ran: list[str] = []
        self.blocked: list[Blocked] = []
        self.results: dict[str, Result] = {}
        self.executed: dict[str, Executed] = {}
        self.callees: dict[str, StepInfo] = {}
        self.moved: set[str] = set()
        self.live_calls = 0
        self.spent_usd = 0.0
        self.notes: list[str] = []
        self._memo: dict[str, Result] = {}

    # small things the answers need

    @property
    def ticks(self) -> int:
        """Grows with whatever the replay does."""
        return len(self.ran)

    def encode(self, value: Any, encode: codec.Encode) -> bytes:
        """As in a live run: redaction, then encoding."""
        return encode(self._redact(value))

    def result(self, status: int, data: bytes | None, error: BaseException | None) -> Result:
        """An outcome of this replay."""
        return result_of(self.mac, status, data, None if error is None else failure.describe(error))

    def stream_result(self, status: int, data: bytes, error: BaseException | None) -> Result:
        """What a stream of this replay ended in."""
        return stream_result(self.mac, status, data, None if error is None else failure.describe(error))

    # the graph

    async def run(self) -> Result | None:
        """Replay the graph: its outcome, or None where the recording does not tell it."""
        lanes.install()
        values: list[Result | None] = [None] * len(self.agent.nodes)
        late: list[NodeSpec] = []
        waiting: set[int] = set()
        for spec in self.agent.nodes:
            span = self.recording.node(spec.name)
            if (span is not None and span.result.status == "cancelled") or waiting.intersection(spec.inputs):
                waiting.add(spec.index)
                late.append(spec)
                continue
            values[spec.index] = await self._node(spec, values)
        for spec in late:
            values[spec.index] = await self._node(spec, values)
        for name, span in self.recording.spans.items():
            if span.node >= 0 and span.kind != "derive" and name not in {spec.name for spec in self.agent.nodes}:
                self._enter_all(span, "dropped", "the graph has no such step")
        return self._output(values)

    def _output(self, values: list[Result | None]) -> Result | None:
        failed = [
            (spec, value) for spec, value in zip(self.agent.nodes, values, strict=True) if value is not None and not value.ok
        ]
        if failed:
            recorded = self.recording.result
            for _, value in failed:
                if value.status == "blocked":
                    return value
            real = [value for _, value in failed if value.status != "cancelled"] or [failed[0][1]]
            if recorded is not None:
                for value in real:
                    if value.digest == recorded.digest:
                        return value
            return real[0]
        if self.agent.output < 0:
            return result_of(self.mac, 0, self.recording.input, None)
        return values[self.agent.output]

    async def _node(self, spec: NodeSpec, values: list[Result | None]) -> Result | None:
        span = self.recording.node(spec.name)
        given = [self._source(place, values) for place in spec.inputs]
        override = self.request.overrides.get(spec.name)
        if spec.name in self.request.overrides:
            return self._override(spec.name, span, self.encode(override, spec.codec.encode))
        upstream = [result for result, _ in given if result is None or not result.ok]
        if upstream:
            return self._skip(spec, span, upstream[0])
        failed = any(value is not None and value.status in {"error", "timeout"} for value in values)
        if span is not None and span.result.status == "cancelled" and failed:
            # Were the failure that cancelled it gone, it would run: it never finished.
            self._enter_all(span, "reused", "cancelled")
            return span.result
        same = span is not None and self._same_inputs(span, given)
        if spec.kind == "derive":
            return self._derive(spec, span, given, same=same)

        def decode() -> tuple[Any, ...]:
            return tuple([_take(take, result.data or b"\xc0") for result, take in given])

        return await self._evaluate(spec.name, spec.step, span, span, decode, {}, spec.codec, same=same)

    def _source(self, place: int, values: list[Result | None]) -> tuple[Any, Callable[[bytes], Any]]:
        if place < 0:
            return result_of(self.mac, 0, self.recording.input, None), self.agent.input_codec.decode
        return values[place], self.agent.nodes[place].codec.decode

    def _same_inputs(self, span: Span, given: list[Any]) -> bool:
        places = self.recording.nodes[span.node][2]
        was: list[bytes] = []
        for place in places:
            if place < 0:
                was.append(self.mac("value", self.recording.input))
                continue
            source = self.recording.node(self.recording.nodes[place][0])
            was.append(b"" if source is None else source.result.digest)
        return was == [result.digest for result, _ in given]

    def _skip(self, spec: NodeSpec, span: Span | None, upstream: Result | None) -> Result | None:
        if upstream is not None and upstream.status == "blocked":
            if spec.kind != "derive":
                self._enter(spec.name, "blocked", "step", "needs the output of a blocked step")
            return upstream
        if span is not None and spec.kind != "derive":
            self._enter_all(span, "dropped", "its input failed")
        return None

    def _derive(self, spec: NodeSpec, span: Span | None, given: list[Any], *, same: bool) -> Result:
        try:
            value = run_glue(spec, tuple([take(result.data) for result, take in given]))
        except Exception as error:
            result = self.result(failure.status_of(error), None, error)
        else:
            result = self.result(0, self.encode(value, spec.codec.encode), None)
        self.results[spec.name] = result
        if span is not None and same and result.digest != span.result.digest:
            if span.fingerprint == spec.step.fingerprint.digest:
                self._enter(spec.name, "diverged", "derive", difference.first(span.result.value, result.value))
            else:
                self._enter(spec.name, "changed", "derive", "its code changed")
        return result

    def _override(self, address: str, span: Span | None, data: bytes) -> Result:
        result = result_of(self.mac, 0, data, None)
        self.results[address] = result
        same = span is not None and span.result.digest == result.digest
        self._enter(address, "cut off" if same else "swapped", "step", "overridden")
        if span is not None:
            for call in span.calls:
                self._enter_call(call, "dropped", "its step was overridden")
        return result

    # one span

    async def _evaluate(
        self,
        address: str,
        info: StepInfo,
        span: Span | None,
        counterpart: Span | None,
        decode: Callable[[], tuple[Any, ...]],
        kwargs: dict[str, Any],
        wanted: codec.Codec,
        *,
        same: bool,
        sync: bool = False,
    ) -> Result:
        if span is not None and span.address in self._memo:
            self.results[address] = self._memo[span.address]
            return self._memo[span.address]
        swap = self.request.swaps.get(address)
        why = ""
        if swap is not None:
            info, why = describe(swap), "swapped"
        elif address in self.request.live and not self._is_effect_key(address):
            why = "live"
        elif span is None:
            why = "never recorded" if counterpart is None else "asked otherwise"
        elif span.fingerprint != info.fingerprint.digest and not self.request.use_recorded_code:
            why = f"code: recorded {span.fingerprint.hex()[:4]}, now {info.fingerprint.digest.hex()[:4]}"
            self.notes.append(f"{address}: recorded {span.fingerprint.hex()[:4]}, now {info.fingerprint.digest.hex()[:4]}")
        elif not same:
            why = "inputs changed"
        elif span.result.status == "cancelled":
            why = "was cancelled"
        if not why and span is not None:
            kept = await self._stand(address, info, span, decode, kwargs, wanted, sync=sync)
            if kept is not None:
                return kept
            why = "a nested step changed"
        result = await self._rerun(address, info, span, counterpart, decode, kwargs, wanted, why, sync=sync)
        if span is not None:
            self._memo[span.address] = result
        return result

    def _is_effect_key(self, address: str) -> bool:
        return any(call.address == address and call.is_effect for call in self.recording.calls)

    async def _stand(
        self,
        address: str,
        info: StepInfo,
        span: Span,
        decode: Callable[[], tuple[Any, ...]],
        kwargs: dict[str, Any],
        wanted: codec.Codec,
        *,
        sync: bool,
    ) -> Result | None:
        """A span whose code and inputs stand: verified or reused. None where a nested step's new outcome makes it run again."""
        chosen = self.request
        if not chosen.verifies:
            if chosen.live.below(address) and any(call.is_effect and call.address in chosen.live for call in span.calls):
                return None
            if self.request.below(address) and await self._probe(span):
                return None
            return self._reuse(address, span, "recorded code" if chosen.use_recorded_code else "")
        if chosen.use_recorded_code and span.fingerprint != info.fingerprint.digest:
            return self._reuse(address, span, "recorded code")
        answers = self._answers(self, span, verify=True)
        result = await self._execute(address, info, answers, decode, kwargs, wanted, sync=sync)
        self._certify(address, span, answers, result)
        # Equal outcomes: the new one also has the content, where the recorded one was left out.
        stands = result if result.digest == span.result.digest else span.result
        self.results[address] = stands
        changed = False
        for call in span.nested:
            callee = self.callees.get(call.address)
            if call.span is None or callee is None:
                continue
            outcome = await self._nested_again(call, call.span, callee)
            changed = changed or outcome.digest != call.span.result.digest
        return None if changed else stands

    def _reuse(self, address: str, span: Span, reason: str) -> Result:
        self._enter_all(span, "reused", reason)
        self.results[address] = span.result
        return span.result

    async def _nested_again(self, call: Call, span: Span, callee: StepInfo) -> Result:
        """Evaluate a nested step on its recorded request."""
        if call.address in self.request.overrides:
            return self._override(call.address, span, self.encode(self.request.overrides.get(call.address), callee.codec.encode))
        swap = self.request.swaps.get(call.address)
        shown = describe(swap) if swap is not None else callee

        def decode() -> tuple[Any, ...]:
            given = msgspec.msgpack.decode(call.request, type=dict[str, msgspec.Raw])
            return tuple([_take(shown.input_codec(name).decode, bytes(raw)) for name, raw in given.items()])

        sync = not callee.is_async
        return await self._evaluate(call.address, callee, span, span, decode, {}, callee.codec, same=True, sync=sync)

    async def _probe(self, span: Span) -> bool:
        """Whether a swapped nested step gives another outcome on one of its recorded calls, tried in recorded order."""
        chosen = self.request
        for call in sorted(span.nested, key=lambda call: call.intent.start):
            nested = call.span
            if nested is None:
                continue
            if call.address in chosen.swaps or call.address in chosen.overrides:
                callee = self.callees.get(call.address) or describe(chosen.swaps.get(call.address) or _absent)
                outcome = await self._nested_again(call, nested, callee)
                if outcome.digest != nested.result.digest:
                    return True
            elif call.address in chosen.live or (self.request.below(call.address) and await self._probe(nested)):
                return True
        return False

    async def nested(self, asked: Asked, recorded: Call | None, counterpart: Call | None, call: Bound) -> Result:
        """A nested step that a re-run span asked for."""
        address = asked.address
        if address in self.request.overrides:
            span = None if recorded is None else recorded.span
            return self._override(address, span, self.encode(self.request.overrides.get(address), call.info.codec.encode))
        span = None if recorded is None else recorded.span
        if span is not None and address in self.moved:
            self._enter(address, "moved", "step")
        near = span if span is not None else None if counterpart is None else counterpart.span
        sync = not call.info.is_async
        return await self._evaluate(
            address,
            call.info,
            span,
            near,
            lambda: call.args,
            call.kwargs,
            call.info.codec,
            same=span is not None,
            sync=sync,
        )

    async def _rerun(
        self,
        address: str,
        info: StepInfo,
        span: Span | None,
        counterpart: Span | None,
        decode: Callable[[], tuple[Any, ...]],
        kwargs: dict[str, Any],
        wanted: codec.Codec,
        why: str,
        *,
        sync: bool,
    ) -> Result:
        answers = self._answers(self, counterpart, verify=False)
        result = await self._execute(address, info, answers, decode, kwargs, wanted, sync=sync)
        self.results[address] = result
        self._enter_asked(answers)
        answers.note_reassigned()
        if answers.refusals:
            status, reason = answers.refusals[0]
            self._enter(address, status, "step", "; ".join([reason, *answers.reasons]))
            return result
        recorded = span or counterpart
        if recorded is not None and result.digest == recorded.result.digest:
            status = "cut off"
        elif why == "swapped":
            status = "swapped"
        elif recorded is None:
            status = "added"
        else:
            status = "live" if why == "live" else "changed"
        self._enter(
            address,
            status,
            "step",
            "; ".join([why, *answers.reasons]) if why != status else "; ".join(answers.reasons),
        )
        return result

    async def _execute(
        self,
        address: str,
        info: StepInfo,
        answers: Answers,
        decode: Callable[[], tuple[Any, ...]],
        kwargs: dict[str, Any],
        wanted: codec.Codec,
        *,
        sync: bool,
    ) -> Result:
        header = self.recording.stored.header
        wall = header.wall if answers.recorded is None else answers.recorded.record.wall
        frame = Frame(answers, 0, address, header.seed, wall)
        self.ran.append(address)
        self.executed[address] = Executed(answers.asked, frame, info.fingerprint.digest)
        try:
            args = decode()
            if sync:
                value = run_step_sync(info, args, kwargs, frame)
            else:
                value = await run_step(info, args, kwargs, frame, waits=False)
            if frame.streams is not None:
                await close_all(frame.streams)
            data = self.encode(value, wanted.encode)
        except (KeyboardInterrupt, SystemExit):
            raise
        except codec.TypeChanged as error:
            answers.refusals.append(("unreplayable", f"type changed: {error}"))
        except _NoInput as error:
            answers.refusals.append(("unreplayable", str(error)))
        except BaseException as error:
            if frame.streams is not None:
                await close_all(frame.streams)
            if isinstance(error, anyio.get_cancelled_exc_class()) and not answers.refusals:
                raise
            if not answers.refusals:
                return self.result(failure.status_of(error), None, error)
        else:
            if not answers.refusals:
                return self.result(0, data, None)
        return Result("blocked", None, b"")

    # the certificate

    def _certify(self, address: str, span: Span, answers: Answers, result: Result) -> None:
        unasked = [
            call
            for call in span.calls
            if call.record not in answers.used and call.result is not None and call.result.status != "cancelled"
        ]
        for call in span.calls:
            if call.is_effect or call.record not in answers.used:
                moved = call.address in self.moved
                self._enter_call(call, "moved" if moved else "reused" if call.record in answers.used else "dropped")
        if answers.refusals:
            status, reason = answers.refusals[0]
            self._enter(address, status, "step", reason)
        elif result.digest != span.result.digest:
            reason = self._divergence(span.result, result)
            if answers.ambiguous:
                reason = f"reassigned: {answers.ambiguous} equal concurrent requests; {reason}"
            self._enter(address, "diverged", "step", reason)
        elif unasked:
            self._enter(address, "diverged", "step", f"did not ask {unasked[0].address}, as the recording did")
        elif result.data is not None and codec.holds_opaque(result.data) is not None:
            self._enter(address, "unreplayable", "step", "opaque: its output could not be recorded")
        else:
            self._enter(address, "reproduced", "step")

    @staticmethod
    def _divergence(was: Result, now: Result) -> str:
        if was.ok and now.ok:
            return difference.first(was.value, now.value)
        return f"recorded {was.status} ({was.text}), now {now.status} ({now.text})"

    def _enter(self, address: str, status: str, kind: str, reason: str = "") -> None:
        known = self.entries.get(address)
        if known is not None and known.status in {"diverged", "unreplayable"}:
            return
        self.entries[address] = Entry(address, status, kind, reason)

    def _enter_call(self, call: Call, status: str, reason: str = "") -> None:
        if call.span is not None:
            self._enter_all(call.span, status, reason)
        else:
            self._enter(call.address, status, "effect", reason)

    def _enter_all(self, span: Span, status: str, reason: str = "") -> None:
        self._enter(span.address, status, "step", reason)
        for call in span.calls:
            if call.address not in self.executed:
                self._enter_call(call, status, reason)

    def _enter_asked(self, answers: Answers) -> None:
        for asked in answers.asked:
            if not asked.effect:
                continue
            if asked.live:
                self._enter(asked.address, "live", "effect")
            elif asked.recorded is not None:
                self._enter(asked.address, "moved" if asked.address in self.moved else "reused", "effect")
            else:
                self._enter(asked.address, "blocked", "effect", "no recorded answer")
        for call in () if answers.recorded is None else answers.recorded.calls:
            taken = call.record in answers.used or call.record in answers.claimed
            if not taken and call.address not in self.entries and not self._asked_again(answers, call):
                self._enter_call(call, "dropped")

    @staticmethod
    def _asked_again(answers: Answers, call: Call) -> bool:
        return any(asked.address == call.address for asked in answers.asked)

    # going live

    def may_go_live(self, answers: Answers, asked: Asked, call: EffectCall) -> bool:
        """Whether an effect's call is made for real; a refusal by budget is noted on the span."""
        chosen = self.request
        step = asked.address.rpartition("/")[0]
        named = asked.address in chosen.live or step in chosen.live
        needed = chosen.needed and asked.recorded is None and not call.effect.side_effect and not answers.verify
        if not named and not needed:
            return False
        if call.effect.snapshot:
            asked.held = self._other_version(answers, asked)
            if asked.held:
                return False
        if chosen.budget_usd is None:
            return True
        needs = self._needs_usd(self.nearest(answers, asked))
        if needs <= chosen.budget_usd:
            return True
        asked.held = "its cost is unknown, and a budget is set"
        if needs < math.inf:
            asked.held = f"the recording holds no answer, and with it ${needs:g} of ${chosen.budget_usd:g} would be spent"
        return False

    def _needs_usd(self, near: Call | None) -> float:
        """What would have been spent with a call like this one; infinite where nothing tells its cost."""
        cost = None if near is None else near.attributes.get(COST)
        return math.inf if cost is None else self.spent_usd + float(cost)

    def _other_version(self, answers: Answers, asked: Asked) -> str:
        """Why a live answer would not be one of what was recorded, or nothing."""
        near = self.nearest(answers, asked)
        if near is None:
            return ""
        was, now = (codec.decode_any(request).get("self") for request in (near.request, asked.request))
        if was == now:
            return ""
        return f"it would be answered by {now}, and the recording was made with {was}: what they hold differs"

    def spend(self, asked: Asked, attributes: dict[str, Any]) -> None:
        """Count what a live effect says it cost."""
        self.spent_usd += float(attributes.get(COST, 0.0))

    def nearest(self, answers: Answers, asked: Asked) -> Call | None:
        """The recorded call that is most like one without an answer."""
        calls = [] if answers.recorded is None else answers.recorded.calls
        same = [call for call in calls if call.intent.name == asked.name and call.is_effect == asked.effect]
        if not same:
            same = [call for call in self.recording.calls if call.intent.name == asked.name and call.is_effect == asked.effect]
        if not same:
            return None
        wanted = codec.decode_any(asked.request)
        count = functools.partial(_count_changes, wanted)
        place = (asked.lane, asked.nth)
        return min(same, key=lambda call: (count(call), (call.intent.lane, call.intent.nth) != place))

    def block(self, answers: Answers, asked: Asked) -> None:
        """Note a call that has no answer."""
        near = self.nearest(answers, asked)
        needs = None if self.request.budget_usd is None else self._needs_usd(near)
        self.blocked.append(blocked_call(asked, near, needs))


class _NoInput(Exception):
    """A recorded input is a stand-in: the step must not run on it as if it were the value."""


def _take(decode: Callable[[bytes], Any], data: bytes) -> Any:
    stand_in = codec.holds_opaque(data)
    if stand_in is not None:
        raise _NoInput(f"opaque: an input of it was not recorded ({stand_in})")
    return decode(data)


def _count_changes(wanted: Any, call: Call) -> int:
    return sum(1 for _ in difference.changes(codec.decode_any(call.request), wanted))


def _absent() -> None:
    """Stands for the callable of an overridden step, which is never called."""
