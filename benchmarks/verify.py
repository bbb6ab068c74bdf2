"""`python -m benchmarks verify`: what verifying a trace costs, from warm local packs.

Each row loads every trace, runs what is to run, and compares. Processor time is that of the whole process; the same functions
called bare, in the same rounds, say how fast the machine was just then.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from benchmarks import measure, page, refund, workload
from benchmarks.agents import judge_otherwise, lists, vectors
from replay.result import replay, request_of
from replay.worker_pool import cores
from runtime import Runtime, loader
from storage.opening import open_store

TURNS, ROUNDS, FULL = 3000, 5, 200
SWAP = {"judge": judge_otherwise}


def main() -> None:
    """Measure, and write the section."""
    machine = page.machine()
    with tempfile.TemporaryDirectory() as place:
        one, two = Path(place) / "vectors", Path(place) / "lists"
        _record(one, vectors)
        _record(two, lists)
        turns = [refund.turn(number) for number in range(TURNS)]
        rows: dict[str, Callable[[], int]] = {
            "the same functions, bare": lambda: len(measure.bare(turns, as_list=False)),
            "`verify`, `Vector`": functools.partial(_verified, one, vectors),
            "`verify`, `list[float]`": functools.partial(_verified, two, lists),
            "`verify` with the last step swapped, `Vector`": functools.partial(_verified, one, vectors, swap=SWAP),
            "each trace by the replayer, `Vector`": functools.partial(_fully, one, vectors),
            "the same with the last step swapped": functools.partial(_fully, one, vectors, swap=SWAP),
        }
        seen: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(ROUNDS):
            for name, call in rows.items():
                began = time.process_time()
                count = call()
                seen[name].append((time.process_time() - began) / count * 1e6)
        began = time.perf_counter()
        _verified(one, vectors, workers=cores())
        wall = time.perf_counter() - began
    shown = [
        (name, f"{statistics.median(took):,.0f}", f"{min(took):,.0f}", f"{1e6 / statistics.median(took):,.0f}")
        for name, took in seen.items()
    ]
    heads = ("", "µs of CPU a trace", "best round", "traces a second a core")
    told = (
        f"{TURNS:,} traces of seven spans and six effects, {ROUNDS} rounds, medians; {machine}.\n\n{page.table(heads, shown)}\n\n"
        f"By {cores()} worker processes: {TURNS / wall:,.0f} traces a second by the clock, the start of the processes included."
    )
    page.write("verify", told)


def _record(folder: Path, agent: Any) -> None:
    async def record(kitchen: Runtime) -> None:
        for number in range(TURNS):
            await kitchen.arun(agent, workload.turn(number))

    with Runtime(folder) as kitchen:
        anyio.run(record, kitchen)


def _verified(folder: Path, agent: Any, *, workers: int = 0, swap: Any = None) -> int:
    with Runtime(folder) as kitchen:
        kitchen.register(agent)
        found = kitchen.verify(swap=swap, workers=workers)
    assert sum(found.counts.get(verdict, 0) for verdict in ("same", "changed")) == len(found) == TURNS
    assert found.ok is (swap is None)
    assert not found.notes
    return len(found)


def _fully(folder: Path, agent: Any, *, swap: Any = None) -> int:
    store = open_store(folder, create=False)

    async def replayed() -> int:
        for done, trace in enumerate(store.ids()):
            if done == FULL:
                break
            recording = loader.load(store, trace)
            request = request_of(recording, agent, swap=swap, override=None, live=None, budget_usd=None, code="current")
            assert (await replay(recording, agent, request, redact=lambda value: value, call="")).certificate.ok
        return FULL

    with store.snapshot():
        return anyio.run(replayed)


if __name__ == "__main__":
    main()
