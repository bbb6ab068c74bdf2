"""Taking a stored trace apart: its records as spans and calls, each with its address."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any

from runtime import failure
from runtime.effects import ITEM, STREAM
from runtime.recording import EFFECT, NESTED, Call, Recording, Result, Span, result_of, stream_result
from runtime.scope import call_address
from storage import codec
from storage.errors import StorageError
from storage.records import Error, Intent, Outcome, Ref
from storage.records import Span as SpanRecord
from storage.store import Store
from storage.stored import Stored
from storage.values import Opaque


def load(store: Store, trace_id: bytes) -> Recording:
    """Read a trace and take it apart.

    Raises:
        TraceNotFound: it is not in the store.
        CorruptRecord: what is there cannot be read as a trace.
    """
    stored = store.load(trace_id)
    manifest = codec.decode_any(stored.manifest)
    return _Loader(store, stored, manifest).load()


class _Loader:
    def __init__(self, store: Store, stored: Stored, manifest: list[Any]) -> None:
        self._store, self._stored, self._manifest = store, stored, manifest
        self._mac = store.mac
        self._intents: dict[int, list[tuple[int, Intent]]] = defaultdict(list)
        for number, intent in sorted(stored.intents.items(), key=_order):
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
            nodes, self._spans, result, self._store.id.hex(),
        )  # fmt: skip

    def _value(self, ref: Ref) -> bytes:
        try:
            return self._stored.value(ref)
        except StorageError as error:
            return _stand_in(error)

    def _span(self, address: str, name: str, number: int, record: SpanRecord, kind: str) -> Span:
        span = Span(address, name, record.node, kind, record, self._settled(record.status, record.output, record.error))
        self._spans[address] = span
        retried = bool(record.attempts)
        for intent_id, intent in self._intents[number]:
            attempt = intent.attempt if retried else None
            item = bool(intent.flags & ITEM)
            where = call_address(address, attempt, intent.name, intent.lane, intent.nth, item=item)
            span.calls.append(self._call(where, intent_id, intent))
        return span

    def _call(self, address: str, number: int, intent: Intent) -> Call:
        request = self._value(intent.request)
        same = request if intent.call == EFFECT else codec.canonical(request)
        key = (intent.attempt, intent.name, self._mac("request", same))
        found, outcome = self._by_intent.get(number), self._stored.outcomes.get(number)
        if intent.call == NESTED and found is not None:
            span = self._span(address, intent.name, *found, "step")
            record = span.record
            return Call(
                intent, number, address, request, key, span.result, record.completion, span, {}, [], record.start,
                record.duration,
            )  # fmt: skip
        if intent.call == EFFECT and outcome is not None:
            return Call(
                intent, number, address, request, key, self._result(intent, outcome), outcome.completion, None,
                dict(outcome.attributes or {}), list(outcome.findings or ()), intent.time, outcome.time - intent.time,
            )  # fmt: skip
        return Call(intent, number, address, request, key, None, 0, None, {}, [], intent.time, 0)

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
        try:
            return result_of(self._mac, status, self._stored.value(ref), None)
        except StorageError as missing:
            result = result_of(self._mac, status, _stand_in(missing), None)
            # The content is gone, its digest may not be: a step may still reproduce it.
            with contextlib.suppress(StorageError):
                result.digest = self._stored.digest(ref)
                result.gone = True
            return result


def _order(held: tuple[int, Intent]) -> tuple[int, int]:
    """Calls in the order they were asked for; items, which run at once, in that of the list."""
    number, intent = held
    return intent.nth if intent.flags & ITEM else intent.start, number


def _stand_in(missing: StorageError) -> bytes:
    # One value that cannot be had must not hide the others: what uses it is unreplayable, by name.
    return codec.encode(Opaque("?", "", str(missing)))
