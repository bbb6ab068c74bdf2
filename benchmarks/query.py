"""`python -m benchmarks query`: what SQL over a million spans costs, and what making their rows costs.

The rows are those of recorded turns of the refund workload (`benchmarks.workload`), seven spans and six effects each, again
and again under other ids and with other durations, beside 120 packs, and beside 24 as a merge of each hour would leave. The
packs are empty, since a query reads rows alone.
"""

from __future__ import annotations

import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import numpy as np

from benchmarks import page, workload
from runtime import Runtime
from runtime.sql import terms
from storage import keys
from storage.objects.folder import FolderObjectStore
from storage.opening import open_store
from storage.pack.writer import PackWriter
from storage.packs import open_pack
from storage.rows import parquet
from storage.rows.beside import RowStore
from storage.rows.part import rows_of_pack
from storage.rows.sql import answer
from storage.rows.stamp import RowsMac
from storage.rows.trace import Row, RowMaker, TraceRows
from tests.packed import killed, pack_up

PACKS, MERGED, TRACES, RECORDED, ROUNDS = 120, 24, 1200, 1000, 9
P95 = "SELECT name, quantile_cont(duration_ms, 0.95), count(*) FROM spans GROUP BY name ORDER BY name"
QUERIES = {
    "p95 by span name": P95,
    "spans of runs with an error": "SELECT count(*) FROM spans WHERE kind = 'run' AND status = 'error'",
    "calls and time by effect": "SELECT name, count(*), sum(duration_ms) FROM effects GROUP BY name",
    "p95 by variant and span name (a join)": (
        "SELECT variant, name, quantile_cont(spans.duration_ms, 0.95) FROM spans JOIN traces USING (trace_id) GROUP BY ALL"
    ),
    "count of traces": "SELECT count(*) FROM traces",
}


async def _record(runtime: Runtime) -> None:
    agent = workload.make()
    for number in range(RECORDED):
        await runtime.arun(agent, workload.turn(number), attributes={"variant": "AB"[number % 2]})


def _again(recorded: list[TraceRows], seed: int, count: int) -> Iterator[TraceRows]:
    """Traces of other ids and durations."""
    random_ = random.Random(seed)

    def other(row: Row, trace: str) -> Row:
        return {**row, "trace_id": trace, "duration": int(row["duration"] * random_.lognormvariate(0.0, 1.0))}

    for number in range(count):
        trace, spans, effects, types = recorded[number % len(recorded)]
        name = secrets.token_hex(16)
        yield TraceRows(
            other(trace, name),
            [{**other(row, name), "span_id": secrets.token_hex(8)} for row in spans],
            [other(row, name) for row in effects],
            types,
        )


def _timed(call: Callable[[str], object], sql: str) -> tuple[float, float]:
    """Milliseconds by the clock and of the processors."""
    began, used = time.perf_counter(), time.process_time()
    call(sql)
    return (time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3


def main() -> None:
    """Measure, and write the section."""
    before = page.machine()
    with tempfile.TemporaryDirectory() as name:
        with killed(Path(name) / "recorded") as runtime:
            anyio.run(_record, runtime)
            _, cpu = min(_timed(runtime.query, P95) for _ in range(3))
        recorded, told = _make(Path(name) / "recorded")
        sizes = (PACKS, MERGED)
        found = [_ask(Path(name) / f"of {packs}", recorded, packs) for packs in sizes]
    spans = PACKS * TRACES * len(recorded[0].spans)
    heads = ["milliseconds", *(f"{packs} packs: {what}" for packs in sizes for what in ("CPU", "by the clock"))]
    rows = [[asked, *(f"{one[asked][place]:.0f}" for one in found for place in (1, 0))] for asked in found[0]]
    page.write(
        "query",
        f"Measured {before}.\n{spans:,} spans of {PACKS * TRACES:,} traces; medians of {ROUNDS}.\n{told}\n"
        f"Traces in record files that are not sealed cost {cpu / RECORDED:.2f} ms of CPU each in every query.\n\n"
        f"{page.table(heads, rows)}",
    )


def _ask(folder: Path, recorded: list[TraceRows], packs: int) -> dict[str, tuple[float, float]]:
    """What queries over a store of so many packs take: by the clock, and of CPU."""
    with Runtime(folder) as runtime:
        runtime._writing()  # founds the store
    store, objects, maker = open_store(folder, create=False), FolderObjectStore(folder), RowMaker(terms())
    expected: dict[str, list[float]] = {}
    for number in range(packs):
        writer = secrets.token_bytes(8)
        key = keys.pack(f"20200101-{number % 24:02d}", writer, number)
        objects.put_new(key, PackWriter(store.id, writer, store.mac).build())
        rows = list(_again(recorded, number, PACKS * TRACES // packs))
        data, _ = parquet.encode(rows, terms(), RowsMac(store.mac))
        objects.put_new(keys.rows(key), data)
        for row in (row for one in rows for row in one.spans):
            expected.setdefault(row["name"], []).append(row["duration"] / 1e6)

    def ask(sql: str) -> list[tuple[object, ...]]:
        with RowStore(objects, store.id, store.mac, maker, folder=str(folder)) as beside:
            return answer(sql, beside, maker, loose=(), load=store.load, progress=lambda _done, _all: None).rows

    for span, value, count in ask(P95):
        exact = np.percentile(expected[str(span)], 95)
        assert count == len(expected[str(span)])
        assert abs(float(str(value)) - exact) <= 1e-9 * exact
    found: dict[str, tuple[float, float]] = {}
    for asked, sql in QUERIES.items():
        took = [_timed(ask, sql) for _ in range(ROUNDS)]
        wall, cpu = (statistics.median(one[place] for one in took) for place in range(2))
        found[asked] = (wall, cpu)
    return found


def _make(folder: Path) -> tuple[list[TraceRows], str]:
    """The rows of one real pack, and what making them costs."""
    key = max(pack_up(folder), key=lambda key: (folder / key).stat().st_size)
    store = open_store(folder, create=False)
    reader = open_pack(store.objects, key, store.mac)
    began = time.process_time()
    rows = list(rows_of_pack(reader, store.mac, RowMaker(terms()), []))
    data, _ = parquet.encode(rows, terms(), RowsMac(store.mac))
    took = time.process_time() - began
    spans = sum(len(one.spans) for one in rows)
    told = (
        f"Making the rows of a pack of {spans:,} spans ({reader.size:,} bytes) takes {took * 1e3:.0f} ms of CPU, "
        f"{took / spans * 1e6:.0f} µs a span, once; they are {len(data):,} bytes."
    )
    return [one for one in rows if one.trace["part"] == "whole"], told


if __name__ == "__main__":
    main()
