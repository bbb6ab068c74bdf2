"""`python -m benchmarks.query`: what SQL over a million spans costs, and what making their rows costs.

The rows are those of recorded turns of the refund workload (`benchmarks.workload`), seven spans and six effects each, again
and again under other ids and with other durations, beside 120 packs. The packs are empty, since a query reads rows alone.
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

from benchmarks import workload
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
from storage.store import Store
from tests.packed import killed, pack_up

PACKS, TRACES, RECORDED, ROUNDS = 120, 1200, 1000, 9
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
    agent, _ = workload.make(as_list=False)
    for number in range(RECORDED):
        attributes = {"variant": "AB"[number % 2]}
        await runtime.arun(agent, workload.Turn(number, f"where is order {number}?"), attributes=attributes)


def _again(recorded: list[TraceRows], seed: int) -> Iterator[TraceRows]:
    """Traces of other ids and durations."""
    random_ = random.Random(seed)

    def other(row: Row, trace: str) -> Row:
        return {**row, "trace_id": trace, "duration": int(row["duration"] * random_.lognormvariate(0.0, 1.0))}

    for number in range(TRACES):
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
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "recorded", Path(name) / "store"
        with killed(source) as runtime:
            anyio.run(_record, runtime)
            _, cpu = min(_timed(runtime.query, P95) for _ in range(3))
        print(f"{RECORDED:,} traces, all in record files: {cpu:.0f} ms of the processors a query, {cpu / RECORDED:.2f} a trace")
        recorded = _make(source)
        with Runtime(folder) as runtime:
            runtime._writing()  # founds the store
        store = open_store(folder, create=False)
        objects = FolderObjectStore(folder)
        expected: dict[str, list[float]] = {}
        for number in range(PACKS):
            key = f"hot/20261125-{number % 24:02d}/{secrets.token_hex(8)}-{number:06d}.pack"
            objects.put_new(key, PackWriter(store.id, bytes.fromhex(key[16:32]), store.mac).build())
            rows = list(_again(recorded, number))
            data, _ = parquet.encode(rows, terms(), RowsMac(store.mac))
            objects.put_new(keys.rows(key), data)
            for row in (row for one in rows for row in one.spans):
                expected.setdefault(row["name"], []).append(row["duration"] / 1e6)
        spans = sum(map(len, expected.values()))
        size = sum(path.stat().st_size for path in folder.glob("hot/*/*.parquet"))
        print(f"{PACKS} packs, {spans:,} spans, {size / spans:.0f} bytes of rows a span")
        maker = RowMaker(terms())

        def ask(sql: str) -> list[tuple[object, ...]]:
            with RowStore(objects, store.id, store.mac, maker, folder=str(folder)) as rows:
                return answer(sql, rows, maker, loose=(), load=store.load, progress=lambda _done, _all: None).rows

        for asked, sql in QUERIES.items():
            took = [_timed(ask, sql) for _ in range(ROUNDS)]
            middle, cpu = (statistics.median(one[place] for one in took) for place in range(2))
            print(f"{asked:40} {middle:8.1f} ms  (best {min(took)[0]:.1f}; {cpu:.1f} of the processors)")
        _split(objects, store, folder, maker)
        for span, value, count in ask(P95):
            exact = np.percentile(expected[str(span)], 95)
            assert count == len(expected[str(span)])
            assert abs(float(str(value)) - exact) <= 1e-9 * exact
        print("p95 of every name is numpy's")


def _make(folder: Path) -> list[TraceRows]:
    """The rows of one real pack, and what making them costs."""
    key = max(pack_up(folder), key=lambda key: (folder / key).stat().st_size)
    store, objects = open_store(folder, create=False), FolderObjectStore(folder)
    reader = open_pack(objects, key, store.mac)
    began = time.perf_counter()
    rows = list(rows_of_pack(reader, store.mac, RowMaker(terms()), []))
    decoded = time.perf_counter()
    parquet.encode(rows, terms(), RowsMac(store.mac))
    written = time.perf_counter()
    spans = sum(len(one.spans) for one in rows)
    print(
        f"a pack of {len(rows):,} traces and {spans:,} spans ({reader.size:,} bytes): its rows are made in "
        f"{(decoded - began) * 1e3:.0f} ms and written in {(written - decoded) * 1e3:.0f} ms, "
        f"{(written - began) / spans * 1e6:.0f} µs a span"
    )
    return [one for one in rows if one.trace["part"] == "whole"]


def _split(objects: FolderObjectStore, store: Store, folder: Path, maker: RowMaker) -> None:
    """Where the time of a query goes."""
    took: dict[str, list[float]] = {"connect": [], "list, read and compare digests": [], "the scan itself": []}
    for _ in range(ROUNDS):
        with RowStore(objects, store.id, store.mac, maker, folder=str(folder)) as rows:
            began = time.perf_counter()
            database = parquet.connect(rows.scratch)
            took["connect"].append((time.perf_counter() - began) * 1e3)
            with database:
                began = time.perf_counter()
                found = rows.open(lambda _done, _all: None)
                opened = time.perf_counter()
                source = f"{parquet.scan(list(found.files))} WHERE row = 'span'"
                database.execute(P95.replace("FROM spans", f"FROM {source}").replace("duration_ms", "duration / 1e6")).fetchall()
                took["list, read and compare digests"].append((opened - began) * 1e3)
                took["the scan itself"].append((time.perf_counter() - opened) * 1e3)
    for part, times in took.items():
        print(f"    {part:36} {statistics.median(times):8.1f} ms")


if __name__ == "__main__":
    main()
