"""What differs between two values, field by field."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import attrs

from runtime.plain import brief, plain

_MISSING = "(absent)"


@attrs.frozen
class Change:
    """One field that differs."""

    path: str
    """As in Python: `.docs[0].id`; empty for the value itself."""
    old: Any
    new: Any

    def __str__(self) -> str:
        where = self.path or "value"
        if isinstance(self.old, str) and isinstance(self.new, str) and max(len(self.old), len(self.new)) > 60:
            return f"{where}: {_inline(self.old, self.new)}"
        return f"{where}: {_show(self.old)} -> {_show(self.new)}"


class _Absent:
    def __repr__(self) -> str:
        return _MISSING


ABSENT = _Absent()


def _show(value: Any) -> str:
    return _MISSING if value is ABSENT else brief(value, 70)


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """The fields in which two decoded values differ, in the old one's order."""
    todo = [iter([(old, new, path)])]
    while todo:  # no recursion: what could just be recorded may be nested as deep as the stack has room
        pair = next(todo[-1], None)
        if pair is None:
            todo.pop()
            continue
        one, two, where = pair
        if isinstance(one, dict) and isinstance(two, dict):
            todo.append(_fields(one, two, where))
        elif isinstance(one, list) and isinstance(two, list):
            todo.append(_items(one, two, where))
        elif type(one) is not type(two) or (one != two and not (one != one and two != two)):  # noqa: PLR0124 - NaN is NaN
            yield Change(where, one, two)


_Pairs = Iterator[tuple[Any, Any, str]]


def _fields(old: dict[Any, Any], new: dict[Any, Any], path: str) -> _Pairs:
    for key in [*old, *(key for key in new if key not in old)]:
        yield old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}"


def _items(old: list[Any], new: list[Any], path: str) -> _Pairs:
    for place in range(max(len(old), len(new))):
        one = old[place] if place < len(old) else ABSENT
        two = new[place] if place < len(new) else ABSENT
        yield one, two, f"{path}[{place}]"


def first(old: Any, new: Any) -> str:
    """The first difference, for a sentence."""
    found = next(changes(old, new), None)
    return "equal as data, another encoding" if found is None else str(found)


def _inline(old: str, new: str) -> str:
    """The words that differ, with a little of what stands around them."""
    before, after = old.split(), new.split()
    pieces: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            words = before[a:b]
            pieces.append(" ".join(words) if len(words) <= 8 else " ".join([*words[:3], "…", *words[-3:]]))
            continue
        if b > a:
            pieces.append(f"[-{' '.join(before[a:b])}-]")
        if d > c:
            pieces.append(f"{{+{' '.join(after[c:d])}+}}")
    text = " ".join(pieces)
    return text if len(text) <= 400 else f"{text[:399]}…"


@attrs.frozen
class SpanDiff:
    """How one address differs between two traces."""

    address: str
    kind: str
    """changed, added or removed."""
    fields: tuple[Change, ...]

    def __str__(self) -> str:
        if self.kind != "changed":
            return f"{self.address}  {self.kind}"
        return "\n".join([self.address, *(f"    {field}" for field in self.fields)])


@attrs.frozen
class TraceDiff:
    """Two traces, aligned by address."""

    old: str
    new: str
    spans: tuple[SpanDiff, ...]
    """Only those that differ, in the order of the trace."""
    same: int
    """How many spans are equal in both."""

    @property
    def first(self) -> str | None:
        """The address where they first differ."""
        return self.spans[0].address if self.spans else None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "old": self.old,
            "new": self.new,
            "first": self.first,
            "same": self.same,
            "spans": [
                {
                    "address": one.address,
                    "kind": one.kind,
                    "fields": [
                        {
                            "path": field.path,
                            "old": None if field.old is ABSENT else plain(field.old),
                            "new": None if field.new is ABSENT else plain(field.new),
                        }
                        for field in one.fields
                    ],
                }
                for one in self.spans
            ],
        }

    def __str__(self) -> str:
        if not self.spans:
            return f"{self.old[:12]} and {self.new[:12]} are equal in all {self.same} spans"
        head = f"{self.old[:12]} -> {self.new[:12]}: first difference at {self.first}; {self.same} spans equal"
        return "\n".join([head, *(str(one) for one in self.spans)])
