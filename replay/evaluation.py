"""Evaluating one span of a replay: verified, reused, or run again.

A span runs again only if it was swapped or named live, its code or inputs changed, it was never recorded, or a nested step
below it was swapped and, probed on its recorded calls, gave another outcome. A re-run that yields the recorded outcome cuts
everything below off. Where a trace is verified, spans that stand run too, each on its recorded inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from replay.answers import Answers
from replay.arguments import Arguments, arguments
from replay.asked import Asked
from replay.certifier import Certifier
from replay.frontier import Frontier
from replay.selection import Request
from replay.unknown import UnknownInput, opaque
from runtime import failure
from runtime.declaration import Bound, StepInfo, describe
from runtime.engine import run_step, run_step_sync
from runtime.oracle import Guard
from runtime.parts import Part
from runtime.recording import Call, Recording, Result, Span, result_of, static, stream_result
from runtime.scope import Frame, parent_address
from runtime.unrecorded import run_glue
from storage import codec, ids

NOT_CONTROLLED: Final = "not controlled"
_INPUT_CHANGED: Final = frozenset({"inputs changed", "asked otherwise", "a nested step changed"})
"""Why a span runs again whose own code stands: what came out otherwise may be a leak of its own."""


@attrs.frozen(eq=False)
class Evaluation:
    """What is to be evaluated."""

    address: str
    step: StepInfo
    wanted: codec.Codec
    """Of the output."""
    span: Span | None
    """What was recorded at the address; None where nothing was, or the inputs are others."""
    counterpart: Span | None
    """What was recorded in its place: its calls may answer."""
    inputs: Callable[[], Arguments]
    """May raise `UnknownInput`."""
    same: bool
    """Whether the inputs are the recorded ones."""
    sync: bool = False
    """Whether a sync step asks for it, which cannot wait."""
    recorded_inputs: Callable[[], Arguments] | None = None
    """Those of `counterpart`, for a control run. May raise `UnknownInput`."""


@attrs.define(eq=False)
class Executed:
    """A span whose code ran, for the replay's own trace."""

    asked: list[Asked]
    frame: Frame
    fingerprint: bytes
    result: Result | None = None
    """What it gave, whether or not that stands."""


