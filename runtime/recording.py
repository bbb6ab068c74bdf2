"""A loaded trace: its spans by address, with everything that was recorded of them."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from runtime import failure, streams
from runtime.effects import STREAM
from runtime.failure import STATUS
from runtime.listing import attributes_of
from runtime.scope import call_address
from storage import codec, digest
from storage.errors import StorageError
from storage.records import Error, Intent, Outcome, Ref
from storage.records import Span as SpanRecord
from storage.store import LocalStore
from storage.stored import Stored
from storage.values import Opaque

EFFECT, NESTED = 0, 1


@attrs.define(eq=False)
class Result:
    """What a span or a call ended in."""

    status: str
    """ok, error, cancelled, timeout or blocked; cut for a stream that was not read to its end."""
    data: bytes | None
    """The encoded value, where status is ok; a stream's chunks whatever it ended in."""
    digest: bytes
    """Keyed; equal exactly where outcomes are equal."""
    error: Error | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "ok"

    @property
    def value(self) -> Any:
        """The value without its types: structs as dicts. None where there is none."""
        return None if self.data is None else codec.decode_any(self.data)

    @property
    def text(self) -> str:
        """One line for people."""
        if self.status == "cut":
            return f"cut after {len(self.value[0])} chunks"
        if self.error is not None:
            return f"{self.error.type.split(':')[-1]}: {self.error.message}"
        return brief(self.value) if self.ok else self.status


def result_of(mac: digest.Mac, status: int, data: bytes | None, error: Error | None) -> Result:
    """A result and its digest."""
    if status == 0:
        data = data if data is not None else b"\xc0"
        return Result("ok", data, mac("value", data))
    told = None if error is None else [error.type, error.message, error.args, error.data]
    return Result(STATUS[status], None, mac("value", msgspec.msgpack.encode([status, told])), error)


def stream_result(mac: digest.Mac, status: int, data: bytes, error: Error | None) -> Result:
    """A stream's result. Its digest is of the chunks and the end, not of when they came."""
    told = None if error is None else [error.type, error.message, error.args, error.data]
    return Result(STATUS[status], data, mac("value", msgspec.msgpack.encode([status, told, streams.unpack(data)[0]])), error)


@attrs.define(eq=False)
class Call:
    """A call made inside a span: an effect, or a nested step."""

    intent: Intent
    record: int
    address: str
    request: bytes
    key: tuple[int, str, bytes]
    """(attempt, name, digest of the canonical request)."""
    result: Result | None
    """None where the process ended before the call did."""
    completion: int
    span: Span | None
    """Of a nested step."""
    attributes: dict[str, Any]
    start_ns: int
    duration_ns: int

    @property
    def is_effect(self) -> bool:
        """Whether it left the process."""
        return self.intent.call == EFFECT

    @property
    def side_effect(self) -> bool:
        """Whether it was declared to change something outside."""
        return bool(self.intent.flags & 1)


@attrs.define(eq=False)
class Span:
    """One execution of a node or of a nested step."""

    address: str
    name: str
    node: int
    """Its place in the graph, -1 for a nested step."""
    kind: str
    """step or derive."""
    record: SpanRecord
    result: Result
    calls: list[Call] = attrs.field(factory=list)

    @property
    def fingerprint(self) -> bytes:
        """Of the code that ran."""
        return self.record.fingerprint

    @property
    def nested(self) -> list[Call]:
        """Its nested steps, in the order they were asked for."""
        return [call for call in self.calls if not call.is_effect]


