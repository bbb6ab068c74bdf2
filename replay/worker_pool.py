"""Verifying in worker processes: batches of traces go out, rows come back, and a process that dies loses none of them.

What is sent is MessagePack with its length before it. A worker imports the agent by the name that this process gives it; a
trace names nothing.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from replay.certificate import Entry
from replay.verified import Row, Verdict
from replay.verifier import lost
from storage.errors import StoreError
from storage.objects.s3_settings import S3Settings

_LENGTH: Final = struct.Struct("<I")
_MAX_REPLY: Final = 1 << 30
_MAX_DEATHS: Final = 16
"""So often a trace is tried again by itself, to find the one that a process died of."""

Take = Callable[[bytes, Row | None], None]


class Job(msgspec.Struct, kw_only=True):
    """What a worker does. Objects are given as `module:name`."""

    path: list[str]
    """Where modules are found."""
    place: str
    key: str | None
    key_file: str | None
    spool: str
    s3: S3Settings | None
    backend: str
    agents: list[tuple[str, bytes]]
    """With the fingerprint that each has here."""
    agent: int
    """Which of them replays every trace; -1 where each is replayed by its own."""
    where: str | None
    swap: dict[str, str]
    redact: str


class Told(msgspec.Struct, array_like=True):
    """A row, as it is sent; without a verdict for a trace that was not selected."""

    trace: bytes
    verdict: Verdict | None = None
    agent: str = ""
    version: str = ""
    started: float = 0.0
    recorded: str = ""
    now: str = ""
    address: str = ""
    status: str = ""
    reason: str = ""
    spent_usd: float = 0.0
    entries: int = 0
    """Which of those that were sent."""


class Reply(msgspec.Struct):
    """What a worker says."""

    failed: str = ""
    """Why it does nothing more."""
    unusable: bool = False
    """It failed before it did anything, so that another process may do it."""
    entries: list[list[tuple[str, str, str, str]]] = []
    """New ones, numbered on from those before."""
    rows: list[Told] = []
    done: bool = False


class _Died(Exception):
    """A worker process ended."""


class _Failed(Exception):
    """A worker process cannot do its job."""


class Pool:
    """Worker processes for one verification.

    Args:
        job: what they do.
        batches: the traces of each round trip, in the order in which they are best read.
        take: told each trace with its row, or None where it is not selected.
        can_repeat: whether a trace may be tried again.
    """

    def __init__(self, job: Job, batches: Sequence[Sequence[bytes]], take: Take, *, can_repeat: bool = True) -> None:
        self._job, self._take, self._can_repeat = msgspec.msgpack.encode(job), take, can_repeat
        self.left: deque[tuple[Sequence[bytes], bool]] = deque((batch, False) for batch in batches)
        """Batches that nobody took, and whether each is a trace that a process may have died of."""
        self.notes: list[str] = []
        self._deaths = 0
        self._entries: dict[tuple[Entry, ...], tuple[Entry, ...]] = {}

    async def run(self, workers: int) -> None:
        """Verify every batch. Where the workers cannot do it, what is left stays in `left` and a note says why.

        Raises:
            StoreError: a worker could not read the store.
        """
        async with anyio.create_task_group() as group:
            for _ in range(min(workers, len(self.left))):
                group.start_soon(self._work)

    async def _work(self) -> None:
        while self.left:
            try:
                async with await anyio.open_process(
                    [sys.executable, "-m", "replay.pool_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
                ) as process:
                    await _Worker(self, process, self._job).serve()
                    return
            except _Died:
                continue
            except _Failed as failed:
                if str(failed) not in self.notes:
                    self.notes.append(str(failed))
                return

    def next_batch(self) -> tuple[Sequence[bytes], bool] | None:
        """What to do next."""
        return self.left.popleft() if self.left else None

    def tell(self, trace: bytes, row: Row | None) -> None:
        """Pass on what was told of a trace."""
        self._take(trace, row)

    def shared(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The entries of traces that came out alike, as one object."""
        return self._entries.setdefault(entries, entries)

    def died(self, code: int, traces: Sequence[bytes], *, alone: bool) -> None:
        """A worker ended with these traces untold: each is tried by itself, and the one it dies of again is told as lost."""
        self._deaths += 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if alone or not self._can_repeat or self._deaths > _MAX_DEATHS:
            self.notes.append(f"a worker process {how} at trace {traces[0].hex()}" if alone else f"a worker process {how}")
            for trace in traces:
                self._take(trace, lost(trace, f"worker died: it {how}"))
            return
        self.left.extendleft(([trace], True) for trace in reversed(traces))


class _Worker:
    """One process, from this side."""

    def __init__(self, pool: Pool, process: anyio.abc.Process, job: bytes) -> None:
        self._pool, self._process, self._job = pool, process, job
        assert process.stdout is not None
        self._out = BufferedByteReceiveStream(process.stdout)
        self._entries: list[tuple[Entry, ...]] = []

    async def serve(self) -> None:
        traces: Sequence[bytes] = ()
        alone = False
        try:
            await self._send(self._job)
            await self._receive()
            while (batch := self._pool.next_batch()) is not None:
                traces, alone = batch
                left = dict.fromkeys(traces)
                await self._send(msgspec.msgpack.encode(list(traces)))
                done = False
                while not done:
                    reply = await self._receive()
                    self._entries += [self._pool.shared(tuple(Entry(*one) for one in some)) for some in reply.entries]
                    for told in reply.rows:
                        left.pop(told.trace, None)
                        self._pool.tell(told.trace, self._row(told))
                    traces, done = list(left), reply.done
            assert self._process.stdin is not None
            await self._process.stdin.aclose()
            await self._process.wait()
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            code = await self._process.wait()
            if not traces:
                raise _Failed(f"a worker process ended with code {code} before it began; see standard error") from None
            self._pool.died(code, traces, alone=alone)
            raise _Died from None

    def _row(self, told: Told) -> Row | None:
        if told.verdict is None:
            return None
        return Row(
            told.trace.hex(), told.verdict, told.agent, told.version, told.started, told.recorded, told.now, told.address,
            told.status, told.reason, told.spent_usd, self._entries[told.entries],
        )  # fmt: skip

    async def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(_LENGTH.pack(len(data)) + data)

    async def _receive(self) -> Reply:
        (length,) = _LENGTH.unpack(await self._out.receive_exactly(_LENGTH.size))
        if length > _MAX_REPLY:
            raise StoreError(f"a worker process said something of {length:,} bytes")
        reply = msgspec.msgpack.decode(await self._out.receive_exactly(length), type=Reply)
        if reply.failed:
            if reply.unusable:
                raise _Failed(reply.failed)
            raise StoreError(f"in a worker process: {reply.failed}")
        return reply


def read_message(file: Any) -> bytes | None:
    """What was sent next, on the other side; None where nothing more comes."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    data: bytes = file.read(_LENGTH.unpack(head)[0])
    return data


def write_message(file: Any, data: bytes) -> None:
    """Send something, on the other side."""
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
