"""What a replay will do at each address, before any call."""

from __future__ import annotations

from typing import Any, Final

import attrs

from replay.bounds import LiveBounds, bounds_of
from replay.damage import refuse
from replay.measures import Measures, measure
from replay.selection import Request
from runtime.agent import Agent
from runtime.parts import parts_of
from runtime.plain import visible
from runtime.recording import Call, Recording, Span, static
from runtime.scope import parent_address

VERSION: Final = 1


@attrs.frozen
class Step:
    """One address of a plan."""

    address: str
    mode: str
    """verify, reuse, maybe (unless an earlier value comes out unchanged), live or blocked."""
    kind: str
    """step or effect."""
    reason: str = ""
    recorded: Measures | None = None
    """Of a call that goes live or may: what it took when it was recorded."""
    certain: bool = False
    """Of such a call: that it is made, unless it is refused for its version or a budget."""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        told = {"address": self.address, "mode": self.mode, "kind": self.kind, "reason": self.reason}
        if self.recorded is None:
            return told
        return {**told, "recorded": self.recorded.to_json(), "certain": self.certain}

    def __str__(self) -> str:
        return visible(f"{self.address}  {self.mode}{f' ({self.reason})' if self.reason else ''}")


@attrs.frozen
class Plan:
    """A replay runs no step that its plan does not name, and makes no live call outside `open`."""

    trace_id: str
    steps: tuple[Step, ...]
    open: tuple[str, ...]
    """Steps that run again and may call live. The bounds hold while each asks no more often than when it was recorded."""
    budget_usd: float | None = None
    controls: tuple[str, ...] = ()
    """Addresses that are repeated on their recorded input, if their input changes. Not among `runs`."""

    def __getitem__(self, address: str) -> Step:
        for step in self.steps:
            if step.address == address:
                return step
        raise KeyError(f"the plan has no address {address!r}")

    @property
    def runs(self) -> tuple[str, ...]:
        """The addresses of steps that run, or may."""
        return tuple(one.address for one in self.steps if one.kind == "step" and one.mode in {"verify", "maybe", "live"})

    @property
    def bounds(self) -> LiveBounds:
        """What live calls may take: nothing, where none is allowed."""
        return bounds_of((one.recorded, one.certain) for one in self.steps if one.recorded is not None)

    @property
    def head(self) -> str:
        """What it comes to, in a line or two."""
        certain = sum(one.kind == "step" and one.mode in {"verify", "live"} for one in self.steps)
        told = f"steps: {certain} run, {len(self.runs) - certain} more may; {self.bounds}"
        if self.budget_usd is not None:
            told += f"; budget ${self.budget_usd:g}"
        if self.open:
            told += f"\nas recorded; more only if one of these asks more often than it did: {', '.join(self.open)}"
        return visible(told)

    def to_json(self) -> dict[str, Any]:
        """As JSON data (docs/certificate.md)."""
        return {
            "schema": "kitchenlog.plan",
            "version": VERSION,
            "trace_id": self.trace_id,
            "budget_usd": self.budget_usd,
            "bounds": self.bounds.to_json(),
            "controls": list(self.controls),
            "open": list(self.open),
            "steps": [one.to_json() for one in self.steps],
        }

    def _repr_html_(self) -> str:
        from replay import plan_html  # noqa: PLC0415 - a page is asked for in a notebook only

        return plan_html.render(self)

    def __str__(self) -> str:
        lines = [*(str(one) for one in self.steps), self.head]
        return "\n".join([*lines, *([f"control runs: {', '.join(self.controls)}"] if self.controls else [])])


def make(recording: Recording, agent: Agent[Any, Any], request: Request) -> Plan:
    """The plan of a replay."""
    refused = refuse(recording)
    if refused is not None:
        steps = tuple(Step(entry.address, "blocked", entry.kind, entry.reason) for entry in refused)
        return Plan(recording.trace_id, steps, (), request.budget_usd)
    return _Planner(recording, agent, request).make()


class _Planner:
    def __init__(self, recording: Recording, agent: Agent[Any, Any], request: Request) -> None:
        self._recording, self._agent, self._request = recording, agent, request
        self._steps: list[Step] = []
        self._open: list[str] = []
        self._parts = parts_of(agent)
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
                self._step(spec.name, "live" if why == "live" else "verify", why, span, stands=why == "live" and not above)
            elif above or self._request.below(spec.name):
                reason = f"unless {above} comes out unchanged" if above else "if a nested step comes out changed"
                self._step(spec.name, "maybe", reason, span)
            else:
                self._step(spec.name, "verify" if self._request.verifies else "reuse", "", span)
        maybe = [one.address for one in self._steps if one.kind == "step" and one.mode == "maybe"]
        controls = tuple(maybe) if self._request.control else ()
        return Plan(self._recording.trace_id, tuple(self._steps), tuple(self._open), self._request.budget_usd, controls)

    def _why(self, address: str, span: Span | None, now: bytes | None) -> str:
        chosen = self._request
        if address in chosen.swaps:
            return "swapped"
        if address in chosen.live:
            return "live"
        if span is None:
            return "never recorded"
        if now is not None and span.fingerprint != now and not chosen.use_recorded_code:
            return f"code: recorded {span.fingerprint.hex()[:4]}, now {now.hex()[:4]}"
        if any(call.is_effect and call.address in chosen.live for call in span.calls):
            return "live"
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

    def _step(self, address: str, mode: str, reason: str, span: Span | None, *, stands: bool = False) -> None:
        """A step and what is below it.

        Args:
            address: of the step.
            mode: see `Step`.
            reason: why it runs, or may.
            span: what was recorded of it.
            stands: it surely runs, with the code and the inputs that it was recorded with.
        """
        self._steps.append(Step(address, mode, "step", reason))
        again = mode in {"maybe", "live"} or (mode == "verify" and bool(reason))
        if again and (self._request.needed or address in self._request.live or self._request.live.below(address)):
            self._open.append(address)
        if again:
            self._unseen(address, span)
        for call in () if span is None else sorted(span.calls, key=lambda call: call.intent.start):
            if call.span is not None:
                self._nested(call, call.span, mode, again=again)
                continue
            live = self._effect(call, address, again=again, certain=stands)
            stands = stands and not live  # what it asks next depends on the answer

    def _nested(self, call: Call, span: Span, mode: str, *, again: bool) -> None:
        why = self._why(call.address, span, None)
        if call.address in self._request.overrides:
            self._steps.append(Step(call.address, "reuse", "step", "overridden"))
            return
        if why == "live":
            inner = "live"
        elif why:
            inner = "verify"
        else:
            inner = "maybe" if again or self._request.below(call.address) else mode
        self._step(call.address, inner, why, span)

    def _effect(self, call: Call, step: str, *, again: bool, certain: bool) -> bool:
        """Add an effect: whether it goes live or may."""
        chosen = self._request
        named = call.address in chosen.live or step in chosen.live
        needed = chosen.needed and again and not call.side_effect
        if not named and not needed:
            self._steps.append(Step(call.address, "reuse", "effect", "blocked if it is asked otherwise" if again else ""))
            return False
        told = measure(call.attributes, call.duration_ns)
        certain = certain and named and chosen.budget_usd is None
        self._steps.append(Step(call.address, "live", "effect", "" if named else "if it is asked otherwise", told, certain))
        return True
