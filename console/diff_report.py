"""A difference at the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from replay.difference import Change
from replay.ranking import Ranking
from replay.trace_diff import SHOWN, SpanDiff, TraceDiff, deltas
from runtime.plain import visible

_COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "moved": "cyan", "unknown": "bold red"}
_PIECES = {"same": ("", "", ""), "removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}
"""What stands around a piece, so that it is told apart without colours too, and its colour."""
_AROUND = 40
"""Characters of an unchanged run that are shown at each end of it."""


def diff(found: TraceDiff, out: Console) -> None:
    """The difference, the first divergence first."""
    for one in found.spans:
        out.print(_head(one))
        told = deltas(one.old, one.new)
        if told and one.kind != "removed":
            out.print(Text(f"    {told}", style="dim"))
        for field in one.fields[:SHOWN]:
            out.print(Padding(_field(field), (0, 0, 0, 4)), overflow="fold")
        if len(one.fields) > SHOWN:
            out.print(f"    ... and {len(one.fields) - SHOWN} fields more: --json has them all", style="dim", markup=False)
    told = deltas(found.old_total, found.new_total)
    if told:
        out.print(Text(told, style="dim"))
    out.print(
        visible(f"first difference at {found.first}; {found.same} spans equal")
        if found.spans
        else f"equal in all {found.same} spans",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _head(one: SpanDiff) -> Text:
    address, _, rest = one.head.partition("  ")
    return Text(address, style="bold").append(f"  {rest}", style=_COLOURS.get(one.kind, ""))


def _field(field: Change | Ranking) -> Any:
    return _documents(field) if isinstance(field, Ranking) else _change(field)


def _documents(ranking: Ranking) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for name in (visible(ranking.path), "rank", "score", ""):
        table.add_column(Text(name), overflow="fold")
    for move in ranking.moves:
        scores = [f"{score:.4g}" for score in (move.old_score, move.new_score) if score is not None]
        fields = Text("\n").join(_change(field) for field in move.fields)
        table.add_row(Text(visible(str(move.id))), move.ranks, " -> ".join(dict.fromkeys(scores)), fields)
    return table


def _change(field: Change) -> Text:
    made = Text(visible(f"{field.path or 'value'}: "), style="dim")
    pieces = field.pieces
    for kind, text in pieces:
        shown = text
        if kind == "same" and len(text) > 2 * _AROUND:
            shown = f"{text[:_AROUND]} … {text[-_AROUND:]}"
        opened, closed, colour = _PIECES[kind]
        made.append(f"{opened}{visible(shown)}{closed}", style=f"not dim {colour}")
    if not pieces:
        old, new = (visible("(absent)" if side is None else side) for side in field.sides(70))
        made.append(old, style="not dim red").append(" -> ").append(new, style="not dim green")
    return made
