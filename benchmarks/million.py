"""A store of a million small traces in packs of an hour each, made without running them, and how long opening one takes.

The frames are those that a recorder would have written, and the packs are made by the pack writer: what is measured is reading.
Each pack lies under the hour that is in the ids of its traces.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import page
from runtime import Graph, environment
from runtime.manifest import describe_agent
from storage import codec, keys
from storage.digest import Mac
from storage.frames import Frame
from storage.opening import open_store
from storage.pack.writer import PackWriter
from storage.records import Kind

TRACES: Final = 1_000_000
HOURS: Final = 240
PREFIX: Final = 5
_OPENINGS: Final = 9
_HEADER, _SPAN, _END = int(Kind.HEADER), int(Kind.SPAN), int(Kind.END)
_ROOT: Final = -2
_NOTHING: Final = (None,) * 6
"""The fields of a span from its error to its findings."""

# In a process that has imported nothing: what importing takes is told apart.
_OPEN: Final = """
import sys, time
began = time.perf_counter()
import runtime
imported = time.perf_counter()
recording = runtime.Runtime(sys.argv[1]).open(sys.argv[2])
output = recording.output
opened = time.perf_counter()
assert recording.trace_id.startswith(sys.argv[2]) and output, output
print(imported - began, opened - imported)
"""


async def _rewrite(text: str) -> str:
    return f"where is order {text}?"


async def _search(query: str) -> int:
    return len(query)


async def _answer(query: str, found: int) -> str:
    return f"{query} It left on day {found}."


class Made(NamedTuple):
    """What was built."""

    traces: int
    packs: int
    bytes: int
    seconds: float
    ids: tuple[str, ...]
    """Some of the traces, from all hours, each the only one with its first five digits."""


class Agent:
    """An agent of three steps, and the frames of runs that it never made.

    Args:
        mac: the store's digests.
    """

    def __init__(self, mac: Mac) -> None:
        graph: Any = Graph("million.turn", input=str)
        query = graph.add(_rewrite, graph.input, name="rewrite")
        found = graph.add(_search, query, name="search")
        made = graph.build(graph.add(_answer, query, found, name="answer"))
        self.name, self.fingerprint = made.name, made.fingerprint
        self.steps = [spec.step.fingerprint.digest for spec in made.nodes]
        contents = (describe_agent(made), environment.encoded())
        self.shared = {mac("value", content): content for content in contents}

    def frames(self, second: int, rng: random.Random) -> Iterator[Frame]:
        """One trace that began in this unix second: header, a span for each step, root span, end."""
        noise = rng.randbytes(76)
        trace = noise[:5] + second.to_bytes(4, "big") + noise[5:12]
        wall = second * 10**9 + int(rng.random() * 10**9)
        order, day = f"{int(rng.random() * 10**6)}", int(rng.random() * 30)
        query = f"where is order {order}?"
        answer = codec.encode(f"{query} It left on day {day}.")
        outputs = (codec.encode(query), codec.encode(day), answer)
        header = (
            0, 0, self.name, self.fingerprint, *self.shared, wall, noise[12:44], None,
            {"variant": "AB"[noise[0] & 1], "user.tier": noise[1] % 3}, None, codec.encode(order), "run",
        )  # fmt: skip
        yield Frame(0, _HEADER, 0, 1, trace, codec.encode(header))
        at = 0
        for node, output in enumerate(outputs):
            took = int(rng.lognormvariate(18 + node, 0.7))
            span = (node, 0, noise[44 + 8 * node : 52 + 8 * node], at, took, 0, output)
            step = (None, *_NOTHING[1:], self.steps[node], 0, wall + at)
            yield Frame(0, _SPAN, 0, 2 + node, trace, codec.encode((*span, *step)))
            at += took
        root = (_ROOT, 0, noise[68:76], 0, at, 0, None, *_NOTHING, b"", 0, wall)
        yield Frame(0, _SPAN, 0, 5, trace, codec.encode(root))
        yield Frame(0, _END, 0, 6, trace, codec.encode((0, wall + at, at, 6, answer, None, 0)))


def build(folder: Path, *, traces: int = TRACES, hours: int = HOURS, newest: int | None = None, seed: int = 1) -> Made:
    """Make a store.

    Args:
        folder: where; there must be none yet.
        traces: how many.
        hours: into how many packs, one an hour.
        newest: a unix second in the last hour; by default in the one before this.
        seed: of all that is random but the store's own id and key.
    """
    began = time.perf_counter()
    store = open_store(folder, create=True)
    agent, rng = Agent(store.mac), random.Random(seed)
    writer = rng.randbytes(8)
    last = (int(time.time()) if newest is None else newest) // 3600 - (newest is None)
    seen, wanted = bytearray(1 << 4 * PREFIX), list[bytes]()
    size = 0
    for sequence in range(hours):
        hour = last - (hours - 1 - sequence)
        pack = PackWriter(store.id, writer, store.mac)
        for digest, content in agent.shared.items():
            pack.share(digest, content)
        trace = bytes(16)
        count = traces * (sequence + 1) // hours - traces * sequence // hours
        for number in range(count):
            records = list(agent.frames(hour * 3600 + number * 3600 // count, rng))
            pack.add(records)
            trace = records[0].trace
            place = int(trace.hex()[:PREFIX], 16)
            seen[place] = min(seen[place] + 1, 2)
            if number % 97 == sequence % 97:
                wanted.append(trace)
        data = pack.build()
        assert store.objects.put_new(keys.pack(keys.hour_of(trace), writer, sequence), data)
        size += len(data)
    ids = tuple(trace.hex() for trace in wanted if seen[int(trace.hex()[:PREFIX], 16)] == 1)
    return Made(traces, hours, size, time.perf_counter() - began, ids)


def opening(folder: Path, wanted: str) -> tuple[float, float]:
    """(seconds to import runtime, seconds to open a trace after that), in a process of its own.

    Raises:
        CalledProcessError: it cannot be opened.
    """
    command = [sys.executable, "-c", _OPEN, os.fspath(folder), wanted]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    imported, opened = map(float, done.stdout.split())
    return imported, opened


def report(folder: Path, made: Made, where: str) -> str:
    """What opening takes, as a table."""
    rng = random.Random(2)
    rows: list[tuple[str, ...]] = []
    for what, digits in (("by its whole id", 32), (f"by its first {PREFIX} digits", PREFIX)):
        measured = [opening(folder, one[:digits]) for one in rng.sample(made.ids, _OPENINGS)]
        imported = statistics.median(one for one, _ in measured)
        opened = sorted(one for _, one in measured)
        rows.append((what, *(f"{one * 1000:,.1f}" for one in (statistics.median(opened), opened[0], opened[-1], imported))))
    heads = ("opening a trace, milliseconds", "median", "lowest", "highest", "`import runtime` before it")
    return (
        f"Measured {where}.\n"
        f"{made.traces:,} traces of six records in {made.packs} packs of an hour each, {made.bytes / 1e6:,.0f} MB, built in\n"
        f"{made.seconds:,.0f} s by one process. Each of {_OPENINGS} traces is opened in a process of its own, its files in the\n"
        "page cache.\n\n"
        f"{page.table(heads, rows)}"
    )


def main(traces: int = TRACES, hours: int = HOURS) -> None:
    """Build, measure, and write the section."""
    where = page.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        page.write("million", report(folder, build(folder, traces=traces, hours=hours), where))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million", description="Build a store of small traces and keep it."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--traces", type=int, default=TRACES)
    parser.add_argument("--hours", type=int, default=HOURS)
    asked = parser.parse_args()
    done = build(asked.folder, traces=asked.traces, hours=asked.hours)
    print(f"{done.traces:,} traces in {done.packs} packs, {done.bytes:,} bytes, {done.seconds:.1f} s; for instance {done.ids[0]}")
