"""The list of traces: a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from runtime import failure
from storage import codec, ids
from storage.errors import StorageError
from storage.objects.contract import StoreRefused, StoreUnavailable
from storage.records import Annotation, Header, Ref
from storage.store import Store


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


class Described(Protocol):
    """What a trace is known by: one that was loaded, or that was read in passing."""

    @property
    def header(self) -> Header:
        """What it is of."""
        ...

    @property
    def annotations(self) -> Sequence[Annotation]:
        """What was said of it."""
        ...

    def value(self, ref: Ref, /) -> bytes:
        """The stored bytes that a reference stands for."""
        ...


def attributes_of(stored: Described) -> dict[str, Any]:
    """What was given to run, with the feedback that came later as `outcome.*`."""
    found = dict(stored.header.attributes or {})
    for note in sorted(stored.annotations, key=lambda note: note.wall):
        if note.kind == "feedback":
            given = codec.decode_any(stored.value(note.value))
            found.update({f"outcome.{key}": value for key, value in given.items()})
    return found


def summary(store: Store, trace: bytes) -> Listed:
    """A line for one trace. One that cannot be read is still listed, as damaged.

    Raises:
        StoreUnavailable: the store gave no answer, which tells nothing of the trace.
        StoreRefused: as above.
    """
    try:
        stored = store.load(trace, vectors=False)
        attributes = attributes_of(stored)
    except (StoreUnavailable, StoreRefused):
        raise
    except (StorageError, TypeError, AttributeError) as error:
        return Listed(trace.hex(), "?", "damaged", "?", float(ids.trace_seconds(trace)), None, 0, {"damage": str(error)})
    end = stored.end
    status = stored.state if stored.state != "whole" or end is None else failure.STATUS[end.status]
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


def facts(
    *, trace_id: str, agent: str, status: str, kind: str, duration_ms: float | None, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """What `where` may ask of a trace, here and everywhere."""
    return {
        **attributes,
        "agent": agent,
        "status": status,
        "kind": kind,
        "duration_ms": duration_ms,
        "trace_id": trace_id,
    }


def facts_of(line: Listed) -> dict[str, Any]:
    """What `where` may ask of a line."""
    return facts(
        trace_id=line.trace_id, agent=line.agent, status=line.status, kind=line.kind, duration_ms=line.duration_ms,
        attributes=line.attributes,
    )  # fmt: skip
