"""The rows of one trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from storage import codec
from storage.errors import CorruptRecord, StorageError
from storage.records import Annotation, End, Error, Header, Intent, Link, Outcome, Ref, Span
from storage.rows.columns import Terms, Type, cell, own

Row = dict[str, Any]
Part = Literal["whole", "some", "late"]
"""What of a trace is here: all of it; some, or all there is of one that never ended; only what was said after its end."""

_EFFECT: Final = 0
_SIDE_EFFECT: Final = 1
_LAST_MICROSECOND: Final = 253_402_300_799_999_999
"""Of the year 9999."""


class Told(Protocol):
    """What was said of a trace, readable."""

    @property
    def trace_id(self) -> bytes:
        """16 bytes."""
        ...

    @property
    def annotations(self) -> Sequence[Annotation]:
        """In any order."""
        ...

    def value(self, ref: Ref, /) -> bytes:
        """The stored bytes that a reference stands for; a `StorageError` where they cannot be had."""
        ...


class Trace(Told, Protocol):
    """The records of a trace, as `storage.stored.Stored` has them."""

    @property
    def header(self) -> Header:
        """What it is of."""
        ...

    @property
    def intents(self) -> Mapping[int, Intent]:
        """By record id."""
        ...

    @property
    def outcomes(self) -> Mapping[int, Outcome]:
        """By the record id of their intent."""
        ...

    @property
    def spans(self) -> Mapping[int, Span]:
        """By record id."""
        ...

    @property
    def links(self) -> Sequence[Link]:
        """In any order."""
        ...

    @property
    def end(self) -> End | None:
        """None where it never ended."""
        ...

    @property
    def state(self) -> str:
        """whole, unfinished or damaged."""
        ...

    @property
    def manifest(self) -> bytes:
        """The agent's, as stored; a `CorruptRecord` where it cannot be had."""
        ...


class TraceRows(NamedTuple):
    """One trace as rows: column -> JSON data."""

    trace: Row
    spans: Sequence[Row]
    effects: Sequence[Row]
    types: Sequence[tuple[str, Type]]
    """Name and type of every value of the user's own attributes, feedback as `outcome.*` among them."""