@attrs.define(eq=False)
class Recording:
    """A stored trace, taken apart."""

    trace_id: str
    stored: Stored
    mac: digest.Mac
    agent: str
    fingerprint: bytes
    input: bytes
    nodes: list[list[Any]]
    """Of the manifest: name, kind, inputs, fingerprint, step name, parameters, notes."""
    spans: dict[str, Span]
    """Every span by address, nodes in the graph's order, each followed by its nested steps."""
    result: Result | None
    """None where the run never ended."""

    @property
    def output(self) -> Any:
        """What the run returned, without its types."""
        return None if self.result is None else self.result.value

    @property
    def status(self) -> str:
        """ok, error, cancelled, timeout; unfinished or damaged where the recording is not whole."""
        if self.stored.state != "whole" or self.result is None:
            return "damaged" if self.stored.state == "damaged" else "unfinished"
        return self.result.status

    @property
    def attributes(self) -> dict[str, Any]:
        """Given to run, with the feedback that came later."""
        return attributes_of(self.stored)

    @property
    def duration_ms(self) -> float | None:
        """Of the whole run."""
        return None if self.stored.end is None else self.stored.end.duration / 1e6

    @property
    def original(self) -> str | None:
        """The trace this one is a replay of."""
        for link in self.stored.links:
            if link.relation == "replay.of":
                return link.trace.hex()
        return None

    @property
    def calls(self) -> Iterator[Call]:
        """Every call of every span."""
        for span in self.spans.values():
            yield from span.calls

    def addresses(self) -> list[str]:
        """Of every span and effect, as they nest."""
        return [address for address, _ in self.tree()]

    def tree(self) -> Iterator[tuple[str, Span | Call]]:
        """Spans and effects depth first, in the order they began. Glue has no span."""
        for span in self.spans.values():
            if span.node >= 0 and span.kind != "derive":
                yield from self._below(span)

    def _below(self, span: Span) -> Iterator[tuple[str, Span | Call]]:
        yield span.address, span
        for call in span.calls:
            if call.span is not None:
                yield from self._below(call.span)
            else:
                yield call.address, call

    def node(self, name: str) -> Span | None:
        """The span of a node."""
        return self.spans.get(name)

    def inputs(self, span: Span) -> dict[str, Any] | None:
        """What a span was given, without types; None where it cannot be told."""
        if span.node < 0:
            for call in self.calls:
                if call.span is span:
                    given: dict[str, Any] = codec.decode_any(call.request)
                    return given
            return None
        _, _, places, _, _, names, *_ = self.nodes[span.node]
        found: dict[str, Any] = {}
        for number, place in enumerate(places):
            name = names[number] if number < len(names) else str(number)
            if place < 0:
                found[name] = codec.decode_any(self.input)
                continue
            source = self.spans.get(self.nodes[place][0])
            if source is None:
                return None
            found[name] = source.result.value
        return found

    def to_json(self) -> dict[str, Any]:
        """The trace as plain JSON data."""
        return {
            "trace_id": self.trace_id,
            "agent": self.agent,
            "status": self.status,
            "replay_of": self.original,
            "trace": {"attributes": plain(self.attributes)},
            "input": plain(codec.decode_any(self.input)),
            "output": plain(self.output),
            "damage": list(self.stored.damage),
            "spans": [_span_json(self, address, item) for address, item in self.tree()],
        }

    def show(self) -> None:
        """Print the trace as a tree."""
        print(json.dumps(self.to_json(), indent=2, ensure_ascii=False))  # noqa: T201 - printing is what it is for

    def __repr__(self) -> str:
        return f"<Recording {self.trace_id} {self.agent} {self.status}, {len(self.spans)} spans>"


def _span_json(recording: Recording, address: str, item: Span | Call) -> dict[str, Any]:
    if isinstance(item, Span):
        record = item.record
        given = recording.inputs(item)
        times = record.start, record.duration
        attributes, findings = record.attributes, record.findings
        attempts = [
            {
                "status": STATUS[status],
                "duration_ms": took / 1e6,
                "error": None if error is None else error.message,
            }
            for _, took, status, error in record.attempts or ()
        ]
        result: Result | None = item.result
        span_id, kind = record.span_id.hex(), "step"
    else:
        given = codec.decode_any(item.request)
        times = item.start_ns, item.duration_ns
        attributes, findings, attempts = item.attributes, None, []
        result, span_id, kind = item.result, None, "effect"
    parent = address.rpartition("/")[0]
    return {
        "address": address,
        "span_id": span_id,
        "parent": parent.partition("!")[0] or None,
        "name": address.rpartition("/")[2],
        "kind": kind,
        "start_ms": times[0] / 1e6,
        "duration_ms": times[1] / 1e6,
        "status": "unfinished" if result is None else result.status,
        "input": plain(given),
        "output": None if result is None else plain(result.value),
        "error": None if result is None or result.error is None else result.text,
        "attempts": attempts,
        "attributes": plain(attributes or {}),
        "findings": list(findings or ()),
    }


