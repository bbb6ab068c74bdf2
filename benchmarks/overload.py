"""100,000 refund traces flat out, and ten times more than the disk takes: memory, and an account that adds up.

Flat out is one run after another, as fast as they come. Overload is an open loop: runs begin at a fixed rate whether or not those
before have ended, against a disk that takes a tenth of what they record. A run that begins while more than half of the queue is
full is held back, for a second at most; what then finds no room is dropped and counted.
"""

from __future__ import annotations

import functools
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
from storage.disk import OS_DISK, Disk, OsDisk
from storage.ids import NO_TRACE
from storage.log import Log
from storage.records import Kind
from storage.store import LocalStore

TRACES: Final = 100_000
QUEUE_BYTES: Final = 64 * 2**20
"""What `storage.log.Log` declares."""
_SAMPLE_SECONDS: Final = 0.05
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
    """Until everything was on disk or given up."""
    sent: int
    """Records, as are the next three."""
    stored: int
    dropped: int
    on_disk: int
    """Counted in the record files afterwards."""
    before: int
    tenths: tuple[int, ...]
    """The most in each tenth of the time."""
    runs: list[Run[Any]]


def record(
    folder: Path, traces: int, *, a_second: float | None = None, disk: Disk = OS_DISK, queue_bytes: int = QUEUE_BYTES
) -> Outcome:
    """Record so many refund traces.

    Args:
        folder: for the store.
        traces: how many.
        a_second: how many begin in a second, however many still run; by default one after another.
        disk: where to.
        queue_bytes: what may wait for it.
    """
    store = LocalStore.open(folder, create=True)
    log = Log(store, queue_bytes=queue_bytes, disk=disk)
    agent = workload.make()
    kitchen = Runtime(folder)
    kitchen.list(limit=1)  # it opens its store
    kitchen.log = log
    before = resident()
    began = time.perf_counter()
    with Memory() as memory:
        runs = anyio.run(functools.partial(_offer, kitchen, agent, traces, a_second))
        log.close(600)
    took = time.perf_counter() - began
    count = len(memory.samples)
    tenths = (memory.samples[place * count // 10 : (place + 1) * count // 10] for place in range(10))
    most = tuple(max(some) for some in tenths if some)
    return Outcome(traces, took, log.sent, log.stored, log.dropped, on_disk(store), before, most, runs)


async def _offer(kitchen: Runtime, agent: Any, traces: int, a_second: float | None) -> list[Run[Any]]:
    runs: list[Run[Any]] = []
    if a_second is None:
        for number in range(traces):
            await kitchen.arun(agent, workload.turn(number))
        return runs

    async def one(number: int) -> None:
        runs.append(await kitchen.arun(agent, workload.turn(number)))

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(traces):
            group.start_soon(one, number)
            await anyio.sleep(max(0.0, began + number / a_second - time.perf_counter()))
    return runs


def on_disk(store: LocalStore) -> int:
    """Records of traces in the store's record files, without those of values that others bring along."""
    return sum(_records(Path(store.log_folder)))


def _records(folder: Path) -> Iterator[int]:
    for file in sorted(folder.glob("*.log")):
        data = file.read_bytes()[frames.FILE_HEADER_BYTES :]
        for one in frames.scan(data, frames.FILE_HEADER_BYTES):
            assert isinstance(one, frames.Frame), f"{file.name} is damaged at {one.offset}"
            yield one.kind != Kind.VALUE and one.trace != NO_TRACE


def _told(one: Outcome) -> dict[str, str]:
    return {
        "traces": f"{one.traces:,}",
        "seconds until all was on disk or dropped": f"{one.seconds:,.1f}",
        "records sent": f"{one.sent:,}",
        "stored": f"{one.stored:,}",
        "found on disk": f"{one.on_disk:,}",
        "dropped": f"{one.dropped:,}",
        "sent - stored - dropped": f"{one.sent - one.stored - one.dropped:,}",
        "resident memory before, MB": f"{one.before / 1e6:,.0f}",
        "the most in each tenth of the time, MB": " ".join(f"{most / 1e6:,.0f}" for most in one.tenths),
    }


def main(traces: int = TRACES) -> None:
    """Measure, and write the section."""
    where = page.machine()
    a_second, queue_bytes = 500.0, 16 * 2**20
    with tempfile.TemporaryDirectory() as name:
        flat = record(Path(name) / "flat", traces)
        disk = SlowDisk(a_second * _LOGGED / 10)
        slow = record(Path(name) / "slow", traces // 10, a_second=a_second, disk=disk, queue_bytes=queue_bytes)
    assert flat.sent == flat.stored + flat.dropped
    assert slow.sent == slow.stored + slow.dropped
    assert (flat.on_disk, slow.on_disk) == (flat.stored, slow.stored)
    told = _told(slow)
    heads = ("", "flat out", f"{a_second:,.0f} a second, ten times what the disk takes")
    page.write(
        "overload",
        f"Measured {where}.\n"
        f"Flat out with a queue of {QUEUE_BYTES >> 20} MB, overloaded with one of {queue_bytes >> 20} MB.\n\n"
        f"{page.table(heads, [(what, text, told[what]) for what, text in _told(flat).items()])}",
    )
