"""Lists of documents, compared by id: which moved, which came, which went."""

from __future__ import annotations

from typing import Any, TypeGuard

import attrs

from replay.difference import Change, changes
from runtime.plain import plain, visible

Document = dict[str, Any]


@attrs.frozen
class Move:
    """One document whose rank, score or content differs. Ranks are counted from 1."""

    id: str | int
    old_rank: int | None
    new_rank: int | None
    old_score: float | None
    new_score: float | None
    fields: tuple[Change, ...] = ()
    """Of its content, where it is in both lists."""

    def __str__(self) -> str:
        scores = ""
        if self.old_score is not None and self.new_score is not None and self.old_score != self.new_score:
            scores = f", score {self.old_score:.4g} -> {self.new_score:.4g}"
        return visible(f"doc {self.id}: {self.ranks}{scores}")

    @property
    def ranks(self) -> str:
        """From where to where, in words."""
        was, now = self.old_rank, self.new_rank
        if now is None:
            return f"gone from {was}"
        if was is None:
            return f"new at {now}"
        return f"{was} -> {now}" if was != now else f"{now}"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        told = {"id": self.id, "old_rank": self.old_rank, "new_rank": self.new_rank}
        scores = {"old_score": plain(self.old_score), "new_score": plain(self.new_score)}
        return {**told, **scores, "fields": [field.to_json() for field in self.fields]}


@attrs.frozen
class Ranking:
    """A list of documents that differs."""

    path: str
    moves: tuple[Move, ...]
    """Those that differ: by new rank, then what is gone."""

    def __str__(self) -> str:
        told = [f"{self.path or 'value'}: {len(self.moves)} documents differ"]
        for move in self.moves:
            told += [f"    {move}", *(f"        {field}" for field in move.fields)]
        return "\n".join(told)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {"path": self.path, "documents": [move.to_json() for move in self.moves]}


def are_rankings(old: Any, new: Any) -> bool:
    """Whether two values are lists of documents: dicts with an id of their own and a score. One of them may be empty."""
    return _is_ranking(old) and _is_ranking(new) and bool(old or new)


def _is_ranking(value: Any) -> TypeGuard[list[Document]]:
    if not isinstance(value, list) or not all(_is_document(one) for one in value):
        return False
    return len({(type(one["id"]), one["id"]) for one in value}) == len(value)


def _is_document(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    score = value.get("score")
    return type(value.get("id")) in {str, int} and isinstance(score, (int, float)) and not isinstance(score, bool)


def compare(old: list[Document], new: list[Document], path: str) -> Ranking:
    """How the documents of two lists lie to each other."""
    before = {one["id"]: (rank, one) for rank, one in enumerate(old, 1)}
    moves: list[Move] = []
    for rank, document in enumerate(new, 1):
        known = before.pop(document["id"], None)
        if known is None:
            moves.append(Move(document["id"], None, rank, None, document["score"]))
            continue
        was, former = known
        fields = tuple(changes({**former, "score": None}, {**document, "score": None}))
        score, former_score = document["score"], former["score"]
        if was != rank or fields or next(changes(former_score, score), None) is not None:
            moves.append(Move(document["id"], was, rank, former_score, score, fields))
    moves += [Move(name, rank, None, one["score"], None) for name, (rank, one) in before.items()]
    return Ranking(path, tuple(moves))
