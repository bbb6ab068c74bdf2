"""docs/benchmarks.md: each benchmark writes a section of it, between marks; what stands outside them is written by hand."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent.parent / "docs"
_PAGE: Final = DOCS / "benchmarks.md"


def write(section: str, text: str) -> None:
    """Put a section in place of what it was, and show it.

    Raises:
        ValueError: the page has no such section.
    """
    page = _PAGE.read_text("utf-8")
    mark = re.compile(rf"(<!-- {section}: [^\n]*-->\n).*?(<!-- end of {section} -->)", re.DOTALL)
    if not mark.search(page):
        raise ValueError(f"{_PAGE} has no section {section}")
    _PAGE.write_text(mark.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page), "utf-8")
    print(f"{text}\n")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every column but the first is of numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Where and when this was measured."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text("utf-8"), re.MULTILINE)):
        model = found[1].strip()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    load = os.getloadavg()[0]
    return (
        f"{today}, {os.cpu_count()} processors ({model}), {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}; load of the machine before: {load:.1f}"
    )
