"""The exact 95th percentile of every span name over a million spans, in a process that has just begun."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import million, page
from runtime import Runtime

SPANS: Final = 1_000_000
PACKS: Final = 120
_SPANS_A_TRACE: Final = 3
_REPEATS: Final = 5

# A first query in the process loads DuckDB and compares the digests of rows; the second is what the next one takes.
_QUERY: Final = """
import sys, time
import runtime
kitchen = runtime.Runtime(sys.argv[1])
for _ in range(2):
    began = time.perf_counter()
    found = kitchen.query("SELECT name, count(*), quantile_cont(duration_ms, 0.95) FROM spans GROUP BY name")
    print(time.perf_counter() - began)
assert sum(row[1] for row in found.rows) == int(sys.argv[2]), found.rows
"""


class Measured(NamedTuple):
    """Seconds, and bytes."""

    rows: float
    """Making the rows of every pack, once."""
    row_bytes: float
    """Of a trace."""
    first: list[float]
    second: list[float]


def measure(folder: Path, traces: int, repeats: int) -> Measured:
    """Make a store's rows and ask them, in processes of their own.

    Raises:
        CalledProcessError: not every span was counted.
    """
    began = time.perf_counter()
    with Runtime(folder) as kitchen:
        kitchen.query("SELECT count(*) FROM spans")
    took = time.perf_counter() - began
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    command = [sys.executable, "-c", _QUERY, os.fspath(folder), str(_SPANS_A_TRACE * traces)]
    both = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split() for _ in range(repeats)]
    return Measured(took, size / traces, [float(one) for one, _ in both], [float(one) for _, one in both])


def main(spans: int = SPANS, packs: int = PACKS) -> None:
    """Build, measure, and write the section."""
    where = page.machine()
    traces = -(-spans // _SPANS_A_TRACE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        million.build(folder, traces=traces, hours=packs)
        found = measure(folder, traces, _REPEATS)
    rows = [
        (what, *(f"{1000 * one:,.0f}" for one in (statistics.median(taken), min(taken), max(taken))))
        for what, taken in (("the first query of a process", found.first), ("the next one", found.second))
    ]
    heads = ("95th percentile by span name, milliseconds", "median", "lowest", "highest")
    page.write(
        "percentile",
        f"Measured {where}.\n"
        f"{_SPANS_A_TRACE * traces:,} spans of {traces:,} traces in {packs} packs.\n"
        f"Their rows, {found.row_bytes:,.0f} bytes a trace, were made by the first query of all in {found.rows:,.0f} s;\n"
        f"{_REPEATS} processes, after `import runtime`.\n\n"
        f"{page.table(heads, rows)}",
    )
