"""What differs between two texts, word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

LONG: Final = 60
"""Characters from which on a text is compared by its words."""
_COMPARISONS: Final = 1_000_000
"""Pairs of words up to which the longest common run is looked for: it costs their product, at worst."""
_KEPT: Final = 8
"""Words in a row that are the same in both and shown whole."""
_WORD: Final = re.compile(r"\s*\S+|\s+\Z")


class Piece(NamedTuple):
    """A run of words. Those that are not `added` make up the old text, those that are not `removed` the new one."""

    kind: Literal["same", "removed", "added"]
    text: str


def are_long(old: object, new: object) -> bool:
    """Whether two values are texts that are compared word by word."""
    return isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > LONG


def compare(old: str, new: str) -> tuple[Piece, ...]:
    """The words of two texts, in order. A part that is too long to compare is removed and added whole."""
    before, after = _WORD.findall(old), _WORD.findall(new)
    begins = _common(before, after)
    ends = _common(before[begins:][::-1], after[begins:][::-1])
    middle = before[begins : len(before) - ends], after[begins : len(after) - ends]
    runs: list[_Run] = [
        ("same", before[:begins]),
        *_runs(*middle),
        ("same", before[len(before) - ends :]),
    ]
    return tuple(Piece(kind, "".join(words)) for kind, words in runs if words)


_Run = tuple[Literal["same", "removed", "added"], Sequence[str]]


def _runs(before: list[str], after: list[str]) -> Iterator[_Run]:
    if len(before) * len(after) > _COMPARISONS:
        yield "removed", before
        yield "added", after
        return
    for _, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if before[a:b] == after[c:d]:
            yield "same", before[a:b]
        else:
            yield "removed", before[a:b]
            yield "added", after[c:d]


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many words two sequences begin with alike."""
    count = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        count += 1
    return count


def inline(pieces: Sequence[Piece], width: int = 400) -> str:
    """The pieces in one line, `[-removed-]` and `{+added+}`, with a little of what stands around them."""
    told: list[str] = []
    for kind, text in pieces:
        words = text.split()
        if kind == "same":
            told.append(" ".join(words) if len(words) <= _KEPT else " ".join([*words[:3], "…", *words[-3:]]))
        else:
            shown = " ".join(words) or repr(text)
            told.append(f"[-{shown}-]" if kind == "removed" else f"{{+{shown}+}}")
    line = " ".join(part for part in told if part)
    return line if len(line) <= width else f"{line[: width - 1]}…"
