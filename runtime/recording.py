"""A loaded trace: its spans by address, with everything that was recorded of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import attrs
import msgspec

from runtime import span_json, streams
from runtime.failure import STATUS
from runtime.listing import attributes_of
from runtime.plain import brief
from storage import codec, digest
from storage.records import Error, Intent
from storage.records import Span as SpanRecord
from storage.stored import Stored
from storage.values import StandIn

EFFECT, NESTED = 0, 1
DIRECT_ENTROPY: Final = 1
"""In a header's features: direct use of clocks is among the draws, and direct randomness was derived from the seed."""


@attrs.define(eq=False)
class Result:
    """What a span or a call ended in."""

    status: str
    """ok, error, cancelled, timeout or blocked; cut for a stream that was not read to its end."""
    data: bytes | None
    """The encoded value, where status is ok; a stream's chunks whatever it ended in."""
    digest: bytes
    """Keyed; see `same`."""
    error: Error | None = None
    gone: bool = False
    """Only the digest of the value is known: its content was left out, or is damaged."""

    def same(self, other: Result) -> bool:
        """Whether two outcomes are known to be equal."""
        return self is other or (self.digest == other.digest and self.unknown is None and other.unknown is None)

    @cached_property
    def unknown(self) -> StandIn | None:
        """What of the value could not be encoded, so that its digest compares nothing."""
        return None if self.data is None or self.gone else codec.unknown_part(self.data)

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
    findings: list[str]
    """Of an effect."""
    start_ns: int
    duration_ns: int

    @property
    def duration_ms(self) -> float:
        """How long it took."""
        return self.duration_ns / 1e6

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
    """step, derive, branch, map, loop or subgraph."""
    record: SpanRecord
    result: Result
    calls: list[Call] = attrs.field(factory=list)

    @property
    def attributes(self) -> dict[str, Any]:
        """What its code and the standard steps told of it."""
        return self.record.attributes or {}

    @property
    def duration_ms(self) -> float:
        """How long it took."""
        return self.record.duration / 1e6

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
    store_id: str = ""
    """Of the store that it was read from."""

    @property
    def input_value(self) -> Any:
        """What the run was given, without its types."""
        return codec.decode_any(self.input)

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
    def answers_direct(self) -> bool:
        """Whether it was recorded with `entropy="ambient"`."""
        return bool(self.stored.header.features & DIRECT_ENTROPY)

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

    def to_json(self, *, full: bool = True) -> dict[str, Any]:
        """The trace as OpenTelemetry-shaped JSON data: `trace_id`, `trace.attributes` and `spans`.

        Args:
            full: also what went into each span and each of its calls, and what came out.
        """
        return span_json.to_json(self, full=full)

    def show(self) -> None:
        """Print the trace as a tree: addresses, how each ended, how long it took, and what came out."""
        wide = max((len(address) for address in self.addresses()), default=0)
        print(f"{self.trace_id}  {self.agent}  {self.status}")  # noqa: T201 - printing is what it is for
        for address, item in self.tree():
            result = item.result
            told = "unfinished" if result is None else result.text
            print(f"  {address:<{wide}}  {item.duration_ms:>9.1f} ms  {told}")  # noqa: T201 - as above

    def __repr__(self) -> str:
        return f"<Recording {self.trace_id} {self.agent} {self.status}, {len(self.spans)} spans>"


def static(address: str) -> str:
    """An address without lanes, counts, attempts and indexes: `fan/ask~3#2` is `fan/ask`."""
    parts = []
    for part in address.split("/"):
        cut = min((part.find(sign) for sign in "[~#!" if sign in part), default=len(part))
        parts.append(part[:cut])
    return "/".join(parts)
