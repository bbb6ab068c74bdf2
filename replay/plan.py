"""What a replay will do at each address, before any call."""

from __future__ import annotations

from typing import Any

import attrs

from replay.selection import Request
from runtime.agent import Agent
from runtime.parts import parts_of
from runtime.recording import Call, Recording, Span, static
from runtime.scope import parent_address


@attrs.frozen
class Step:
    """One address of a plan."""

    address: str
    mode: str
    """verify, reuse, maybe (unless an earlier value comes out unchanged), live or blocked."""
    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.address}  {self.mode}{f' ({self.reason})' if self.reason else ''}"


@attrs.frozen
class Plan:
    """A replay never does more than its plan."""

    trace_id: str
    steps: tuple[Step, ...]
    live_calls: int
    """At most this many calls go live, as far as the recording tells."""

    def __getitem__(self, address: str) -> Step:
        for step in self.steps:
            if step.address == address:
                return step
        raise KeyError(f"the plan has no address {address!r}")

    @property
    def runs(self) -> tuple[str, ...]:
        """The addresses of steps that run, or may."""
        return tuple(one.address for one in self.steps if one.kind == "step" and one.mode in {"verify", "maybe", "live"})

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "version": 1,
            "trace_id": self.trace_id,
            "live_calls": self.live_calls,
            "steps": [attrs.asdict(one) for one in self.steps],
        }

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.steps)


def make(recording: Recording, agent: Agent[Any, Any], request: Request) -> Plan:
    """The plan of a replay."""
    return _Planner(recording, agent, request).make()


class _Planner:
    def __init__(self, recording: Recording, agent: Agent[Any, Any], request: Request) -> None:
        self._recording, self._agent, self._request = recording, agent, request
        self._steps: list[Step] = []
        self._parts = parts_of(agent)
        self._live = 0
        self._listed: set[str] = set()

    def make(self) -> Plan:
        touched: dict[int, str] = {}
        for spec in self._agent.nodes:
            above = next((touched[place] for place in spec.inputs if place in touched), "")
            span = self._recording.node(spec.name)
            why = self._why(spec.name, span, spec.step.fingerprint.digest)
            overridden = spec.name in self._request.overrides
            if overridden or why or above or self._request.below(spec.name):
                touched[spec.index] = spec.name
            if spec.kind == "derive":
                continue
            if overridden:
                self._steps.append(Step(spec.name, "reuse", "step", "overridden"))
            elif why:
                self._step(spec.name, "live" if why == "live" else "verify", why, span)
            elif above or self._request.below(spec.name):
                self._step(
                    spec.name,
                    "maybe",
                    f"unless {above} comes out unchanged" if above else "if a nested step comes out changed",
                    span,
                )
            else:
                self._step(spec.name, "verify" if self._request.verifies else "reuse", "", span)
        return Plan(self._recording.trace_id, tuple(self._steps), self._live)

    def _why(self, address: str, span: Span | None, now: bytes | None) -> str:
        if address in self._request.swaps:
            return "swapped"
        if address in self._request.live:
            return "live"
        if span is None:
            return "never recorded"
        if now is not None and span.fingerprint != now and not self._request.use_recorded_code:
            return f"code: recorded {span.fingerprint.hex()[:4]}, now {now.hex()[:4]}"
        return "was cancelled" if span.result.status == "cancelled" else ""

    def _unseen(self, address: str, span: Span | None) -> None:
        """What a control node that runs again may reach though the recording did not: another arm, a further iteration."""
        recorded = set() if span is None else {static(call.address) for call in span.calls}
        here = static(address)
        below = [one for one in self._parts if parent_address(one) == here]
        for name in below:
            part = self._parts[name]
            if part.kind == "derive" or (name in recorded and not part.repeats) or name in self._listed:
                continue
            self._listed.add(name)
            self._steps.append(
                Step(name, "maybe", "step", "where the recording has no such iteration" if part.repeats else "if it is reached")
            )
            self._unseen(name, None)

    def _step(self, address: str, mode: str, reason: str, span: Span | None) -> None:
        self._steps.append(Step(address, mode, "step", reason))
        if mode != "reuse" and (mode != "verify" or reason):
            self._unseen(address, span)
        for call in () if span is None else span.calls:
            if call.span is not None:
                nested = self._why(call.address, call.span, None)
                inner = (
                    "live"
                    if nested == "live"
                    else "verify"
                    if nested
                    else "maybe"
                    if mode in {"maybe", "live"} or self._request.below(call.address)
                    else mode
                )
                if mode == "verify" and reason and not nested:
                    inner = "maybe"
                self._step(call.address, inner, nested, call.span)
            else:
                self._effect(call, mode, reason)

    def _effect(self, call: Call, mode: str, reason: str) -> None:
        step = call.address.rpartition("/")[0]
        if call.address in self._request.live or step in self._request.live:
            self._live += 1
            self._steps.append(Step(call.address, "live", "effect"))
        elif mode in {"maybe", "live"} or (mode == "verify" and reason):
            if self._request.needed and not call.side_effect:
                self._live += 1
                self._steps.append(Step(call.address, "live", "effect", "if it is asked otherwise"))
            else:
                self._steps.append(Step(call.address, "reuse", "effect", "blocked if it is asked otherwise"))
        else:
            self._steps.append(Step(call.address, "reuse", "effect"))
