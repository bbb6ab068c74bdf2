"""From what was seen to the cell of the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from benchmarks.torture.cases import Case, Seen

RIGHT: Final = "right"
LOUD: Final = "wrong, loud"
SILENT: Final = "**silently wrong**"
CANNOT: Final = "cannot"
_DIFFERS: Final = (
    (r"127\.0\.0\.1:\d+", "PROVIDER"),
    (r"(/[\w.-]+){3,}", "FILE"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12,}\b|\b01[0-9A-Z]{24}\b|\d+\.\d{5,}", "..."),
)
"""What is another in each run."""


@dataclass(frozen=True)
class Cell:
    """One of the four words, and why."""

    word: str
    why: str = ""


def _short(text: str, most: int = 160) -> str:
    """One line without what differs from run to run."""
    text = " ".join(text.split()).replace("|", "/")
    for shape, name in _DIFFERS:
        text = re.sub(shape, name, text)
    return text if len(text) <= most else text[: most - 4] + " ..."


def verdict(case: Case, seen: Seen, *, reexecutes: bool = False, cannot: str | None = None) -> Cell:
    """What a contestant's cell says.

    Args:
        case: what was put to it.
        seen: what it did.
        reexecutes: its documentation says that a replay runs steps again, live.
        cannot: why the case is outside its job, by its documentation.
    """
    if seen.broken is not None:
        return Cell(CANNOT, _short(seen.broken))
    if not seen.live and case.right(seen):
        return Cell(RIGHT)
    if cannot is not None:
        return Cell(CANNOT, cannot)
    if seen.live and reexecutes:
        return Cell(CANNOT, f"steps run again, as documented: {seen.live} live call{'s' * (seen.live > 1)}")
    if seen.refused:
        return Cell(LOUD, _short(seen.error or "; ".join(seen.said)))
    if seen.live:
        return Cell(SILENT, f"{seen.live} live call{'s' * (seen.live > 1)}")
    if seen.output == seen.recorded:
        return Cell(SILENT, "the recorded output, and not a word")
    return Cell(SILENT, _short(f"recorded {seen.recorded}, came out as {seen.output}"))
