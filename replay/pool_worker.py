"""A worker process of a verification: `python -m replay.pool_worker`, batches on standard input, rows on standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
import msgspec

from replay import spelling
from replay.certificate import Entry
from replay.seccomp import refuse_network_and_processes
from replay.verified import Row
from replay.verifier import Request, Verifier
from replay.worker_pool import Job, Reply, Told, read_message, write_message
from runtime.errors import KitchenlogError, RuntimeMisuse
from storage.errors import StorageError
from storage.objects.locate import is_remote
from storage.opening import Settings, open_store

_TELL_SECONDS: Final = 0.2
_TELL_ROWS: Final = 128
"""Rows are told in so many, or after so long: what is not told when the process dies is done again."""


class _Server:
    """Does the batches of one job."""

    def __init__(self, verifier: Verifier, out: Any) -> None:
        self._verifier, self._out = verifier, out
        self._entries: dict[int, int] = {}
        self._kept: list[tuple[Entry, ...]] = []
        self._reply = Reply()
        self._told = time.monotonic()

    async def serve(self, incoming: Any) -> None:
        """Answer until nothing more comes."""
        self._send(done=True)
        while (data := await anyio.to_thread.run_sync(read_message, incoming)) is not None:
            traces: Sequence[bytes] = msgspec.msgpack.decode(data, type=list[bytes])
            async for trace, row in self._verifier.rows(traces):
                self._reply.rows.append(Told(trace) if row is None else self._tell(trace, row))
                if len(self._reply.rows) >= _TELL_ROWS or time.monotonic() - self._told > _TELL_SECONDS:
                    self._send(done=False)
            self._send(done=True)

    def fail(self, error: Exception) -> None:
        """Say why nothing more is done."""
        self._reply.failed = str(error)
        self._send(done=True)

    def _tell(self, trace: bytes, row: Row) -> Told:
        number = self._entries.get(id(row.entries))
        if number is None:
            number = self._entries[id(row.entries)] = len(self._kept)
            self._kept.append(row.entries)  # as long as it is kept, its id is its own
            self._reply.entries.append([attrs.astuple(entry) for entry in row.entries])
        return Told(
            trace, row.verdict, row.agent, row.version, row.started, row.recorded, row.now, row.address, row.status, row.reason,
            row.spent_usd, number,
        )  # fmt: skip

    def _send(self, *, done: bool) -> None:
        self._reply.done = done
        write_message(self._out, msgspec.msgpack.encode(self._reply))
        self._reply, self._told = Reply(), time.monotonic()


def _request(job: Job) -> Request:
    agents: list[Any] = []
    for name, fingerprint in job.agents:
        agent = spelling.find(name)
        if agent.fingerprint != fingerprint:
            raise RuntimeMisuse(f"{name} is another agent when it is imported in a process of its own")
        agents.append(agent)
    return Request(
        agents={(one.name, one.fingerprint): one for one in agents}, agent=agents[job.agent] if job.agent >= 0 else None,
        where=job.where, swap={address: spelling.find(name) for address, name in job.swap.items()} or None,
        redact=spelling.find(job.redact),
    )  # fmt: skip


def main() -> None:
    """Read a job, then batches, and tell what came of them."""
    incoming = sys.stdin.buffer
    # What steps print goes to standard error: standard output is the rows'.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.msgpack.decode(read_message(incoming) or b"", type=Job)
    sys.path[:] = job.path
    try:
        request = _request(job)
        settings = Settings(s3=job.s3, key=job.key, key_file=job.key_file, spool=job.spool)
        store = open_store(job.place, create=False, settings=settings)
        server = _Server(Verifier(store, request), out)
        if not is_remote(job.place):  # a bucket is read by the very calls that the filter refuses
            with contextlib.suppress(RuntimeMisuse):  # this system has none: steps are guarded in Python as everywhere
                refuse_network_and_processes()
    except (KitchenlogError, StorageError) as error:
        write_message(out, msgspec.msgpack.encode(Reply(failed=str(error), unusable=True)))
        return
    with store.snapshot():
        try:
            anyio.run(server.serve, incoming, backend=job.backend)
        except (KitchenlogError, StorageError) as error:
            server.fail(error)


if __name__ == "__main__":
    main()
