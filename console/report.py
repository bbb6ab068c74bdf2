"""What the command prints for people."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

import runtime
from console import diff_report
from replay.trace_diff import deltas
from runtime.plain import brief, plain, visible
from runtime.recording import Call, Span
from runtime.scope import parent_address
from storage import codec

_COLOURS = {
    "ok": "green", "error": "red", "timeout": "red", "cancelled": "yellow", "damaged": "red", "unfinished": "yellow",
    "blocked": "red", "reproduced": "green", "reused": "dim", "cut off": "green", "swapped": "cyan", "changed": "yellow",
    "added": "cyan", "dropped": "yellow", "moved": "yellow", "live": "magenta", "diverged": "bold red",
    "unreplayable": "red", "verify": "green", "reuse": "dim", "maybe": "yellow",
}  # fmt: skip


_WIDE = 100
"""Columns of a terminal from which on a list has room for durations."""


def _console() -> Console:
    return Console(highlight=False, soft_wrap=False)


def _status(text: str) -> Text:
    return Text(text, style=_COLOURS.get(text, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold" if place == 0 else "ellipsis")
    return table


def run(recording: Any) -> None:
    """A run that has just ended."""
    out = _console()
    out.print(brief(recording.output, 2000), markup=False)
    out.print(f"recorded as {recording.trace_id}", style="dim")


def listed_json(line: runtime.Listed) -> dict[str, Any]:
    """A line of the list as JSON data."""
    return {**attrs.asdict(line, recurse=False), "attributes": plain(line.attributes)}


def listed(lines: Sequence[runtime.Listed], place: str) -> None:
    """The list."""
    out = _console()
    if not lines:
        out.print(f"no such trace in {place}", markup=False)
        return
    narrow = out.width < _WIDE
    heads = ("trace", "agent", "status", "started (UTC)", *([] if narrow else ["ms", "spans"]), "attributes")
    table = _table(*heads)
    for column in table.columns:
        column.no_wrap = True
    room = max(16, out.width - (62 if narrow else 76))  # what the other columns leave
    for line in lines:
        when = dt.datetime.fromtimestamp(line.started, tz=dt.UTC).strftime("%m-%d %H:%M:%S")
        took = "" if line.duration_ms is None else f"{line.duration_ms:.1f}"
        outcomes_first = sorted(line.attributes.items(), key=lambda item: not item[0].startswith("outcome."))
        shown = " ".join(f"{key}={value}" for key, value in outcomes_first)
        agent = line.agent if line.kind != "replay" else f"{line.agent} (replay)"
        table.add_row(
            line.trace_id[:12],
            escape(agent),
            _status(line.status),
            when,
            *([] if narrow else [took, str(line.spans)]),
            escape(shown if len(shown) <= room else f"{shown[: room - 1]}…"),
        )
    out.print(table)


def show(recording: runtime.Recording, *, full: bool, options: str) -> None:
    """A trace. `options` are those before the command, for the next one."""
    out = _console()
    head = f"{recording.trace_id}  {recording.agent}  "
    out.print(Text(head).append_text(_status(recording.status)))
    if recording.original:
        out.print(f"replay of {recording.original}", markup=False)
    for damage in recording.stored.damage:
        out.print(f"damage: {damage}", style="red", markup=False)
    width = 100_000 if full else max(40, out.width - 12)
    out.print(f"input   {brief(codec.decode_any(recording.input), width)}", markup=False, overflow="fold")
    table = _table("address", "status", "ms")
    for address, item in recording.tree():
        result = item.result
        took = item.record.duration if isinstance(item, Span) else item.duration_ns
        status = "unfinished" if result is None else result.status
        table.add_row(escape(address), _status(status), f"{took / 1e6:.1f}")
    out.print(table)
    for address, item in recording.tree():
        _values(out, recording, address, item, width)
    result = recording.result
    out.print(
        f"output  {'' if result is None else result.text if not result.ok else brief(result.value, width)}",
        markup=False,
        overflow="fold",
    )
    out.print(f"next: kitchenlog {options}replay {recording.trace_id}", style="dim", markup=False, soft_wrap=True)


def _values(out: Console, recording: runtime.Recording, address: str, item: Span | Call, width: int) -> None:
    out.print()
    kind = "step" if isinstance(item, Span) else "effect"
    out.print(Text(address, style="bold").append(f"  {kind}", style="dim"))
    given = recording.inputs(item) if isinstance(item, Span) else codec.decode_any(item.request)
    for name, value in (given or {}).items():
        out.print(f"  {name} = {brief(value, width)}", markup=False, overflow="fold")
    result = item.result
    told = "no outcome" if result is None else brief(result.value, width) if result.ok else result.text
    out.print(f"  -> {told}", markup=False, overflow="fold")
    attributes = (item.record.attributes if isinstance(item, Span) else item.attributes) or {}
    above = recording.spans.get(parent_address(address)) if not isinstance(item, Span) else None
    repeated = {} if above is None else above.record.attributes or {}
    for key, value in attributes.items():
        if repeated.get(key) == value:  # the step that made the call says the same
            continue
        out.print(f"     {key}: {brief(value, width)}", style="dim", markup=False)
    if isinstance(item, Span):
        for finding in item.record.findings or ():
            out.print(f"     ! {finding}", style="yellow", markup=False)
        for number, (_, took, status, error) in enumerate(item.record.attempts or (), 1):
            text = "ok" if error is None else error.message
            out.print(
                f"     attempt !{number}: {(status and 'failed') or 'ok'} after {took / 1e6:.1f} ms: {text}",
                markup=False,
            )


def replay(done: Any, again: str | None) -> None:
    """A replay: its certificate, what is blocked, and what came out otherwise."""
    out = _console()
    for note in done.notes:
        out.print(f"code changed: {note}", style="yellow", markup=False)
    table = _table("address", "status", "reason")
    for entry in done.certificate.entries:
        table.add_row(escape(entry.address), _status(entry.status), escape(entry.reason))
    out.print(table)
    out.print(Text(str(done.certificate), style="green" if done.certificate.ok else "red"))
    difference = done.diff()
    if difference.spans:
        out.print()
        diff(difference)
    for one in done.blocked:
        out.print()
        out.print(str(one), markup=False, overflow="fold")
    if again is not None:
        out.print()
        out.print("to make the call for real:", markup=False)
        out.print(again, markup=False, soft_wrap=True)
    if done.trace_id:
        out.print(f"recorded as {done.trace_id}", style="dim", markup=False)


def plan(made: Any) -> None:
    """A plan."""
    out = _console()
    table = _table("address", "mode", "reason", "recorded")
    for step in made.steps:
        told = deltas(None, step.recorded).replace("unknown -> ", "")
        table.add_row(escape(visible(step.address)), _status(step.mode), escape(visible(step.reason)), told)
    out.print(table)
    out.print(made.head, markup=False, soft_wrap=True)
    if made.controls:
        out.print(f"{len(made.controls)} may be repeated on their recorded input first", markup=False)


def diff(made: Any) -> None:
    """A difference."""
    diff_report.diff(made, _console())


def graph_json(agent: runtime.Agent[Any, Any]) -> dict[str, Any]:
    """A graph as JSON data."""
    return {
        "name": agent.name,
        "fingerprint": agent.fingerprint.hex(),
        "nodes": [
            {
                "name": spec.name,
                "kind": spec.kind,
                "inputs": ["input" if place < 0 else agent.nodes[place].name for place in spec.inputs],
                "result": codec.show_type(spec.codec.declared),
                "fingerprint": spec.step.fingerprint.digest.hex(),
                "reads": list(spec.step.fingerprint.reached),
            }
            for spec in agent.nodes
        ],
    }


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Generator[Callable[[int, int], None]]:
    """A bar on standard error, which is told how many of how many are done; none where nobody watches."""
    out = Console(stderr=True, highlight=False)
    if quiet or not out.is_terminal:
        yield lambda _done, _all: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, every: bar.update(task, completed=done, total=every)


def check_json(found: Any) -> dict[str, Any]:
    """What a check found as JSON data."""
    told = {key: value for key, value in found._asdict().items() if key != "findings"}
    return {"ok": found.ok, **told, "findings": [one._asdict() for one in found.findings]}


def check(found: Any, *, full: bool) -> None:
    """What a check found."""
    out = _console()
    for one in found.findings:
        out.print(Text(one.trace or "file", style="bold red").append(f"  {one.text}", style="default"), soft_wrap=True)
    if found.quarantined:
        out.print(f"{len(found.quarantined)} packs are marked as damaged and never merged", style="yellow", markup=False)
    states = f"{found.whole:,} whole, {found.unfinished:,} unfinished, {found.damaged:,} damaged"
    told = f"{found.packs:,} packs, {found.traces:,} traces: {states}"
    if full:
        told += f"; {found.values:,} values hashed again, {found.left_out:,} left out when recorded"
    out.print(Text(told, style="green" if found.ok else "red"))


def sealed(made: Sequence[Any], kept: Sequence[Any]) -> None:
    """What became packs and what stays."""
    out = _console()
    for one in kept:
        out.print(f"{one.file} stays: {one.why}", style="yellow", markup=False, soft_wrap=True)
    before, after = sum(one.bytes_before for one in made), sum(one.bytes_after for one in made)
    traces = sum(one.traces for one in made)
    out.print(f"{len(made)} record files sealed: {traces:,} traces, {before:,} bytes before and {after:,} after", markup=False)


def merged(done: Any) -> None:
    """What became of packs."""
    out = _console()
    for one in done.left:
        out.print(f"{one.pack} is left: {one.why}", style="yellow", markup=False, soft_wrap=True)
    packs = sum(len(one.replaces) for one in done.merged)
    before, after = sum(one.bytes_before for one in done.merged), sum(one.bytes_after for one in done.merged)
    told = (
        f"{packs} packs merged into {len(done.merged)}: {before:,} bytes before and {after:,} after; {len(done.removed)} removed"
    )
    out.print(told, markup=False)
