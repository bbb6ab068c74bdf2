"""A trace as OpenTelemetry-shaped JSON: what `kitchenlog show --json` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime import vocabulary
from runtime.failure import OK, STATUS
from runtime.plain import plain
from runtime.recorder import NODE_ROOT
from runtime.scope import parent_address
from storage import codec

if TYPE_CHECKING:
    from runtime.recording import Call, Recording, Span


def to_json(recording: Recording, *, full: bool) -> dict[str, Any]:
    """The trace with one object a span: the root, every step, and every attempt where there were two or more.

    Args:
        recording: of the trace.
        full: also what went into each span and each of its calls and what came out, as `kitchenlog.input` and
            `kitchenlog.output`.
    """
    stored: dict[str, Any] = plain(recording.attributes)
    attributes = {vocabulary.ATTRIBUTES.get(name, name): value for name, value in stored.items()}
    of_root = {name: value for name, value in attributes.items() if name.startswith(vocabulary.ROOT_ATTRIBUTES)}
    root = _root_id(recording)
    told = {
        "kitchenlog.agent": recording.agent,
        "kitchenlog.status": recording.status,
        **({"kitchenlog.replay_of": recording.original} if recording.original else {}),
        **({"kitchenlog.damage": list(recording.stored.damage)} if recording.stored.damage else {}),
    }
    return {
        "trace_id": recording.trace_id,
        "trace.attributes": {**{name: value for name, value in attributes.items() if name not in of_root}, **told},
        "spans": [_root(recording, root, of_root, full=full), *_steps(recording, root, full=full)],
    }


def _root_id(recording: Recording) -> str:
    """16 hexadecimal digits; zeros where the run never ended."""
    roots = [span.span_id for span in recording.stored.spans.values() if span.node == NODE_ROOT]
    return (roots[0] if roots else bytes(8)).hex()


def _root(recording: Recording, root: str, attributes: dict[str, Any], *, full: bool) -> dict[str, Any]:
    header = recording.stored.header
    given = recording.input_value
    answers = [span for span in recording.spans.values() if _kind(span) == "generate" and span.result.ok]
    if isinstance(given, dict) and isinstance(given.get("message"), str):
        attributes = {"user.message": given["message"], **attributes}
    if answers and isinstance(answers[-1].result.value, dict):
        attributes = {**attributes, "assistant.message": answers[-1].result.value.get("text")}
    if full:
        attributes = {**attributes, "kitchenlog.input": plain(given), "kitchenlog.output": plain(recording.output)}
    result = recording.result
    return {
        "span_id": root,
        "parent_id": None,
        "name": recording.agent,
        "kind": vocabulary.ROOT_KIND,
        "start_ms": header.wall // 1_000_000,
        "duration_ms": _ms(0 if recording.stored.end is None else recording.stored.end.duration),
        "status": "OK" if result is not None and result.ok else "ERROR",
        "attributes": attributes | ({} if result is None or result.error is None else {"error.type": result.text}),
    }


def _steps(recording: Recording, root: str, *, full: bool) -> Iterator[dict[str, Any]]:
    wall = recording.stored.header.wall
    ids: dict[str, str] = {}
    for span in recording.spans.values():
        if span.kind == "derive":
            continue
        record = span.record
        ids[span.address] = record.span_id.hex()
        parent = parent_address(span.address)
        row = vocabulary.SPANS.get(_kind(span))
        attributes = {**plain(record.attributes or {}), "kitchenlog.address": span.address}
        attributes.pop(vocabulary.STEP_KIND, None)
        if _kind(span) == "generate" and span.calls:
            # Keyed: nobody without the store's key can tell from it what the prompt was.
            attributes["prompt.composition_hash"] = f"keyed:{span.calls[-1].key[2].hex()}"
        if span.calls:
            attributes["kitchenlog.calls"] = [_call(call, full=full) for call in span.calls if call.is_effect]
        if span.result.error is not None:
            attributes["error.type"] = span.result.text
        if record.findings:
            attributes["kitchenlog.findings"] = list(record.findings)
        if full:
            attributes["kitchenlog.input"] = plain(recording.inputs(span))
            attributes["kitchenlog.output"] = plain(span.result.value)
        yield {
            "span_id": record.span_id.hex(),
            "parent_id": ids.get(parent, root),
            "name": row.chapter if row is not None else span.name,
            "kind": row.span_kind if row is not None else vocabulary.OWN_STEP_KIND,
            "start_ms": (wall + record.start) // 1_000_000,
            "duration_ms": _ms(record.duration),
            "status": "OK" if span.result.ok else "ERROR",
            "attributes": attributes,
        }
        yield from _attempts(span, wall)


def _attempts(span: Span, wall: int) -> Iterator[dict[str, Any]]:
    own = int.from_bytes(span.record.span_id, "big")
    for number, (began, took, status, error) in enumerate(span.record.attempts or (), 1):
        yield {
            "span_id": f"{(own + number) % 2**64:016x}",
            "parent_id": span.record.span_id.hex(),
            "name": f"{span.name}.attempt",
            "kind": vocabulary.OWN_STEP_KIND,
            "start_ms": (wall + began) // 1_000_000,
            "duration_ms": _ms(took),
            "status": "OK" if status == OK else "ERROR",
            "attributes": {
                "kitchenlog.address": f"{span.address}!{number}",
                **({} if error is None else {"error.type": f"{STATUS[status]}: {error.message}"}),
            },
        }


def _call(call: Call, *, full: bool) -> dict[str, Any]:
    result = call.result
    told: dict[str, Any] = {
        "address": call.address,
        "status": "unfinished" if result is None else result.status,
        "duration_ms": _ms(call.duration_ns),
        "attributes": plain(call.attributes),
    }
    if call.findings:
        told["findings"] = list(call.findings)
    if result is not None and result.error is not None:
        told["error.type"] = result.text
    if full:
        told["kitchenlog.input"] = plain(codec.decode_any(call.request))
        told["kitchenlog.output"] = None if result is None else plain(result.value)
    return told


def _kind(span: Span) -> str:
    return str((span.record.attributes or {}).get(vocabulary.STEP_KIND, ""))


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
