"""One system in one process: bare code first, then the system, timed until all of it is on disk, then checked.

A process of its own for every measurement keeps one system's garbage, threads and caches out of another's figures. What it found
is printed as one line of JSON. This module and what measures peers need anyio and the standard library alone.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from benchmarks import refund

WARM: Final = 50


class System(Protocol):
    """What is measured. It is made with an empty folder."""

    def run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        """The verdict on each turn: everything that a caller waits for."""
        ...

    def finish(self) -> None:
        """Return once everything is synced to the disk."""
        ...

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """(records handed over, records found on disk), after some of them were compared with what they have to hold."""
        ...


def measure(make: Callable[[Path], System], folder: Path, count: int, *, as_list: bool) -> dict[str, Any]:
    """Seconds over bare code, bytes a turn, and counts.

    Raises:
        AssertionError: a verdict differs from that of bare code, or not everything that was handed over is on disk.
    """
    turns = [refund.turn(number) for number in range(count + WARM)]
    expected = bare(turns, as_list=as_list)
    system = make(folder)
    assert system.run(turns[:WARM]) == expected[:WARM]
    gc.collect()
    own, began = time.thread_time(), time.perf_counter()
    bare(turns[WARM:], as_list=as_list)
    alone, alone_cpu = time.perf_counter() - began, time.thread_time() - own
    own, cpu, began = time.thread_time(), time.process_time(), time.perf_counter()
    verdicts = system.run(turns[WARM:])
    request, own = time.perf_counter() - began, time.thread_time() - own
    system.finish()
    synced, cpu = time.perf_counter() - began, time.process_time() - cpu
    kept = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert verdicts == expected[WARM:]
    sent, stored = system.check(turns)
    assert sent == stored, f"{sent} records were handed over and {stored} are on disk"
    return {
        "request": request - alone, "synced": synced - alone, "own": own - alone_cpu, "cpu": cpu - alone_cpu,
        "sent": sent, "stored": stored, "bytes": kept / len(turns),
    }  # fmt: skip


def bare(turns: Sequence[refund.Turn], *, as_list: bool) -> list[bool]:
    """The verdicts of the same functions called directly."""
    return anyio.run(functools.partial(_bare, turns, as_list=as_list))


async def _bare(turns: Sequence[refund.Turn], *, as_list: bool) -> list[bool]:
    return [await refund.bare(one, as_list=as_list) for one in turns]


def sync_file(path: str | os.PathLike[str]) -> None:
    """Return once a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(make: Callable[[Path, argparse.Namespace], System], packages: Sequence[str]) -> None:
    """Measure what the command line asks for, and print it.

    Args:
        make: the system in an empty folder.
        packages: whose versions to tell.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--variant", default="")
    parser.add_argument("--list", action="store_true", dest="as_list", help="the embedding is a list of floats, not bytes")
    parser.add_argument("--folder", help="where to make the recordings; by default where temporary files are")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        found = measure(lambda path: make(path, asked), Path(folder), asked.turns, as_list=asked.as_list)
    found["versions"] = {name: metadata.version(name) for name in packages}
    json.dump(found, sys.stdout)
