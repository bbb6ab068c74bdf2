"""The spans and calls of a trace as they nest: of a recording, and of a replay that has just ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from replay.asked import Asked
from replay.measures import Measures, measure
from replay.replayer import Replayer
from runtime.effects import STREAM
from runtime.recording import Call, Recording, Result, Span
from storage import codec

EFFECT, STEP, GLUE = "effect", "step", "glue"
BLOCKED: Final = Result("blocked", None, b"")


@attrs.frozen(eq=False)
class Item:
    """One span or effect."""

    address: str
    name: str
    what: str
    """step, effect or glue."""
    request: bytes | None
    """What a call was asked; None for a node, whose inputs are other nodes' outputs."""
    result: Result | None
    measures: Measures = attrs.field(factory=Measures)
    fingerprint: bytes = b""
    """Of the code that ran; empty for an effect."""
    below: tuple[Item, ...] = ()
    is_stream: bool = False

    @property
    def asked(self) -> tuple[str, str, bytes | None]:
        """Equal for calls that ask the same."""
        canonical = None if self.request is None else codec.canonical(self.request)
        return self.what, self.name, canonical

    def walk(self) -> Iterator[Item]:
        """Itself and all below it."""
        yield self
        for item in self.below:
            yield from item.walk()


@attrs.frozen(eq=False)
class Tree:
    """A whole trace."""

    trace_id: str
    given: bytes
    """The input."""
    result: Result | None
    duration_ms: float | None
    items: tuple[Item, ...]

    @property
    def calls(self) -> Iterator[Item]:
        """Every effect."""
        return (one for item in self.items for one in item.walk() if one.what == EFFECT)


def of_recording(recording: Recording) -> Tree:
    """The tree of a stored trace."""
    timed = recording.stored.header.kind != "replay"
    items = tuple(_span(span, None, timed=timed) for span in recording.spans.values() if span.node >= 0)
    duration = recording.duration_ms if timed else None
    return Tree(recording.trace_id, recording.input, recording.result, duration, items)


def of_replay(recording: Recording, replayer: Replayer, trace_id: str, result: Result | None) -> Tree:
    """The tree of what a replay came to. Where it ran nothing, that is what was recorded."""
    return Tree(trace_id, recording.input, result, None, tuple(_Replayed(recording, replayer).nodes()))


def _span(span: Span, request: bytes | None, *, timed: bool) -> Item:
    what = GLUE if span.kind == "derive" else STEP
    # A step that ran in a replay was answered at once: how long it took says nothing.
    took = span.record.duration if timed or span.record.duration else None
    below = tuple(_call(call, timed=timed) for call in span.calls)
    return Item(span.address, span.name, what, request, span.result, measure({}, took), span.fingerprint, below)


def _call(call: Call, *, timed: bool = True) -> Item:
    if call.span is not None:
        return _span(call.span, call.request, timed=timed)
    took = call.duration_ns if call.result is not None and (timed or call.duration_ns) else None
    is_stream = bool(call.intent.flags & STREAM)
    told = measure(call.attributes, took)
    what = EFFECT if call.is_effect else STEP
    return Item(call.address, call.intent.name, what, call.request, call.result, told, is_stream=is_stream)


class _Replayed:
    def __init__(self, recording: Recording, replayer: Replayer) -> None:
        self._recording, self._replayer = recording, replayer

    def nodes(self) -> Iterator[Item]:
        for spec in self._replayer.agent.nodes:
            recorded = self._recording.node(spec.name)
            entry = self._replayer.entries.get(spec.name)
            known = self._replayer.results.get(spec.name)
            if known is None and (recorded is None or (entry is not None and entry.status == "dropped")):
                continue
            what = GLUE if spec.kind == "derive" else STEP
            if known is None and (entry is None or entry.status == "blocked"):  # it was not reached
                if what == STEP:
                    yield Item(spec.name, spec.name, what, None, BLOCKED)
                continue
            yield self._span(spec.name, spec.name, what, None, known, recorded)

    def _span(
        self, address: str, name: str, what: str, request: bytes | None, result: Result | None, recorded: Span | None
    ) -> Item:
        executed = self._replayer.executed.get(address)
        if executed is not None:
            below = tuple(self._asked(asked) for asked in executed.asked)
            result = executed.result or result
            return Item(address, name, what, request, result, Measures(), executed.fingerprint, below)
        if recorded is None:
            return Item(address, name, what, request, result)
        calls = () if address in self._replayer.request.overrides else tuple(recorded.calls)
        told = measure({}, recorded.record.duration)
        stands = result or recorded.result
        return Item(address, name, what, request, stands, told, recorded.fingerprint, tuple(map(self._recorded, calls)))

    def _recorded(self, call: Call) -> Item:
        if call.span is None:
            return _call(call)
        result = self._replayer.results.get(call.address)
        return self._span(call.address, call.intent.name, STEP, call.request, result, call.span)

    def _asked(self, asked: Asked) -> Item:
        recorded = asked.recorded
        if not asked.effect:
            span = None if recorded is None else recorded.span
            return self._span(asked.address, asked.name, STEP, asked.request, asked.result or BLOCKED, span)
        if recorded is not None and not asked.live:
            told = measure(recorded.attributes, recorded.duration_ns)
        else:
            told = measure(asked.attributes, asked.duration_ns)
        is_stream = bool(asked.flags & STREAM)
        result = asked.result or _unfinished(recorded)
        return Item(asked.address, asked.name, EFFECT, asked.request, result, told, is_stream=is_stream)


def _unfinished(recorded: Call | None) -> Result:
    """Of a call that was not answered: refused, or, where there is an answer, given up by its step before that one's turn."""
    return BLOCKED if recorded is None or recorded.result is None else recorded.result
