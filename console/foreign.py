"""Traces of another system in the JSON that `kitchenlog show --json` prints: shown, never stored, and not to be replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from runtime import KitchenlogError

UNREPLAYABLE = "it holds attributes only, no inputs and outputs, so it can be read and not replayed"


class BadTrace(KitchenlogError):
    """Raised for a file that is no trace."""


class ForeignSpan(msgspec.Struct, frozen=True):
    """One span as it stands in the file."""

    span_id: str
    name: str
    parent_id: str | None = None
    kind: str = ""
    start_ms: float = 0
    duration_ms: float = 0
    status: str = ""
    attributes: dict[str, Any] = {}


class ForeignTrace(msgspec.Struct, frozen=True):
    """A trace as it stands in the file."""

    trace_id: str
    spans: tuple[ForeignSpan, ...]
    attributes: dict[str, Any] = msgspec.field(name="trace.attributes", default_factory=dict)


def read(path: Path) -> ForeignTrace:
    """The trace of a file.

    Raises:
        BadTrace: the file is not there, or is none; the text names the field.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ForeignTrace)
    except OSError as error:
        raise BadTrace(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadTrace(f"{path} is no trace in JSON: {error}. It has trace_id, trace.attributes and spans") from error
    ids = [span.span_id for span in found.spans]
    if len(set(ids)) != len(ids):
        raise BadTrace(f"{path}: two spans have the same span_id")
    return found


def to_json(trace: ForeignTrace) -> dict[str, Any]:
    """The same shape; the file's ids are kept as `source.trace_id` and `source.span_id`, since they are not ours."""
    return {
        "trace_id": None,
        "trace.attributes": {**trace.attributes, "source.trace_id": trace.trace_id, "kitchenlog.status": "unreplayable"},
        "spans": [
            {
                "span_id": span.span_id,
                "parent_id": span.parent_id,
                "name": span.name,
                "kind": span.kind,
                "start_ms": span.start_ms,
                "duration_ms": span.duration_ms,
                "status": span.status,
                "attributes": {**span.attributes, "source.span_id": span.span_id},
            }
            for span in trace.spans
        ],
    }


def show(trace: ForeignTrace) -> None:
    """The trace as a tree, each span with its attributes."""
    out = Console(highlight=False)
    out.print(Text.assemble(("source.trace_id ", "dim"), trace.trace_id))
    out.print(f"not stored here: {UNREPLAYABLE}", style="yellow", markup=False)
    for name, value in trace.attributes.items():
        out.print(Text.assemble((f"  {name}: ", "dim"), _short(value)))
    root = Tree("", hide_root=True, guide_style="dim")
    known = {span.span_id for span in trace.spans}
    branches: dict[str | None, Tree] = {None: root}
    waiting = list(trace.spans)
    while waiting:
        placed = [span for span in waiting if span.parent_id not in known or span.parent_id in branches]
        for span in placed or waiting:  # spans whose parents name each other in a circle hang under the root
            line = Text.assemble((span.name, "bold"), f"  {span.duration_ms:,.0f} ms  ", (span.status, _colour(span.status)))
            branch = branches.get(span.parent_id, root).add(line)
            branch.add(Text.assemble(("source.span_id: ", "dim"), span.span_id))
            for name, value in span.attributes.items():
                branch.add(Text.assemble((f"{name}: ", "dim"), _short(value)))
            branches[span.span_id] = branch
        waiting = [span for span in waiting if span.span_id not in branches]
    out.print(root)


def _colour(status: str) -> str:
    return "green" if status.upper() == "OK" else "red"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
