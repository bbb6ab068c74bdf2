"""What differs between two values, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from replay import words
from runtime.plain import brief, plain, visible

_MISSING = "(absent)"


@attrs.frozen
class Change:
    """One field that differs."""

    path: str
    """As in Python: `.docs[0].id`; empty for the value itself."""
    old: Any
    new: Any

    @property
    def pieces(self) -> tuple[words.Piece, ...]:
        """Of a long text, its words; nothing for any other value."""
        return words.compare(self.old, self.new) if words.are_long(self.old, self.new) else ()

    def __str__(self) -> str:
        where = self.path or "value"
        pieces = self.pieces
        if pieces:
            return visible(f"{where}: {words.inline(pieces)}")
        old, new = (_MISSING if side is None else side for side in self.sides(70))
        return visible(f"{where}: {old} -> {new}")

    def sides(self, width: int) -> tuple[str | None, str | None]:
        """Both values in one line of so many characters each; None for what is absent."""
        return _show(self.old, width), _show(self.new, width)

    def to_json(self) -> dict[str, Any]:
        """As JSON data. What is absent has no key."""
        sides = {name: plain(value) for name, value in (("old", self.old), ("new", self.new)) if value is not ABSENT}
        pieces = self.pieces
        return {"path": self.path, **sides, **({"words": [list(piece) for piece in pieces]} if pieces else {})}


class _Absent:
    def __repr__(self) -> str:
        return _MISSING


ABSENT = _Absent()


def _show(value: Any, width: int) -> str | None:
    return None if value is ABSENT else brief(value, width)


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """The fields in which two decoded values differ, in the old one's order."""
    for where, one, two in walk(old, new, path):
        yield Change(where, one, two)


def _never(_old: Any, _new: Any) -> bool:
    return False


def walk(old: Any, new: Any, path: str = "", *, as_one: Callable[[Any, Any], bool] = _never) -> Iterator[tuple[str, Any, Any]]:
    """(path, old, new) of each field in which two decoded values differ.

    Args:
        old: a decoded value.
        new: another.
        path: of the two.
        as_one: says of two values that they are not taken apart: they are given as they are, differing or not.
    """
    todo = [iter([(old, new, path)])]
    while todo:  # no recursion: what could just be recorded may be nested as deep as the stack has room
        pair = next(todo[-1], None)
        if pair is None:
            todo.pop()
            continue
        one, two, where = pair
        if as_one(one, two):
            yield where, one, two
        elif isinstance(one, dict) and isinstance(two, dict):
            todo.append(_fields(one, two, where))
        elif isinstance(one, list) and isinstance(two, list):
            todo.append(_items(one, two, where))
        elif type(one) is not type(two) or (one != two and not (one != one and two != two)):  # noqa: PLR0124 - NaN is NaN
            yield where, one, two


_Pairs = Iterator[tuple[Any, Any, str]]


def _fields(old: dict[Any, Any], new: dict[Any, Any], path: str) -> _Pairs:
    for key in [*old, *(key for key in new if key not in old)]:
        yield old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}"


def _items(old: list[Any], new: list[Any], path: str) -> _Pairs:
    """Pairs by place. Where one list is longer, what both end with is passed over: what came or went shifts the others."""
    ends = 0
    if len(old) != len(new):
        shorter = min(len(old), len(new))
        begins = next((place for place in range(shorter) if not _same(old[place], new[place])), shorter)
        while ends < shorter - begins and _same(old[-1 - ends], new[-1 - ends]):
            ends += 1
    for place in range(max(len(old), len(new)) - ends):
        one = old[place] if place < len(old) - ends else ABSENT
        two = new[place] if place < len(new) - ends else ABSENT
        yield one, two, f"{path}[{place}]"


def _same(one: Any, two: Any) -> bool:
    return next(walk(one, two), None) is None


def first(old: Any, new: Any) -> str:
    """The first difference, for a sentence."""
    found = next(changes(old, new), None)
    return "equal as data, another encoding" if found is None else str(found)
