"""`make bench`: microseconds a span over bare code, and the ratio to the floor.

Every row is timed until all of it is fdatasynced; rows are interleaved and the median of the rounds is shown. Inputs vary from
turn to turn. CPU is that of the whole process, the writer thread included.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from benchmarks import workload
from benchmarks.floor import Floor, recorded
from runtime import Runtime

TURNS, ROUNDS, SPANS = 1500, 5, 8


async def _loop(call: Callable[[workload.Turn], Awaitable[Any]]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(TURNS):
        await call(workload.Turn(number, f"where is order {number * 31 % 9973}?"))
    return time.perf_counter() - wall, cpu


async def _bare(*, as_list: bool) -> tuple[float, float, float]:
    _, bare = workload.make(as_list=as_list)
    took, cpu = await _loop(bare)
    return took, took, time.process_time() - cpu


async def _floor(folder: Path, *, as_list: bool) -> tuple[float, float, float]:
    floor = Floor(folder / "floor")
    began = time.perf_counter()
    took, cpu = await _loop(lambda turn: recorded(floor, turn, as_list=as_list))
    await anyio.to_thread.run_sync(floor.close)
    assert floor.sent == floor.stored
    return took, time.perf_counter() - began, time.process_time() - cpu


async def _kitchenlog(folder: Path, *, as_list: bool, guarded: bool = False) -> tuple[float, float, float]:
    agent, _ = workload.make(as_list=as_list, guarded=guarded)
    runtime = Runtime(folder / "store")
    await runtime.arun(agent, workload.Turn(0, "warm"))
    began = time.perf_counter()
    took, cpu = await _loop(lambda turn: runtime.arun(agent, turn))
    log = runtime.log
    assert log is not None
    await anyio.to_thread.run_sync(runtime.close)
    assert log.sent == log.stored + log.dropped
    assert log.dropped == 0
    return took, time.perf_counter() - began, time.process_time() - cpu


ROWS: list[tuple[str, str, Callable[[Path], Awaitable[tuple[float, float, float]]]]] = [
    ("bare", "bare", lambda _: _bare(as_list=False)),
    ("floor, Vector", "bare", lambda folder: _floor(folder, as_list=False)),
    ("kitchenlog, Vector", "bare", lambda folder: _kitchenlog(folder, as_list=False)),
    (
        "kitchenlog, Vector, one step with timeout and retry",
        "bare",
        lambda folder: _kitchenlog(folder, as_list=False, guarded=True),
    ),
    ("bare, list[float]", "bare, list[float]", lambda _: _bare(as_list=True)),
    ("floor, list[float]", "bare, list[float]", lambda folder: _floor(folder, as_list=True)),
    ("kitchenlog, list[float]", "bare, list[float]", lambda folder: _kitchenlog(folder, as_list=True)),
]


async def main() -> None:
    """Measure and print."""
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _, _ in ROWS}
    for _ in range(ROUNDS):
        for name, _, measure in ROWS:
            with tempfile.TemporaryDirectory() as folder:
                seen[name].append(await measure(Path(folder)))
    middle = {
        name: tuple(statistics.median(round_[place] for round_ in rounds) / TURNS / SPANS * 1e6 for place in range(3))
        for name, rounds in seen.items()
    }
    print(f"{TURNS} turns of {SPANS} spans, median of {ROUNDS} rounds; microseconds a span over bare")
    print(f"{'':52} {'request path':>12} {'until synced':>12} {'cpu':>8}")
    for name, base, _ in ROWS:
        over = [middle[name][place] - (middle[base][place] if name != base else 0) for place in range(3)]
        print(f"{name:52} {over[0]:12.1f} {over[1]:12.1f} {over[2]:8.1f}")
    for kind in ("Vector", "list[float]"):
        base = "bare" if kind == "Vector" else "bare, list[float]"
        ratios = [
            (middle[f"kitchenlog, {kind}"][place] - middle[base][place]) / (middle[f"floor, {kind}"][place] - middle[base][place])
            for place in range(3)
        ]
        print(f"ratio to the floor, {kind}: request path {ratios[0]:.2f}, until synced {ratios[1]:.2f}, cpu {ratios[2]:.2f}")


anyio.run(main)
