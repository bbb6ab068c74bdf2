"""docs/replay-torture.md: the table, how it came about, and what stands behind each cell that is not right."""

from __future__ import annotations

import datetime as dt
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.torture import verdict
from benchmarks.torture.cases import CASES
from benchmarks.torture.contestant import FLIPS
from benchmarks.torture.verdict import Cell

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "replay-torture.md"
TEXT: Final = Path(__file__).with_suffix(".md")


def table(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """One row a case, one column a contestant."""
    names = list(cells)
    lines = [f"| case | what is recorded, and done | right is | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for case in CASES:
        found = " | ".join(cells[name][case.key].word for name in names)
        lines.append(f"| {case.key} | {case.done} | {case.wanted} | {found} |")
    counted = {name: Counter(cell.word for cell in found.values()) for name, found in cells.items()}
    words = (verdict.RIGHT, verdict.LOUD, verdict.SILENT, verdict.CANNOT)
    lines += [f"| sum | {word} | | {' | '.join(str(counted[name][word]) for name in names)} |" for word in words]
    return "\n".join(lines) + "\n"


def page(cells: Mapping[str, Mapping[str, Cell]], facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    versions = {
        name: ", ".join(f"{package} {version}" for package, version in fact["versions"].items()) for name, fact in facts.items()
    }
    text = TEXT.read_text().format(
        count=len(CASES),
        date=dt.datetime.now(dt.UTC).date(),
        python=platform.python_version(),
        table=table(cells),
        tied="".join(f"| {case.key} | {case.tied} |\n" for case in CASES),
        flips=FLIPS,
        contestants="\n".join(f"| {name} | {versions[name]} | {fact['settings']} |" for name, fact in facts.items()),
    )
    for name, found in cells.items():
        told = [f"| {key} | {cell.word} | {cell.why} |\n" for key, cell in found.items() if cell.word != verdict.RIGHT]
        if told:
            text += f"\n## Not right: {name}\n\n| case | cell | why |\n|---|---|---|\n{''.join(told)}"
    return text
