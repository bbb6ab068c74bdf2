"""A difference as a fragment of HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from replay import markup
from replay.difference import Change
from replay.markup import Markup
from replay.ranking import Ranking
from replay.trace_diff import SpanDiff, TraceDiff, deltas
from replay.words import Piece

_SHOWN: Final = 400
"""Characters of a value."""
_FIELDS: Final = 100
_STYLES = {
    "removed": "background:#fce8e6;color:#7c1d18;text-decoration:line-through;white-space:pre-wrap",
    "added": "background:#e3f5e6;color:#0d4a20;text-decoration:none;white-space:pre-wrap",
}


def render(found: TraceDiff) -> str:
    """The fragment: the first divergence open, the others folded."""
    told = deltas(found.old_total, found.new_total)
    spans = [_span(one, opened=place == 0) for place, one in enumerate(found.spans)]
    return markup.fragment(
        markup.tag("p", markup.tag("b", found.head)),
        *([markup.tag("p", told)] if told else []),
        *spans,
    )


def _span(one: SpanDiff, *, opened: bool) -> Markup:
    head = markup.coloured(one.head, markup.COLOURS.get(one.kind, ""))
    told = deltas(one.old, one.new) if one.old is not None or one.new is not None else ""
    return markup.fold(head, *([markup.tag("p", told, style="color:gray")] if told else []), *_fields(one), opened=opened)


def _fields(one: SpanDiff) -> Iterator[Markup]:
    for field in one.fields[:_FIELDS]:
        yield _documents(field) if isinstance(field, Ranking) else _change(field)
    if len(one.fields) > _FIELDS:
        yield markup.tag("div", f"... and {len(one.fields) - _FIELDS:,} fields more, all of them in JSON", style="color:gray")


def _documents(ranking: Ranking) -> Markup:
    rows = [
        (move.id, move.ranks, _score(move.old_score), _score(move.new_score), Markup("".join(map(_change, move.fields))))
        for move in ranking.moves
    ]
    return markup.tag("div", ranking.path, markup.table(("document", "rank", "score", "now", ""), rows))


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4g}"


def _change(field: Change) -> Markup:
    where = markup.tag("code", field.path or "value")
    pieces = field.pieces
    if pieces:
        return markup.tag("div", where, ": ", *map(_piece, pieces))
    old, new = (markup.tag("code", "(absent)" if side is None else side) for side in field.sides(_SHOWN))
    return markup.tag("div", where, ": ", old, " → ", new)


def _piece(piece: Piece) -> Markup:
    if piece.kind == "same":
        return markup.tag("span", piece.text, style="white-space:pre-wrap")
    return markup.tag("del" if piece.kind == "removed" else "ins", piece.text, style=_STYLES[piece.kind])
