"""Replaying one trace with minimal work: the walk over its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from replay import difference
from replay.answers import Answers
from replay.arguments import Arguments
from replay.evaluation import Evaluation, Evaluator
from replay.guard import GlueGuard
from replay.selection import Request
from replay.unknown import UnknownInput, opaque, take
from runtime import failure, lanes
from runtime.agent import Agent, NodeSpec
from runtime.declaration import Bound, describe
from runtime.errors import Refused
from runtime.parts import parts_of
from runtime.recording import Recording, Result, Span, result_of
from runtime.unrecorded import run_glue


class Replayer(Evaluator):
    """One replay.

    Args:
        recording: of the trace.
        agent: the graph that replays it.
        request: what is swapped, overridden, live.
        redact: see `Evaluator`, as are the others.
        grace: as above.
        answers: as above.
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
        super().__init__(recording, request, redact=redact, grace=grace, answers=answers, parts=parts_of(agent))
        self.agent = agent
        self._input = result_of(self.mac, failure.OK, recording.input, None)

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
                self.certifier.enter_all(span, "dropped", "the graph has no such step")
        for address, reason in self.late.items():
            known = self.entries.get(address)
            self.certifier.enter(address, "blocked", "step" if known is None else known.kind, reason)
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
        return self._input if self.agent.output < 0 else values[self.agent.output]

    async def _node(self, spec: NodeSpec, values: list[Result | None]) -> Result | None:
        span = self.recording.node(spec.name)
        given = [self._source(place, values) for place in spec.inputs]
        if spec.name in self.request.overrides:
            return self.override(spec.name, span, self.request.overrides.get(spec.name), spec.codec.encode)
        upstream = [result for result, _ in given if result is None or not result.ok]
        if upstream:
            blocked = [result for result in upstream if result is not None and result.status == "blocked"]
            return self._skip(spec, span, next(iter(blocked), upstream[0]))  # whichever input comes first
        failed = any(value is not None and value.status in {"error", "timeout"} for value in values)
        if span is not None and span.result.status == "cancelled" and failed:
            # Were the failure that cancelled it gone, it would run: it never finished.
            self.certifier.enter_all(span, "reused", "cancelled")
            return span.result
        same = span is not None and self._same_inputs(span, given)
        if spec.kind == "derive":
            return self._derive(spec, span, given, same=same)

        def inputs() -> Arguments:
            return tuple([take(decode, result.data) for result, decode in given]), {}

        def recorded() -> Arguments:
            assert span is not None
            return self._recorded_inputs(spec, span), {}

        return await self.evaluate(
            Evaluation(spec.name, spec.step, spec.codec, span, span, inputs, same=same, recorded_inputs=recorded)
        )

    def _recorded_inputs(self, spec: NodeSpec, span: Span) -> tuple[Any, ...]:
        places = self.recording.nodes[span.node][2]
        if len(places) != len(spec.inputs):
            raise UnknownInput("it was given another number of inputs")
        found: list[Any] = []
        for was, now in zip(places, spec.inputs, strict=True):
            source = None if was < 0 else self.recording.node(self.recording.nodes[was][0])
            result = self._input if was < 0 else None if source is None else source.result
            if result is None or not result.ok:
                raise UnknownInput("the recording does not hold what it was given")
            decode = self.agent.input_codec.decode if now < 0 else self.agent.nodes[now].codec.decode
            found.append(take(decode, result.data))
        return tuple(found)

    def _source(self, place: int, values: list[Result | None]) -> tuple[Any, Callable[[bytes], Any]]:
        if place < 0:
            return self._input, self.agent.input_codec.decode
        return values[place], self.agent.nodes[place].codec.decode

    def _same_inputs(self, span: Span, given: list[Any]) -> bool:
        was: list[Result | None] = []
        for place in self.recording.nodes[span.node][2]:
            source = None if place < 0 else self.recording.node(self.recording.nodes[place][0])
            was.append(self._input if place < 0 else None if source is None else source.result)
        return len(was) == len(given) and all(old is not None and new.same(old) for old, (new, _) in zip(was, given, strict=True))

    def _skip(self, spec: NodeSpec, span: Span | None, upstream: Result | None) -> Result | None:
        if upstream is not None and upstream.status == "blocked":
            if spec.kind != "derive":
                self.certifier.enter(spec.name, "blocked", "step", "needs the output of a blocked step")
            return upstream
        if span is not None and spec.kind != "derive":
            self.certifier.enter_all(span, "dropped", "its input failed")
        return None

    def _derive(self, spec: NodeSpec, span: Span | None, given: list[Any], *, same: bool) -> Result:
        swap = self.request.swaps.get(spec.name)
        if swap is not None:
            spec = attrs.evolve(spec, step=describe(swap))
        stands = span is not None and same and span.fingerprint == spec.step.fingerprint.digest
        try:
            result = self._compute(spec, tuple([take(decode, result.data) for result, decode in given]))
            lost = "" if (unknown := result.unknown) is None else opaque("its output", unknown)
        except UnknownInput as error:
            result, lost = Result("blocked", None, b""), str(error)
        if spec.name in self.late:
            self.certifier.enter(spec.name, "blocked", "derive", self.late[spec.name])
        elif lost and stands and span is not None and not self.request.verifies:
            result = span.result
        elif lost:
            self.certifier.enter(spec.name, "unreplayable", "derive", lost)
        elif swap is not None:
            equal = span is not None and result.same(span.result)
            self.certifier.enter(spec.name, "cut off" if equal else "swapped", "derive", "swapped" if equal else "")
        elif span is not None and same and not result.same(span.result):
            if stands:
                self.certifier.enter(spec.name, "diverged", "derive", difference.first(span.result.value, result.value))
            else:
                self.certifier.enter(spec.name, "changed", "derive", "its code changed")
        self.results[spec.name] = result
        return result

    def _compute(self, spec: NodeSpec, args: tuple[Any, ...]) -> Result:
        try:
            value = run_glue(spec.name, Bound(spec.step, args, {}), GlueGuard(self))
        except Refused:
            return Result("blocked", None, b"")
        except Exception as error:
            return self.result(failure.status_of(error), None, error)
        if spec.name in self.late:
            return Result("blocked", None, b"")
        return self.result(failure.OK, self.encode(value, spec.codec.encode), None)
