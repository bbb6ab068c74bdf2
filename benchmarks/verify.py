"""`python -m benchmarks.verify`: what verifying a trace costs, from warm local packs.

Each row loads every trace, runs what is to run, and compares digests. Processor time is that of the whole process; the same
functions called bare, in the same rounds, say how fast the machine was just then.
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

from benchmarks import workload
from benchmarks.agents import bare_turn, judge_otherwise, lists, vectors
from replay.result import replay, request_of
from replay.worker_pool import cores
from runtime import Runtime, loader
from storage.opening import open_store

TURNS, ROUNDS, FULL = 3000, 5, 300


def _record(folder: Path, agent: Any) -> None:
    async def main(kitchen: Runtime) -> None:
        for number in range(TURNS):
            await kitchen.arun(agent, workload.Turn(number, f"where is order {number * 31 % 9973}?"))

    with Runtime(folder) as kitchen:
        anyio.run(main, kitchen)


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

    async def main() -> int:
        done = 0
        for trace in store.ids():
            recording = loader.load(store, trace)
            request = request_of(recording, agent, swap=swap, override=None, live=None, budget_usd=None, code="current")
            assert (await replay(recording, agent, request, redact=lambda value: value, call="")).certificate.ok
            done += 1
            if done == FULL:
                break
        return done

    with store.snapshot():
        return anyio.run(main)


def _bare() -> int:
    async def main() -> None:
        for number in range(TURNS):
            await bare_turn(workload.Turn(number, f"where is order {number * 31 % 9973}?"))

    anyio.run(main)
    return TURNS


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        one, two = Path(place) / "vectors", Path(place) / "lists"
        _record(one, vectors)
        _record(two, lists)
        swap = {"judge": judge_otherwise}
        rows: dict[str, Callable[[], int]] = {
            "the same functions, bare": _bare,
            "verify, Vector": functools.partial(_verified, one, vectors),
            "verify, list[float]": functools.partial(_verified, two, lists),
            "verify with the last step swapped, Vector": functools.partial(_verified, one, vectors, swap=swap),
            "the replayer, Vector": functools.partial(_fully, one, vectors),
            "the replayer with the last step swapped, Vector": functools.partial(_fully, one, vectors, swap=swap),
        }
        seen: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(ROUNDS):
            for name, measure in rows.items():
                began = time.process_time()
                count = measure()
                seen[name].append((time.process_time() - began) / count * 1e6)
        print(f"{TURNS} traces of 8 spans, {ROUNDS} rounds; processor time")
        print(f"{'':50} {'us a trace':>10} {'best':>8} {'traces a second a core':>23}")
        for name, took in seen.items():
            middle = statistics.median(took)
            print(f"{name:50} {middle:10.0f} {min(took):8.0f} {1e6 / middle:23,.0f}")
        began = time.perf_counter()
        count = _verified(one, vectors, workers=cores())
        took_all = time.perf_counter() - began
        print(
            f"verify, Vector, {cores()} worker processes: {count / took_all:,.0f} traces a second of wall time, with their start"
        )


if __name__ == "__main__":
    main()
