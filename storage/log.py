"""The log of a process: records go in without waiting, one thread writes them (docs/format.md, section 4)."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final

from storage.assembly import INLINE_BYTES, REF_AT
from storage.disk import OS_DISK, Disk
from storage.errors import RecordsLost
from storage.records import LATE
from storage.sealer import Sealer
from storage.sink import Sink
from storage.store import Store
from storage.writer import COUNTED_BYTES, Entry, Limits, Writer

__all__ = ("Log", "Sink")

_RECORD_SHIFT: Final = 10
"""Every queued record is counted for 1 KB, and a value of its own for its length on top."""
QUEUE_BYTES: Final = 64 * 1024 * 1024
_GATHER_SECONDS: Final = 0.005
_REPORT_SECONDS: Final = 1.0
_OVERFLOW: Final = "more was recorded than the disk took"
_CLOSED: Final = "the log was closed"


class Log:
    """Appends records to files of its own. Every method may be called from any thread.

    Args:
        store: where the files are.
        queue_bytes: what may wait for the disk; past it records are dropped and counted.
        on_loss: told in words, at most once a second and from the log's thread, when records were lost.
        disk: the system calls.
        limits: when a record file is left for the next.
        sealer: who makes packs of the files that are left. It is started and closed with the log.
    """

    def __init__(
        self,
        store: Store,
        *,
        queue_bytes: int = QUEUE_BYTES,
        on_loss: Callable[[str], None] | None = None,
        disk: Disk = OS_DISK,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        sealer: Sealer | None = None,
    ) -> None:
        self._store, self._queue_bytes, self._on_loss, self._disk = store, queue_bytes, on_loss, disk
        self._limits, self._sealer = limits, sealer
        if sealer is not None:
            sealer.on_idle = self._sealed
        self._digests: dict[Hashable, bytes] = {}
        self._shared: dict[bytes, bytes] = {}
        self._start()
        _open.add(self)

    def _start(self) -> None:
        # Re-entrant: a finalizer may append while its thread is inside.
        self._lock = threading.RLock()
        self._queue: deque[Entry] = deque()
        self._barriers: deque[Future[None]] = deque()
        self._wanted: deque[Future[None]] = deque()
        self._limit = self._queue_bytes
        self._large = self._refused = self._told = 0
        self._overflowed = False
        self._last: BaseException | None = None
        self._told_at = float("-inf")
        self._idle = True
        self._hurry = self._stopping = self._closed = False
        self._thread: threading.Thread | None = None
        # A semaphore of one: held means nobody called. Releasing it is the cheapest way to wake a thread.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._writer = Writer(
            self._store.log_folder, self._store.id, self._store.mac, self._shared, self._disk, self._limits, self._sealer
        )

    # the request path

    def begin(self, trace_id: bytes, *, late: bool = False) -> Sink:
        """Begin a trace, or, `late`, add to one that has ended (feedback, a score)."""
        # Late ids begin at random: nothing else keeps apart those that two processes give.
        first = LATE | 1 << 30 | int.from_bytes(os.urandom(4)) >> 2 & ~0xFF | 1 if late else 1
        return Sink(trace_id, self._writer.id, first)

    def append(self, sink: Sink, kind: int, record_id: int, fields: tuple[Any, ...]) -> None:
        """Hand over a record. Never raises and never waits.

        Args:
            sink: its trace.
            kind: see `storage.records.Kind`.
            record_id: from `sink.next_id`.
            fields: its body; the one reference is None, encoded bytes, or (trace id, digest).
        """
        try:
            queue = self._queue
            value = fields[REF_AT[kind]]
            if value is not None and (large := len(value)) >= INLINE_BYTES:
                large = min(large, COUNTED_BYTES)
                with self._lock:
                    if (len(queue) << _RECORD_SHIFT) + self._large + large > self._limit:
                        self._refuse(sink)
                        return
                    self._large += large
            else:
                large = 0
                if (len(queue) << _RECORD_SHIFT) + self._large > self._limit:
                    self._refuse(sink)
                    return
            queue.append((sink, kind, record_id, fields, large))
        except Exception as error:
            self._refuse(sink, f"{type(error).__name__}: {error}")
            return
        if self._idle:
            self._rouse()

    @property
    def crowded(self) -> bool:
        """Whether more than half of what may wait for the disk or the store does: time to begin fewer runs."""
        if (len(self._queue) << _RECORD_SHIFT) + self._large > self._limit >> 1:
            return True
        return self._sealer is not None and self._sealer.is_behind(self._limits.spool_bytes >> 1)

    def _refuse(self, sink: Sink, why: str = "") -> None:
        with self._lock:
            self._refused += 1
            self._overflowed = True
            sink.lose(why or (_CLOSED if self._closed else _OVERFLOW))

    def _rouse(self) -> None:
        self._idle = False
        try:
            if self._thread is None:
                self._begin_thread()
            self._wake.release()
        except RuntimeError:
            # Released already; or no thread can be started, and the next record tries again.
            self._idle = self._thread is None

    def _begin_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                if self._sealer is not None:
                    self._sealer.start()
                thread = threading.Thread(target=self._work, name="kitchenlog", daemon=True)
                thread.start()
                self._thread = thread

    def shared(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The digest of a value that many traces share; it is stored once in each file that needs it.

        Args:
            key: names the value in this process.
            make: its stored bytes, asked for once.
        """
        known = self._digests.get(key)
        if known is not None:
            return known
        data = make()
        digest = self._store.mac("value", data)
        with self._lock:
            self._shared[digest] = data
            return self._digests.setdefault(key, digest)

    # waiting for the disk

    def barrier(self) -> Future[None]:
        """A future that is done once everything appended before is on disk.

        It fails with `RecordsLost` where records were lost since a barrier was last told.
        """
        future: Future[None] = Future()
        with self._lock:
            if not self._closed:
                self._barriers.append(future)
                self._hurry = True
                self._rouse()
                return future
        self._resolve([future])
        return future

    def stored_barrier(self) -> Future[None]:
        """A future that is done once everything appended before is in packs in the store. All that wait share one write to it.

        It fails with `RecordsLost` where it cannot be.
        """
        future: Future[None] = Future()
        with self._lock:
            if not self._closed and self._sealer is not None:
                self._wanted.append(future)
                self._hurry = True
                self._rouse()
                return future
        future.set_exception(RecordsLost(f"nothing is stored: {_CLOSED if self._closed else 'this log makes no packs'}"))
        return future

    def is_stored(self, sink: Sink) -> bool:
        """Whether all records of a trace that has ended are in packs in the store."""
        if self._sealer is None or not sink.ended or not sink.last_file or sink.writer != self._writer.id:
            return False
        return self._sealer.unstored.isdisjoint(range(sink.first_file, sink.last_file + 1))

    def _sealed(self) -> None:
        if self._wanted:
            with self._lock:
                self._rouse()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything appended before is on disk: whether it is."""
        future = self.barrier()
        try:
            return future.exception(timeout) is None
        except TimeoutError:
            return False

    def close(self, timeout: float | None = None) -> bool:
        """Write what is queued, make packs of it and end: whether that was done in time. Later records are dropped."""
        ends = None if timeout is None else time.monotonic() + timeout
        written = self._end(timeout)
        if self._sealer is None:
            return written
        return self._sealer.close(None if ends is None else max(0.0, ends - time.monotonic())) and written

    def _end(self, timeout: float | None) -> bool:
        with self._lock:
            self._closed = True
            self._limit = -1
            thread = self._thread
        _open.discard(self)
        self._stopping = True
        if thread is None:
            self._work()
            return True
        self._rouse()
        thread.join(timeout)
        if thread.is_alive():
            return False
        for sink, *_ in tuple(self._queue):  # from a thread that was inside `append` as this one closed
            self._queue.popleft()
            self._refuse(sink)
        return True

    # accounting

    @property
    def sent(self) -> int:
        """Records appended."""
        return self._writer.taken + len(self._queue) + self._refused

    @property
    def stored(self) -> int:
        """Records known to be on disk."""
        return self._writer.stored

    @property
    def dropped(self) -> int:
        """Records lost: refused by a full queue, or failed by the disk."""
        return self._writer.lost + self._refused

    # the writer's thread

    def _work(self) -> None:
        while True:
            try:
                if self._turn():
                    return
            except Exception as error:
                self._writer.failure = error

    def _turn(self) -> bool:
        """Write what is there, once; whether the log has ended."""
        writer, queue = self._writer, self._queue
        if not (queue or self._barriers or self._stopping or self._may_leave):
            self._sleep()
        if queue and not (self._hurry or self._stopping):
            self._wake.acquire(timeout=_GATHER_SECONDS)
        self._hurry = False
        stopping = self._stopping
        waiting = [self._barriers.popleft() for _ in range(len(self._barriers))]
        wanted = [self._wanted.popleft() for _ in range(len(self._wanted))] if self._may_leave or stopping else []
        try:
            left = len(queue)
            while left > 0:
                left -= writer.batch(queue, left)
                self._give_back()
                writer.tend()
            if waiting or stopping:
                writer.sync()
            writer.tend()
            if wanted and self._sealer is not None:
                writer.leave()
                for future in wanted:
                    self._sealer.barrier(future)
        finally:
            self._last = writer.failure or self._last
            self._resolve(waiting)
        self._report(at_once=stopping)
        if not stopping or queue or self._barriers:
            return False
        writer.close()
        return True

    def _sleep(self) -> None:
        self._idle = True
        # Looked at again, now that appending wakes: what came in between must not wait.
        if not (self._queue or self._barriers or self._stopping or self._may_leave):
            waits = [] if (due := self._writer.due()) is None else [due]
            if self._on_loss is not None and self.dropped > self._told:
                waits.append(self._told_at + _REPORT_SECONDS - time.monotonic())
            self._wake.acquire(timeout=max(0.0, min(waits)) if waits else -1)
        self._idle = False

    @property
    def _may_leave(self) -> bool:
        """Whether runs wait for the store, and it is free: while it is not, more of them gather for the next write to it."""
        return bool(self._wanted) and self._sealer is not None and not self._sealer.busy

    def _give_back(self) -> None:
        with self._lock:
            self._large -= self._writer.large
        self._writer.large = 0

    def _resolve(self, waiting: list[Future[None]]) -> None:
        if not waiting:
            return
        failure, self._writer.failure = self._writer.failure, None
        overflowed, self._overflowed = self._overflowed, False
        reason: RecordsLost | None = None
        if failure is not None:
            reason = RecordsLost(f"records were lost: {type(failure).__name__}: {failure}")
            reason.__cause__ = failure
        elif overflowed:
            reason = RecordsLost(f"records were dropped: {_OVERFLOW}")
        for future in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            if reason is None:
                future.set_result(None)
            else:
                future.set_exception(reason)

    def _report(self, *, at_once: bool) -> None:
        dropped, now = self.dropped, time.monotonic()
        if self._on_loss is None or dropped == self._told:
            return
        if not at_once and now < self._told_at + _REPORT_SECONDS:
            return
        new, self._told, self._told_at = dropped - self._told, dropped, now
        failure, self._last = self._last, None
        why = _OVERFLOW if failure is None else f"{type(failure).__name__}: {failure}"
        with contextlib.suppress(Exception):
            self._on_loss(f"{new:,} records were not stored in {self._store.log_folder}: {why}")

    # processes

    def after_fork(self) -> None:
        """Start afresh in a child: the queue, the file and the thread are the parent's."""
        closed = self._closed
        self._writer.forsake()
        if self._sealer is not None:
            self._sealer.after_fork()
        self._start()
        if closed:
            self._closed = self._stopping = True
            self._limit = -1


_open: Final[set[Log]] = set()


def _after_fork() -> None:
    for log in tuple(_open):
        log.after_fork()


def _at_exit() -> None:
    for log in tuple(_open):
        log.close(timeout=30.0)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