class RowMaker:
    """Makes rows of traces.

    Args:
        terms: what rows are told in.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._nodes: dict[bytes, list[Any]] = {}

    def rows(self, trace: Trace, part: Part) -> TraceRows:
        """The rows of a trace."""
        header, end, state = trace.header, trace.end, trace.state
        cells = {name: own(value) for name, value in (header.attributes or {}).items()}
        types: list[tuple[str, Type]] = [(name, one[0]) for name, one in cells.items() if one is not None]
        said: Row = {}
        try:
            said, more = _said(trace)
            types += more
        except StorageError:  # what was said last cannot be told, and what was said before must not stand for it
            state = "damaged"
        replays = [link.trace.hex() for link in trace.links if link.relation == "replay.of"]
        common = {"trace_id": trace.trace_id.hex(), "agent": header.agent, "kind": header.kind}
        row = {
            **common,
            "row": "trace",
            "start": _microseconds(header.wall),
            "duration": None if end is None else _bigint(end.duration),
            "status": state if state != "whole" or end is None else self.terms.status(end.status),
            "error_type": None if end is None else _type(end.error),
            "replay_of": replays[0] if replays else None,
            "part": part,
            "own": {name: one[1] for name, one in cells.items() if one is not None},
            "said": said,
        }
        walk = _Walk(trace, self.terms, common)
        walk.run(self._nodes_of(trace))
        return TraceRows(row, walk.spans, walk.effects, types)

    def late(self, trace: Told) -> TraceRows:
        """What was said of a trace whose other records lie elsewhere; the row of one that cannot be read where that cannot be."""
        try:
            said, types = _said(trace)
        except StorageError:
            return self.lost(trace.trace_id)
        return TraceRows({"row": "trace", "trace_id": trace.trace_id.hex(), "part": "late", "said": said}, [], [], types)

    def lost(self, trace: bytes) -> TraceRows:
        """The row of a trace that cannot be read."""
        return TraceRows({"row": "trace", "trace_id": trace.hex(), "status": "damaged", "part": "some"}, [], [], [])

    def _nodes_of(self, trace: Trace) -> list[Any]:
        known = self._nodes.get(trace.header.manifest)
        if known is None:
            try:
                known = list(codec.decode_any(trace.manifest)[2])
            except (CorruptRecord, LookupError, TypeError):  # it is told as damaged; its calls still count
                return []
            self._nodes[trace.header.manifest] = known
        return known


class _Walk:
    """The spans and effects of one trace, each with its address."""

    def __init__(self, trace: Trace, terms: Terms, common: Row) -> None:
        self._trace, self._terms, self._common = trace, terms, common
        self.spans: list[Row] = []
        self.effects: list[Row] = []
        self._calls: dict[int, list[tuple[int, Intent]]] = defaultdict(list)
        for number, intent in sorted(trace.intents.items(), key=lambda item: (item[1].start, item[0])):
            self._calls[intent.parent].append((number, intent))
        self._nested = {span.intent: (number, span) for number, span in trace.spans.items() if span.intent}

    def run(self, nodes: Sequence[Any]) -> None:
        """Nodes in the graph's order; then what was called by spans that never ended, whose places nobody can tell."""
        for number, span in sorted(self._trace.spans.items(), key=lambda item: item[1].node):
            if span.node < 0:
                continue
            node = nodes[span.node] if span.node < len(nodes) else [None, None]
            if node[1] == "derive":
                self._calls.pop(number, None)
            else:
                self._span(number, span, node[0], node[0], None)
        while self._calls:
            for number, intent in self._calls.pop(next(iter(self._calls))):
                self._call(number, intent, None, None)

    def _span(self, number: int, span: Span, name: str | None, address: str | None, parent: str | None) -> None:
        self.spans.append({
            **self._common,
            "row": "span",
            "start": _microseconds(self._trace.header.wall + span.start),
            "duration": _bigint(span.duration),
            "status": self._terms.status(span.status),
            "error_type": _type(span.error),
            "name": name,
            "address": address,
            "parent": parent,
            "span_id": span.span_id.hex(),
            "attempts": len(span.attempts) if span.attempts else 1,
            **self._declared(span.attributes),
        })  # fmt: skip
        for called, intent in self._calls.pop(number, ()):
            attempt = intent.attempt if span.attempts else None
            where = address and self._terms.address(address, attempt, intent.name, intent.lane, intent.nth)
            self._call(called, intent, where, address)

    def _call(self, number: int, intent: Intent, address: str | None, parent: str | None) -> None:
        if intent.call != _EFFECT:
            found = self._nested.get(number)
            if found is not None:
                self._span(*found, intent.name, address, parent)
            return
        outcome = self._trace.outcomes.get(number)
        self.effects.append({
            **self._common,
            "row": "effect",
            "start": _microseconds(self._trace.header.wall + intent.time),
            "duration": None if outcome is None else _bigint(outcome.time - intent.time),
            "status": "unfinished" if outcome is None else self._terms.status(outcome.status),
            "error_type": None if outcome is None else _type(outcome.error),
            "name": intent.name,
            "address": address,
            "parent": parent,
            "attempt": intent.attempt,
            "side_effect": bool(intent.flags & _SIDE_EFFECT),
            **self._declared(None if outcome is None else outcome.attributes),
        })  # fmt: skip

    def _declared(self, attributes: Mapping[str, Any] | None) -> Row:
        if not attributes:
            return {}
        known = self._terms.attributes
        return {known[name].column: cell(known[name].type, value) for name, value in attributes.items() if name in known}


def _said(trace: Told) -> tuple[Row, list[tuple[str, Type]]]:
    """The latest of each score: name -> when and what, None for what is no value of a row."""
    said: Row = {}
    types: list[tuple[str, Type]] = []
    for note in sorted(trace.annotations, key=lambda note: note.wall):
        if note.kind != "feedback":
            continue
        given = codec.decode_any(trace.value(note.value))
        for name, value in given.items() if isinstance(given, dict) else ():
            one = own(value)
            said[str(name)] = {"wall": note.wall, "value": None if one is None else one[1]}
            if one is not None:
                types.append((f"outcome.{name}", one[0]))
    return said, types


def _type(error: Error | None) -> str | None:
    return None if error is None else error.type


def _bigint(nanoseconds: int) -> int | None:
    made: int | None = cell("integer", nanoseconds)
    return made


def _microseconds(nanoseconds: int) -> int | None:
    made = nanoseconds // 1000
    return made if 0 <= made <= _LAST_MICROSECOND else None
