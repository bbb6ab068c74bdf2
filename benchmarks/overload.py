"""100,000 refund traces flat out, and ten times more than the disk takes: memory, and an account that adds up.

Flat out is one run after another, as fast as they come, and packs are made meanwhile. Overload is an open loop: runs begin at a
fixed rate whether or not those before have ended, against a disk that takes a tenth of what they record. A run that begins while
more than half of the queue is full is held back, for a second at most; what then finds no room is dropped and counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import anyio

from benchmarks import page, workload
from runtime import Runtime
from runtime.live_run import Run
from storage import frames
from storage.disk import Disk, OsDisk
from storage.ids import NO_TRACE
from storage.log import QUEUE_BYTES, Log
from storage.opening import open_store
from storage.records import Kind

TRACES: Final = 100_000
A_SECOND: Final = 500.0
SMALL_QUEUE: Final = 16 * 2**20
_SAMPLE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 1800
_PAGE: Final = 4096
_LOGGED: Final = 30_000
"""Bytes of a trace in the log, about."""


class SlowDisk(OsDisk):
    """Takes so many bytes a second."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second

    def write(self, descriptor: int, data: memoryview) -> int:
        """See `Disk`."""
        taken = super().write(descriptor, data[: 1 << 16])
        time.sleep(taken / self._rate)
        return taken


class Memory:
    """Samples of the resident bytes of this process, taken by a thread while it is entered."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.samples.append(resident())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.samples.append(resident())


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE


class Outcome(NamedTuple):
    """What came of it. Bytes are of memory."""

    traces: int
    seconds: float
    """Until everything was in the store or given up."""
    sent: int
    """Records, as are the next two."""
    stored: int
    dropped: int
    found: int
    """Traces that the store holds afterwards."""
    before: int
    tenths: tuple[int, ...]
    """The most in each tenth of the time."""
    runs: list[Run[Any]]


def flat_out(folder: Path, traces: int) -> Outcome:
    """Record so many refund traces one after another, with every setting as it comes, until all are in packs."""
    kitchen = Runtime(folder)
    before = resident()
    began = time.perf_counter()
    with Memory() as memory:
        anyio.run(_one_by_one, kitchen, traces)
        log = kitchen.log
        assert log is not None
        kitchen.close()
        # It gives up after 30 s, and its thread goes on with what is left.
        while any((folder / "log").iterdir()):
            time.sleep(0.1)
            if time.perf_counter() > began + _PATIENCE_SECONDS:
                raise TimeoutError(f"packs were not made of {len(list((folder / 'log').iterdir()))} record files")
    return _outcome(folder, traces, time.perf_counter() - began, log, before, memory, [])


def overloaded(folder: Path, traces: int, *, a_second: float, disk: Disk, queue_bytes: int) -> Outcome:
    """Begin so many refund traces a second, however many still run.

    Args:
        folder: for the store.
        traces: how many.
        a_second: how many begin in a second.
        disk: where record files are written.
        queue_bytes: what may wait for it.
    """
    store = open_store(folder, create=True)
    kitchen = Runtime(folder)
    kitchen.list(limit=1)  # it opens its store
    kitchen.log = log = Log(store, queue_bytes=queue_bytes, disk=disk)
    before = resident()
    began = time.perf_counter()
    with Memory() as memory:
        runs = anyio.run(_at_a_rate, kitchen, traces, a_second)
        log.close(600)
    return _outcome(folder, traces, time.perf_counter() - began, log, before, memory, runs)


def _outcome(folder: Path, traces: int, took: float, log: Log, before: int, memory: Memory, runs: list[Run[Any]]) -> Outcome:
    count = len(memory.samples)
    tenths = (memory.samples[place * count // 10 : (place + 1) * count // 10] for place in range(10))
    most = tuple(max(some) for some in tenths if some)
    found = open_store(folder, create=False).count
    return Outcome(traces, took, log.sent, log.stored, log.dropped, found, before, most, runs)


async def _one_by_one(kitchen: Runtime, traces: int) -> None:
    agent = workload.make()
    for number in range(traces):
        await kitchen.arun(agent, workload.turn(number))


async def _at_a_rate(kitchen: Runtime, traces: int, a_second: float) -> list[Run[Any]]:
    agent = workload.make()
    runs: list[Run[Any]] = []

    async def one(number: int) -> None:
        runs.append(await kitchen.arun(agent, workload.turn(number)))

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(traces):
            group.start_soon(one, number)
            await anyio.sleep(max(0.0, began + number / a_second - time.perf_counter()))
    return runs


def records_on_disk(folder: Path) -> int:
    """Records of traces in a store's record files, without those of values that others bring along."""
    return sum(_records(folder / "log"))


def _records(folder: Path) -> Iterator[int]:
    for file in sorted(folder.glob("*.log")):
        data = file.read_bytes()[frames.FILE_HEADER_BYTES :]
        for one in frames.scan(data, frames.FILE_HEADER_BYTES):
            assert isinstance(one, frames.Frame), f"{file.name} is damaged at {one.offset}"
            yield one.kind != Kind.VALUE and one.trace != NO_TRACE


def _told(one: Outcome) -> dict[str, str]:
    return {
        "traces": f"{one.traces:,}",
        "seconds until all was in the store or dropped": f"{one.seconds:,.1f}",
        "records sent": f"{one.sent:,}",
        "stored": f"{one.stored:,}",
        "dropped": f"{one.dropped:,}",
        "sent - stored - dropped": f"{one.sent - one.stored - one.dropped:,}",
        "traces in the store afterwards": f"{one.found:,}",
        "resident memory before, MB": f"{one.before / 1e6:,.0f}",
        "the most in each tenth of the time, MB": " ".join(f"{most / 1e6:,.0f}" for most in one.tenths),
    }


def _measured(what: str, traces: int) -> Outcome:
    """In a process of its own, so that neither finds the memory that the other left."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overload", what, str(traces)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return Outcome(**found, runs=[])


def main(traces: int = TRACES) -> None:
    """Measure, and write the section."""
    where = page.machine()
    flat, slow = _measured("flat", traces), _measured("overloaded", traces // 10)
    told = _told(slow)
    heads = ("", "flat out", f"{A_SECOND:,.0f} a second, ten times what the disk takes")
    page.write(
        "overload",
        f"Measured {where}.\n"
        f"Flat out with a queue of {QUEUE_BYTES >> 20} MB, overloaded with one of {SMALL_QUEUE >> 20} MB.\n\n"
        f"{page.table(heads, [(what, text, told[what]) for what, text in _told(flat).items()])}",
    )


if __name__ == "__main__":
    asked, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        if asked == "flat":
            outcome = flat_out(Path(name) / "store", count)
        else:
            slow_disk = SlowDisk(A_SECOND * _LOGGED / 10)
            outcome = overloaded(Path(name) / "store", count, a_second=A_SECOND, disk=slow_disk, queue_bytes=SMALL_QUEUE)
            assert records_on_disk(Path(name) / "store") == outcome.stored
    assert outcome.sent == outcome.stored + outcome.dropped
    print(json.dumps({what: told for what, told in outcome._asdict().items() if what != "runs"}))
