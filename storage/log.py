"""The log: a bounded queue to one writer thread that appends checksummed records to a file.

The request path does one thing, `append`: a deque's append, and a wake-up only where the writer is idle. Encoding of
bodies, digests, sharing of values, checksums, writing and syncing are the thread's. Nothing here raises into a run: what
cannot be written is counted, and a trace that lost records says so.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage import codec, frames, ids
from storage.disk import Disk, OsDisk
from storage.records import INLINE_BYTES, REF_FIELD, Kind

if TYPE_CHECKING:
    from storage.store import LocalStore

FILE_BYTES: Final = 8 * 1024 * 1024
GATHER_SECONDS: Final = 0.005
SYNC_SECONDS: Final = 0.050
_RECORD_COST: Final = 300
"""Bytes that a queued record is taken to hold besides its value."""

_encoder = msgspec.msgpack.Encoder()


class Sink:
    """One trace that is being written."""

    __slots__ = ("_values", "_written", "lost", "next_id", "personal", "trace_id")

    def __init__(self, trace_id: bytes) -> None:
        self.trace_id = trace_id
        self.next_id: Callable[[], int] = itertools.count(1).__next__
        self.lost = 0
        """Records of this trace that could not be kept."""
        self.personal = False
        """Whether its values belong to its subject."""
        self._values: dict[bytes, int] = {}
        self._written = 0


class Log:
    """Appends records to files of its own in a store's `log` folder.

    Args:
        store: where, and whose key digests are made with.
        queue_bytes: how much may wait; what comes when the queue is full is dropped and counted.
        on_loss: told in words, at most once a second, that records were lost.
        disk: how the disk is reached.
    """

    def __init__(
        self,
        store: LocalStore,
        *,
        queue_bytes: int = 64 * 1024 * 1024,
        on_loss: Callable[[str], None] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._store, self._limit, self._on_loss = store, queue_bytes, on_loss
        self._disk: Disk = disk if disk is not None else OsDisk()
        self.sent = self.stored = self.dropped = 0
        self._shared: dict[Hashable, bytes] = {}
        self._shared_values: dict[bytes, bytes] = {}
        self._start_afresh()
        _logs.add(self)
        atexit.register(self.close, 10.0)

    def _start_afresh(self) -> None:
        self._queue: deque[tuple[Sink, int, int, tuple[Any, ...]] | Future[None]] = deque()
        self._queued = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = False
        self._hurry = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._writer = os.urandom(8)
        self._seq = 0
        self._descriptor: int | None = None
        self._size = 0
        self._unsynced: list[tuple[Sink, int]] = []
        self._synced_at = 0.0
        self._told_at = 0.0
        self._shared_here: set[bytes] = set()

    # the request path

    def begin(self, trace_id: bytes) -> Sink:
        """A new trace."""
        return Sink(trace_id)

    def append(self, sink: Sink, kind: int, record_id: int, fields: tuple[Any, ...]) -> None:
        """Hand a record over. Never raises, never waits."""
        self.sent += 1
        data = fields[REF_FIELD[kind]]
        size = _RECORD_COST + (len(data) if type(data) is bytes else 0)
        if self._queued + size > self._limit or self._closing:
            self._drop(sink, 1, "the queue is full" if not self._closing else "the log is closed")
            return
        self._queued += size
        self._queue.append((sink, kind, record_id, fields))
        if self._idle:
            self._wake.set()
        elif self._thread is None:
            self._start()

    def shared(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The digest of a value that files share, made once for each key."""
        found = self._shared.get(key)
        if found is None:
            data = make()
            found = self._store.mac("value", data)
            self._shared_values[found] = data
            self._shared[key] = found
        return found

    def barrier(self) -> Future[None]:
        """Done when everything handed over before is on disk; fails where some of it is lost."""
        future: Future[None] = Future()
        if self._closing:
            future.set_result(None)
            return future
        self._queue.append(future)
        self._hurry = True
        self._wake.set()
        if self._thread is None:
            self._start()
        return future

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed over before is on disk: whether it is."""
        if self._thread is None and not self._queue:
            return True
        try:
            self.barrier().result(timeout)
        except Exception:
            return False
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, sync, and stop."""
        if self._closing:
            return
        self.flush(timeout)
        self._closing = True
        thread = self._thread
        if thread is not None:
            self._wake.set()
            thread.join(timeout)
        atexit.unregister(self.close)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="kitchenlog-log", daemon=True)
                self._thread.start()

    def _drop(self, sink: Sink, count: int, reason: str) -> None:
        sink.lost += count
        self.dropped += count
        now = time.monotonic()
        if self._on_loss is not None and now - self._told_at > 1.0:
            self._told_at = now
            self._on_loss(f"records are being lost: {reason}; {self.dropped} so far in {self._store.path}")

    # the writer thread

    def _work(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    break
                self._wait_for_work()
            if not self._hurry and not self._closing:
                self._wake.clear()
                self._wake.wait(GATHER_SECONDS)
            self._hurry = False
            try:
                self._batch()
            except Exception as error:  # the thread must outlive whatever a record does to it
                self._fail([], error)
        self._sync()
        if self._descriptor is not None:
            self._disk.close(self._descriptor)
            self._descriptor = None

    def _wait_for_work(self) -> None:
        self._wake.clear()
        self._idle = True
        try:
            if self._queue or self._closing:
                return
            if self._unsynced:
                remaining = self._synced_at + SYNC_SECONDS - time.monotonic()
                if remaining > 0 and self._wake.wait(remaining):
                    return
                self._sync()
            self._wake.wait()
        finally:
            self._idle = False

    def _batch(self) -> None:
        parts: list[bytes] = []
        written: list[tuple[Sink, int]] = []
        size = 0
        waiting: list[Future[None]] = []
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, Future):
                waiting.append(item)
                continue
            sink, kind, record, fields = item
            data = fields[REF_FIELD[kind]]
            self._queued -= _RECORD_COST + (len(data) if type(data) is bytes else 0)
            try:
                packed = self._pack(sink, kind, record, fields)
            except Exception as error:
                self._drop(sink, 1, f"a record could not be encoded: {error}")
                continue
            parts += packed
            size += sum(map(len, packed))
            written.append((sink, 1))
            if self._size + size > FILE_BYTES and kind == Kind.END:
                self._write(parts, written)
                parts, written, size = [], [], 0
                self._rotate()
        self._write(parts, written)
        if waiting or time.monotonic() - self._synced_at >= SYNC_SECONDS:
            error = self._sync()
            lost = error or next((self._lost_reason for _ in waiting if self._lost_reason), None)
            for future in waiting:
                if lost is None:
                    future.set_result(None)
                else:
                    future.set_exception(OSError(str(lost)))
            if waiting:
                self._lost_reason = None

    _lost_reason: Exception | None = None

    def _pack(self, sink: Sink, kind: int, record: int, fields: tuple[Any, ...]) -> list[bytes]:
        flags = frames.PERSONAL if sink.personal else 0
        parts: list[bytes] = []
        place = REF_FIELD[kind]
        data = fields[place]
        if type(data) is bytes and len(data) >= INLINE_BYTES:
            digest = self._store.mac("value", data)
            known = sink._values.get(digest)
            if known is None:
                known = sink.next_id()
                sink._values[digest] = known
                sink._written += 1
                if len(data) > codec.MAX_VALUE_BYTES:
                    body, left = digest + len(data).to_bytes(8, "little"), frames.LEFT_OUT
                else:
                    body, left = digest + data, 0
                parts.append(frames.pack(Kind.VALUE, flags | left, known, sink.trace_id, body))
            fields = (*fields[:place], known, *fields[place + 1 :])
        sink._written += 1
        if kind == Kind.HEADER:
            for digest in (fields[4], fields[5]):
                if digest not in self._shared_here:
                    self._shared_here.add(digest)
                    number = len(self._shared_here)
                    parts.append(frames.pack(Kind.VALUE, 0, number, ids.NO_TRACE, digest + self._shared_values[digest]))
        elif kind == Kind.END:
            fields = (*fields[:3], sink._written, *fields[4:6], sink.lost)
        parts.append(frames.pack(kind, flags, record, sink.trace_id, _encoder.encode(fields)))
        return parts

    def _write(self, parts: list[bytes], written: list[tuple[Sink, int]]) -> None:
        if not parts:
            return
        data = b"".join(parts)
        try:
            if self._descriptor is None:
                self._open()
            assert self._descriptor is not None
            view = memoryview(data)
            while view:
                view = view[self._disk.write(self._descriptor, bytes(view)) :]
        except OSError as error:
            self._fail(written, error)
            return
        self._size += len(data)
        self._unsynced += written

    def _open(self) -> None:
        self._seq += 1
        folder = self._store.path / "log"
        path = str(folder / f"{self._writer.hex()}-{self._seq:06d}.log")
        self._descriptor = self._disk.create(path)
        self._size = frames.FILE_HEADER.size
        header = frames.file_header(self._store.id, self._writer, time.time_ns())
        if self._disk.write(self._descriptor, header) != len(header):
            raise OSError("the header of a new log file was not written whole")
        self._disk.sync_folder(str(folder))

    def _rotate(self) -> None:
        self._sync()
        if self._descriptor is not None:
            self._disk.close(self._descriptor)
            self._descriptor = None
        self._shared_here.clear()

    def _sync(self) -> OSError | None:
        self._synced_at = time.monotonic()
        if not self._unsynced or self._descriptor is None:
            return None
        try:
            self._disk.sync(self._descriptor)
        except OSError as error:
            self._fail([], error)
            return error
        self.stored += sum(count for _, count in self._unsynced)
        self._unsynced.clear()
        return None

    def _fail(self, written: list[tuple[Sink, int]], error: Exception) -> None:
        """Give the file up: after a failed write or sync nobody knows what of it is on disk."""
        lost = [*self._unsynced, *written]
        self._unsynced = []
        self._lost_reason = error
        for sink, count in lost:
            self._drop(sink, count, str(error))
            # what was written of the trace so far is in another file: values must be written again
            sink._values.clear()
        if self._descriptor is not None:
            try:
                self._disk.close(self._descriptor)
            except OSError:
                pass
            self._descriptor = None
        self._shared_here.clear()


_logs: weakref.WeakSet[Log] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has none of the parent's threads, and must not write the parent's records a second time.
    for log in list(_logs):
        log._start_afresh()
        log.sent = log.stored = log.dropped = 0


os.register_at_fork(after_in_child=_after_fork)