class Evaluator:
    """Evaluates spans, each once where its inputs are the recorded ones.

    Args:
        recording: of the trace.
        request: what is swapped, overridden, live.
        redact: applied to every value before it is encoded.
        grace: seconds that an answer waits, beyond the span's recorded duration, for one that came earlier.
        answers: makes the oracle of a span that runs again.
        parts: of the agent's control nodes, by address without indexes.
    """

    def __init__(
        self,
        recording: Recording,
        request: Request,
        *,
        redact: Callable[[Any], Any],
        grace: float,
        answers: Callable[..., Answers],
        parts: Mapping[str, Part],
    ) -> None:
        self.recording, self.request, self.grace = recording, request, grace
        self.mac = recording.mac
        self._redact, self._answers, self._parts = redact, answers, parts
        self.ran: list[str] = []
        """Addresses whose code ran, in order."""
        self.results: dict[str, Result] = {}
        self.executed: dict[str, Executed] = {}
        self.callees: dict[str, tuple[StepInfo, bool]] = {}
        """What was asked for at the address of a nested step, and whether by a sync step."""
        self.notes: list[str] = []
        self.controls: Evaluator | None = None
        """Of control runs, which are counted apart."""
        self.late: dict[str, str] = {}
        """What threads and tasks were refused after the step that started them had ended, by address."""
        self.direct_seed = request.seed or recording.stored.header.seed
        self.answers_direct_from_recording = recording.answers_direct and not request.seed
        self.frontier = Frontier(recording, request)
        self.certifier = Certifier(self.executed)
        self.entries = self.certifier.entries
        self._memo: dict[str, Result] = {}

    def encode(self, value: Any, encode: codec.Encode) -> bytes:
        """As in a live run: redaction, then encoding."""
        return encode(self._redact(value))

    def result(self, status: int, data: bytes | None, error: BaseException | None) -> Result:
        """An outcome of this replay."""
        return result_of(self.mac, status, data, None if error is None else failure.describe(error))

    def stream_result(self, status: int, data: bytes, error: BaseException | None) -> Result:
        """What a stream of this replay ended in."""
        return stream_result(self.mac, status, data, None if error is None else failure.describe(error))

    async def evaluate(self, work: Evaluation) -> Result:
        """The outcome of a span."""
        address, span = work.address, work.span
        if span is not None and span.address in self._memo:
            self.results[address] = self._memo[span.address]
            return self._memo[span.address]
        swap = self.request.swaps.get(address)
        if swap is not None:
            work = attrs.evolve(work, step=describe(swap))
        why = "swapped" if swap is not None else self._why_again(work)
        if not why and span is not None:
            kept = await self._stand(work, span)
            if kept is not None:
                return kept
            why = "its glue was swapped" if self._is_glue_swapped(address) else "a nested step changed"
        result = await self._rerun(work, why)
        if span is not None:
            self._memo[span.address] = result
        return result

    def _why_again(self, work: Evaluation) -> str:
        """Why a span that nobody swapped runs again, or nothing where it stands."""
        address, span = work.address, work.span
        if address in self.request.live and not self._is_effect_key(address):
            return "live"
        if span is None:
            return "never recorded" if work.counterpart is None else "asked otherwise"
        now = work.step.fingerprint.digest
        if span.fingerprint != now and not self.request.use_recorded_code:
            changed = f"recorded {span.fingerprint.hex()[:4]}, now {now.hex()[:4]}"
            self.notes.append(f"{address}: {changed}")
            return f"code: {changed}"
        if not work.same:
            return "inputs changed"
        return "was cancelled" if span.result.status == "cancelled" else ""

    def _is_effect_key(self, address: str) -> bool:
        return any(call.address == address and call.is_effect for call in self.recording.calls)

    async def _stand(self, work: Evaluation, span: Span) -> Result | None:
        """A span whose code and inputs stand: verified or reused. None where a nested step's new outcome makes it run again."""
        chosen = self.request
        if not chosen.verifies:
            if chosen.below(work.address) and await self._probe(span):
                return None
            return self._reuse(work.address, span, "recorded code" if chosen.use_recorded_code else "")
        if chosen.use_recorded_code and span.fingerprint != work.step.fingerprint.digest:
            return self._reuse(work.address, span, "recorded code")
        answers = self._answers(self, span, verify=True)
        result = self.executed[work.address].result = await self._execute(work, answers)
        self.certifier.certify(work.address, span, answers, result)
        # Equal outcomes: the new one also has the content, where the recorded one was left out.
        stands = result if result.same(span.result) else span.result
        self.results[work.address] = stands
        changed = False
        for call in span.nested:
            callee = self.callees.get(call.address)
            if call.span is None or callee is None:
                continue
            if call.span.result.status == "cancelled":
                self.certifier.enter_all(call.span, "reused", "cancelled")
                continue
            outcome = await self._nested_again(call, call.span, *callee)
            changed = changed or not outcome.same(call.span.result)
        return None if changed else stands

    def _reuse(self, address: str, span: Span, reason: str) -> Result:
        if address == span.address:
            self.certifier.enter_all(span, "reused", reason)
        if address in self.certifier.moved or address != span.address:
            self.certifier.enter(address, "moved", "step", reason)
        self.results[address] = span.result
        return span.result

    def override(self, address: str, span: Span | None, value: Any, encode: codec.Encode) -> Result:
        """A span whose outcome the caller gives."""
        result = result_of(self.mac, failure.OK, self.encode(value, encode), None)
        self.results[address] = result
        unknown = result.unknown
        if unknown is not None:
            self.certifier.enter(address, "unreplayable", "step", opaque("the value it was overridden with", unknown))
        else:
            same = span is not None and result.same(span.result)
            self.certifier.enter(address, "cut off" if same else "swapped", "step", "overridden")
        for call in () if span is None else span.calls:
            self.certifier.enter_call(call, "dropped", "its step was overridden")
        return result

    # nested steps

    async def _nested_again(self, call: Call, span: Span, callee: StepInfo, sync: bool) -> Result:  # noqa: FBT001 - as held
        """Evaluate a nested step on its recorded request."""
        if call.address in self.request.overrides:
            return self.override(call.address, span, self.request.overrides.get(call.address), callee.codec.encode)
        swap = self.request.swaps.get(call.address)
        inputs = functools.partial(arguments, call.request, callee, describe(swap) if swap is not None else callee)
        return await self.evaluate(
            Evaluation(
                call.address, callee, callee.codec, span, span, inputs, same=True, sync=sync, recorded_inputs=inputs,
            )
        )  # fmt: skip

    async def _probe(self, span: Span) -> bool:
        """Whether a span has to run again for what is below it.

        It has where one of its effects goes live, or a swapped nested step gives another outcome on one of its recorded calls,
        tried in recorded order.
        """
        chosen = self.request
        if self._is_glue_swapped(span.address) or any(call.is_effect and call.address in chosen.live for call in span.calls):
            return True
        for call in sorted(span.nested, key=lambda call: call.intent.start):
            nested = call.span
            if nested is None:
                continue
            address = call.address
            stands_in = address in chosen.swaps or address in chosen.overrides
            touched = address in chosen.live or chosen.below(address)
            # What a control node runs is known without running it; what another step asks for is not, unless it is swapped.
            if stands_in or (touched and static(address) in self._parts):
                outcome = await self._nested_again(call, nested, *self._callee(address))
                if not outcome.same(nested.result):
                    return True
            elif address in chosen.live or (touched and await self._probe(nested)):
                return True
        return False

    def _callee(self, address: str) -> tuple[StepInfo, bool]:
        """What is asked for at the address of a nested step that is swapped, and whether by a sync step."""
        part = self._parts.get(static(address))
        if part is not None:
            return part.step, False
        swap = describe(self.request.swaps.get(address) or _absent)
        return self.callees.get(address) or (swap, not swap.is_async)

    def _is_glue_swapped(self, address: str) -> bool:
        """Whether glue of a control node is another one: it has no recorded calls to probe it on."""
        here = static(address)
        glue = {one for one, part in self._parts.items() if part.kind == "derive" and parent_address(one) == here}
        return any(static(key) in glue for key in (*self.request.swaps.keys(), *self.request.overrides.keys()))

    def glue(self, address: str, call: Bound, guard: Guard | None) -> Any:
        """The value of glue inside a span, which is guarded as that is."""
        if address in self.request.overrides:
            self.certifier.enter(address, "swapped", "derive", "overridden")
            return self.request.overrides.get(address)
        swap = self.request.swaps.get(address)
        if swap is not None:
            self.certifier.enter(address, "swapped", "derive")
            call = attrs.evolve(call, info=describe(swap))
        return run_glue(address, call, guard)

    async def nested(self, asked: Asked, counterpart: Call | None, call: Bound, *, sync: bool) -> Result:
        """A nested step that a re-run span asked for."""
        address, info = asked.address, call.info
        span = None if asked.recorded is None else asked.recorded.span
        if address in self.request.overrides:
            return self.override(address, span, self.request.overrides.get(address), info.codec.encode)
        near = span if span is not None else None if counterpart is None else counterpart.span
        was = asked.recorded or counterpart
        recorded = None if was is None else functools.partial(arguments, was.request, info, info)
        return await self.evaluate(
            Evaluation(
                address, info, info.codec, span, near, lambda: (call.args, call.kwargs), same=span is not None,
                sync=sync, recorded_inputs=recorded,
            )
        )  # fmt: skip

    # running code

    async def _rerun(self, work: Evaluation, why: str) -> Result:
        answers = self._answers(self, work.counterpart, verify=False)
        if why == "live":
            answers.be_live()
        uncontrolled = await self._control(work) if self.request.control and why in _INPUT_CHANGED else ""
        result = await self._execute(work, answers)
        self.results[work.address] = result
        self.certifier.enter_asked(answers)
        answers.note_reassigned()
        if why in _INPUT_CHANGED and not self.request.control:
            uncontrolled = NOT_CONTROLLED
        self.certifier.enter_rerun(work.address, why, answers, result, work.span or work.counterpart, uncontrolled)
        return result

    async def _control(self, work: Evaluation) -> str:
        """Repeat a span on its recorded input: nothing where that reproduces it, else what keeps it from being a control."""
        span = work.counterpart
        if span is None or work.recorded_inputs is None:
            return NOT_CONTROLLED
        if self.controls is None:
            self.controls = Evaluator(
                self.recording,
                self.request.without_changes(),
                redact=self._redact,
                grace=self.grace,
                answers=self._answers,
                parts=self._parts,
            )
        answers = self._answers(self.controls, span, verify=True)
        again = attrs.evolve(work, inputs=work.recorded_inputs, address=span.address)
        result = await self.controls._execute(again, answers)
        self.controls.certifier.certify(span.address, span, answers, result)
        entry = self.controls.entries[span.address]
        return "" if entry.status == "reproduced" else f"{NOT_CONTROLLED}: {entry.reason}"

    async def _execute(self, work: Evaluation, answers: Answers) -> Result:
        header, info = self.recording.stored.header, work.step
        wall = header.wall if answers.recorded is None else answers.recorded.record.wall
        frame = Frame(answers, 0, work.address, ids.random_bytes(32) if answers.clock is None else header.seed, wall)
        self.ran.append(work.address)
        made = self.executed[work.address] = Executed(answers.asked, frame, info.fingerprint.digest)
        made.result = await self._run_code(work, answers, frame)
        return made.result

    async def _run_code(self, work: Evaluation, answers: Answers, frame: Frame) -> Result:
        info = work.step
        try:
            args, kwargs = work.inputs()
            if work.sync and info.is_async:
                raise UnknownInput(f"a sync step asks for it and cannot wait for {info.name}, which is async")
        except UnknownInput as error:
            answers.refusals.append(("unreplayable", str(error)))
            return Result("blocked", None, b"")
        try:
            if work.sync:
                value = run_step_sync(info, args, kwargs, frame)
            else:
                value = await run_step(info, args, kwargs, frame, waits=False)
            result = self.result(failure.OK, self.encode(value, work.wanted.encode), None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if answers.refusals:
                return Result("blocked", None, b"")
            if failure.is_cancellation(error):
                raise
            return self.result(failure.status_of(error), None, error)
        finally:
            answers.over = True
            frame.findings = answers.deeds or None
        return Result("blocked", None, b"") if answers.refusals else result


def _absent() -> None:
    """Stands for the callable of an overridden step, which is never called."""
