"""The side of a log that touches the disk: batches into files, and an exact account of what arrived."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from typing import Any, Final, NamedTuple

from storage import frames, keys
from storage.assembly import Assembler
from storage.digest import Mac
from storage.disk import Disk, LogFile
from storage.records import Kind
from storage.sealer import Left, Sealer
from storage.sink import Sink
from storage.turns import let_others

Entry = tuple[Sink, int, int, tuple[Any, ...], int]
"""(trace, kind, record id, fields, bytes it takes of the queue's limit beyond what every record is counted for)."""

SEAL_BYTES: Final = 8 * 1024 * 1024
SEAL_SECONDS: Final = 60.0
SPOOL_BYTES: Final = 2**30
SYNC_SECONDS: Final = 0.050
_BATCH_BYTES: Final = 1024 * 1024
_END: Final = int(Kind.END)
# A value over the format's limit is to be left out, not lost: it must fit a queue, and records behind it too.
COUNTED_BYTES: Final = 32 * 1024 * 1024
_TURN_RECORDS: Final = 64


class Limits(NamedTuple):
    """When a record file is left for the next."""

    seal_bytes: int = SEAL_BYTES
    """Once it has so many bytes."""
    seal_seconds: float = SEAL_SECONDS
    """Once the first trace that ended in it did so many seconds ago."""
    spool_bytes: int = SPOOL_BYTES
    """Bytes of record files on this machine, of all processes. Past it records are dropped and counted: the disk is the
    application's too."""


class Writer:
    """Writes the records of one process. One thread uses it.

    Args:
        folder: the store's `log` folder.
        store_id: for the header of files.
        mac: the store's digests.
        shared: values that belong to files, by digest.
        disk: the system calls.
        limits: when a file is left.
        sealer: who takes it over then; without one it stays where it is.
    """

    def __init__(
        self,
        folder: str,
        store_id: bytes,
        mac: Mac,
        shared: dict[bytes, bytes],
        disk: Disk,
        limits: Limits,
        sealer: Sealer | None,
    ) -> None:
        self.id = os.urandom(8)
        self.taken = self.stored = self.lost = 0
        self.large = 0
        """Bytes of large values that were taken off the queue since this was last asked."""
        self.failure: BaseException | None = None
        """Why something was lost since this was last asked."""
        self._folder, self._store_id, self._disk = folder, store_id, disk
        self._limits, self._sealer = limits, sealer
        self._finished: float | None = None
        self._assembler = Assembler(mac, shared)
        self._file: LogFile | None = None
        self._sequence = 0
        self._unsynced: list[tuple[Sink, int]] = []
        self._since = 0.0

    def due(self) -> float | None:
        """Seconds until something must be done: what was written be synced, or the file be left. None where nothing must."""
        times = [self._since + SYNC_SECONDS] if self._unsynced else []
        if self._finished is not None and self._sealer is not None:
            times.append(self._finished + self._limits.seal_seconds)
        return min(times) - time.monotonic() if times else None

    def tend(self) -> None:
        """Do what is due. Never raises."""
        now = time.monotonic()
        if self._unsynced and now >= self._since + SYNC_SECONDS:
            self.sync()
        if self._finished is not None and self._sealer is not None and now >= self._finished + self._limits.seal_seconds:
            self.leave()

    def leave(self) -> None:
        """Sync the file and leave it, for the next to be begun when there is something to write. Never raises."""
        self.sync()
        self.close()

    def batch(self, queue: deque[Entry], limit: int) -> int:
        """Write up to `limit` records as one batch and say how many were taken. Never raises."""
        ready = self._ready()
        assembler = self._assembler
        out: list[bytes] = []
        marks: list[tuple[Sink, int]] = []
        taken = 0
        assembler.size = 0
        file = self._sequence
        while taken < limit and assembler.size < _BATCH_BYTES:
            try:
                sink, kind, record, fields, large = queue.popleft()
            except IndexError:  # closing took the rest away
                break
            taken += 1
            self.taken += 1
            self.large += large
            count = self._assemble(out, sink, kind, record, fields) if ready else None
            if count is None:
                self._lose([(sink, 0)])
                continue
            sink.written += count
            marks.append((sink, count))
            if sink.last_file != file:
                sink.first_file = sink.first_file or file
                sink.last_file = file
            if kind == _END and self._finished is None:
                self._finished = time.monotonic()
            if not taken % _TURN_RECORDS:
                let_others()
        if out:
            self._put(b"".join(out), marks)
        return taken or limit  # an empty queue has nothing more to give

    def _assemble(self, out: list[bytes], sink: Sink, kind: int, record: int, fields: tuple[Any, ...]) -> int | None:
        before = len(out)
        try:
            if sink.writer != self.id:
                # A run that was going when the process forked: its parent goes on numbering the same records.
                raise RuntimeError("the trace was begun before this process was forked")
            return self._assembler.add(out, sink, kind, record, fields)
        except Exception as error:
            self.failure = error
            del out[before:]
            return None

    def _ready(self) -> bool:
        """Whether there is a file to write to."""
        if self._file is not None and self._file.size >= self._limits.seal_bytes:
            self.leave()
        if self._file is not None:
            return True
        self._assembler.begin_file()
        try:
            if self._sealer is not None and (waits := self._sealer.waiting_bytes) > self._limits.spool_bytes:
                room = self._limits.spool_bytes
                raise OSError(errno.ENOSPC, f"{waits:,} bytes of record files wait for their store, and spool_bytes is {room:,}")
            header = frames.pack_file_header(self._store_id, self.id)
            self._file = LogFile(self._disk, self._folder, keys.log_file(self.id, self._sequence), header)
        except Exception as error:
            self.failure = error
            return False
        # Counted from 1: in a trace, 0 is no file.
        self._sequence += 1
        if self._sealer is not None:
            self._sealer.unstored.add(self._sequence)
        return True

    def _put(self, data: bytes, marks: list[tuple[Sink, int]]) -> None:
        try:
            if self._file is None:
                raise FileNotFoundError("there is no record file")
            self._file.write(data)
        except Exception as error:
            self.failure = error
            self._lose(marks)
            self.sync()  # what went before may still arrive
            self.close()
            return
        if not self._unsynced:
            self._since = time.monotonic()
        self._unsynced += marks

    def sync(self) -> None:
        """Make what was written durable, or count it as lost. Never raises."""
        marks, self._unsynced = self._unsynced, []
        if self._file is None or not marks:
            return
        try:
            self._file.sync()
        except Exception as error:
            self.failure = error
            self._lose(marks)
            self.close()
            return
        self.stored += len(marks)

    def _lose(self, marks: list[tuple[Sink, int]]) -> None:
        self.lost += len(marks)
        why = f"{type(self.failure).__name__}: {self.failure}"
        for sink, count in marks:
            sink.lose(why)
            sink.written -= count
            sink.forget()

    def close(self) -> None:
        """Leave the file as it is."""
        file, self._file, self._finished = self._file, None, None
        if file is None:
            return
        if self._sealer is None:
            file.close()
        else:
            self._sealer.add(Left(keys.log_file(self.id, self._sequence - 1), self._sequence, file))

    def forsake(self) -> None:
        """After a fork: leave the parent's file to the parent."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):
                file.close()
