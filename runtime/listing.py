"""The list of traces: a line for each."""

from __future__ import annotations

from typing import Any

import attrs

from runtime import failure
from storage import ids
from storage.store import LocalStore


@attrs.frozen
class Listed:
    """A line of `runtime.list`."""

    trace_id: str
    agent: str
    status: str
    kind: str
    """run or replay."""
    started: float
    """Unix seconds."""
    duration_ms: float | None
    spans: int
    attributes: dict[str, Any]


def summary(store: LocalStore, trace: bytes) -> Listed:
    """A line for one trace. One that cannot be read is still listed, as damaged."""
    try:
        stored = store.load(trace)
    except Exception as error:
        return Listed(trace.hex(), "?", "damaged", "?", float(ids.trace_seconds(trace)), None, 0, {"damage": str(error)})
    end = stored.end
    status = stored.state if stored.state != "whole" or end is None else failure.STATUS[end.status]
    attributes = dict(stored.header.attributes or {})
    took = None if end is None else end.duration / 1e6
    header = stored.header
    return Listed(
        trace.hex(),
        header.agent,
        status,
        header.kind,
        header.wall / 1e9,
        took,
        len(stored.spans) - 1,
        attributes,
    )


def facts(line: Listed) -> dict[str, Any]:
    """What `where` may ask of a line."""
    return {
        **line.attributes,
        "agent": line.agent,
        "status": line.status,
        "kind": line.kind,
        "duration_ms": line.duration_ms,
        "trace_id": line.trace_id,
    }