def plain(value: Any) -> Any:
    """A decoded value as JSON data: bytes as hexadecimal text, vectors by shape, stand-ins by what they say."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)  # noqa: PLR0124 - NaN
    if isinstance(value, bytes):
        return value.hex()
    return repr(value)


def brief(value: Any, width: int = 100) -> str:
    """A value in one line."""
    text = json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def load(store: LocalStore, trace_id: bytes) -> Recording:
    """Read a trace and take it apart.

    Raises:
        TraceNotFound: it is not in the store.
        CorruptRecord: what is there cannot be read as a trace.
    """
    stored = store.load(trace_id)
    manifest = codec.decode_any(stored.manifest)
    return _Loader(store, stored, manifest).load()


class _Loader:
    def __init__(self, store: LocalStore, stored: Stored, manifest: list[Any]) -> None:
        self._store, self._stored, self._manifest = store, stored, manifest
        self._mac = store.mac
        self._intents: dict[int, list[tuple[int, Intent]]] = defaultdict(list)
        for number, intent in sorted(stored.intents.items(), key=lambda item: (item[1].start, item[0])):
            self._intents[intent.parent].append((number, intent))
        self._by_intent = {span.intent: (number, span) for number, span in stored.spans.items() if span.intent}
        self._spans: dict[str, Span] = {}

    def load(self) -> Recording:
        stored = self._stored
        nodes: list[list[Any]] = self._manifest[2]
        by_node = {span.node: (number, span) for number, span in stored.spans.items() if span.node >= 0}
        for place, node in enumerate(nodes):
            if place in by_node:
                number, record = by_node[place]
                self._span(node[0], node[0], number, record, node[1])
        end = stored.end
        result = None
        if end is not None:
            result = self._settled(end.status, end.output, end.error)
        header = stored.header
        return Recording(
            stored.trace_id.hex(), stored, self._mac, header.agent, header.fingerprint, self._value(header.input),
            nodes, self._spans, result,
        )  # fmt: skip

    def _value(self, ref: Ref) -> bytes:
        try:
            return self._stored.value(ref)
        except StorageError as error:
            # One value that cannot be had must not hide the others: what uses it is unreplayable, by name.
            return codec.encode(Opaque("?", "", str(error)))

    def _span(self, address: str, name: str, number: int, record: SpanRecord, kind: str) -> Span:
        span = Span(address, name, record.node, kind, record, self._settled(record.status, record.output, record.error))
        self._spans[address] = span
        retried = bool(record.attempts)
        for intent_id, intent in self._intents[number]:
            where = call_address(address, intent.attempt if retried else None, intent.name, intent.lane, intent.nth)
            span.calls.append(self._call(where, intent_id, intent))
        return span

    def _call(self, address: str, number: int, intent: Intent) -> Call:
        request = self._value(intent.request)
        same = request if intent.call == EFFECT else codec.canonical(request)
        key = (intent.attempt, intent.name, self._mac("request", same))
        if intent.call == NESTED:
            found = self._by_intent.get(number)
            if found is None:
                return Call(intent, number, address, request, key, None, 0, None, {}, intent.time, 0)
            span = self._span(address, intent.name, *found, "step")
            record = span.record
            return Call(
                intent, number, address, request, key, span.result, record.completion, span, {}, record.start,
                record.duration,
            )  # fmt: skip
        outcome = self._stored.outcomes.get(number)
        if outcome is None:
            return Call(intent, number, address, request, key, None, 0, None, {}, intent.time, 0)
        return Call(
            intent, number, address, request, key, self._result(intent, outcome), outcome.completion, None,
            dict(outcome.attributes or {}), intent.time, outcome.time - intent.time,
        )  # fmt: skip

    def _result(self, intent: Intent, outcome: Outcome) -> Result:
        if intent.flags & STREAM:
            chunks = self._value(outcome.value)
            if codec.is_opaque(chunks):  # they are gone
                return result_of(self._mac, failure.OK, chunks, None)
            return stream_result(self._mac, outcome.status, chunks, outcome.error)
        return self._settled(outcome.status, outcome.value, outcome.error)

    def _settled(self, status: int, ref: Ref, error: Error | None) -> Result:
        if status != failure.OK:
            return result_of(self._mac, status, None, error)
        result = result_of(self._mac, status, self._value(ref), None)
        if result.data is not None and codec.is_opaque(result.data):
            # The content of a value that was left out is gone, its digest is not: a step may still reproduce it.
            with contextlib.suppress(StorageError):
                result.digest = self._stored.digest(ref)
        return result


def static(address: str) -> str:
    """An address without lanes, counts, attempts and indexes: `fan/ask~3#2` is `fan/ask`."""
    parts = []
    for part in address.split("/"):
        cut = min((part.find(sign) for sign in "[~#!" if sign in part), default=len(part))
        parts.append(part[:cut])
    return "/".join(parts)
