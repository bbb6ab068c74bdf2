"""The thread that makes packs of record files as their writer leaves them.

It holds a file's lock from its writer until its packs are in the store, so that no other process takes it for a dead one's.
A store that gives no answer is asked again and again; the files wait where they are, and a process that ends leaves them to
the next.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, NamedTuple

from storage.disk import OS_DISK, Disk, LogFile
from storage.errors import RecordsLost, StorageError
from storage.sealing import QUIET_SECONDS, Stays, seal_file, waiting, waiting_bytes
from storage.store import Store

RECOVER_SECONDS: Final = 60.0
"""How often files of processes that ended are looked for."""
_WAIT_SECONDS: Final = 1.0
_MAX_WAIT_SECONDS: Final = 60.0
_TELL_SECONDS: Final = 60.0


class Left(NamedTuple):
    """A record file that its writer has left."""

    name: str
    sequence: int
    file: LogFile
    """Open, for its lock."""


class Sealer:
    """Makes packs of the record files of one log, in order, and of files that dead processes left.

    Args:
        store: where the packs go.
        on_trouble: told in words, once a minute at most, when a file could not be sealed.
        disk: the system calls that remove files.
        recover_seconds: how often files of dead processes are looked for, from the start on.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_trouble: Callable[[str], None] | None = None,
        disk: Disk = OS_DISK,
        recover_seconds: float = RECOVER_SECONDS,
    ) -> None:
        self._store, self._on_trouble, self._disk = store, on_trouble, disk
        self._recover_seconds = recover_seconds
        self.on_idle: Callable[[], None] = lambda: None
        """Called by the thread when it has nothing more to do."""
        self._fresh()

    def _fresh(self) -> None:
        self._queue: deque[Left | Future[None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._working = self._refused = False
        self._told_at = float("-inf")
        self._kept: set[str] = set()
        self._kept_numbers: set[int] = set()
        self.unstored: set[int] = set()
        """Sequence numbers of files whose packs are not in the store yet, the one that is being written among them."""

    def start(self) -> None:
        """Start the thread, which looks for files of dead processes first. A process that is ending can start none."""
        with self._changed:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._work, name="kitchenlog-sealer", daemon=True)
                thread.start()
                self._thread = thread

    @property
    def busy(self) -> bool:
        """Whether a file waits or is being sealed."""
        return self._working or bool(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the record files on this machine: those that other processes write or left are on the same disk."""
        return waiting_bytes(self._store)

    def is_behind(self, limit: int) -> bool:
        """Whether more bytes than this wait and the store takes them: time to begin fewer runs.

        Where it takes none, waiting would help nobody.
        """
        return not self._refused and sum(one.file.size for one in tuple(self._queue) if isinstance(one, Left)) > limit

    def add(self, left: Left) -> None:
        """Take over a file."""
        with self._changed:
            self._queue.append(left)
            self._changed.notify_all()

    def barrier(self, future: Future[None]) -> None:
        """Settle a future once every file that was taken over before is in the store; it fails where one cannot be."""
        with self._changed:
            self._queue.append(future)
            self._changed.notify_all()

    def close(self, timeout: float | None = None) -> bool:
        """Try every file that waits once more and end: whether all are in the store. The others are left to the next process."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._work()
        else:
            thread.join(timeout)
            if thread.is_alive():
                self._tell("the store took longer than there was")
                return False
        left = [one for one in self._queue if isinstance(one, Left)]
        for one in left:
            one.file.close()
        return not left and not self.unstored

    def after_fork(self) -> None:
        """Start afresh in a child: the files and the thread are the parent's."""
        for one in self._queue:
            if isinstance(one, Left):
                one.file.close()
        self._fresh()

    # the thread

    def _work(self) -> None:
        wait, recover_at = 0.0, time.monotonic()
        while True:
            if not self._stopping and time.monotonic() >= recover_at:
                self._recover()
                recover_at = time.monotonic() + self._recover_seconds
            done = self._drain()
            wait = 0.0 if done else min(max(_WAIT_SECONDS, 2 * wait), _MAX_WAIT_SECONDS)
            with self._changed:
                if self._stopping and (not self._queue or not done):
                    self._give_up()
                    return
                if done and not self._queue:
                    self._changed.wait(max(0.0, recover_at - time.monotonic()))
                elif not done:
                    self._changed.wait(wait)

    def _drain(self) -> bool:
        """Seal what waits, in order: whether the store took it."""
        while self._queue:
            first = self._queue[0]
            if isinstance(first, Left):
                self._working = True
                try:
                    if not self._seal(first):
                        return False
                finally:
                    self._working = False
            self._queue.popleft()
            if isinstance(first, Future) and first.set_running_or_notify_cancel():
                missing = len(self.unstored & self._kept_numbers)
                if missing:
                    first.set_exception(RecordsLost(f"{missing} record files could not be made packs of"))
                else:
                    first.set_result(None)
        with contextlib.suppress(Exception):
            self.on_idle()
        return True

    def _seal(self, left: Left) -> bool:
        try:
            seal_file(self._store, left.name, disk=self._disk, held=True)
        except Stays as stays:
            self._keep(left.name, str(stays))
            self._kept_numbers.add(left.sequence)
        except (StorageError, OSError) as error:
            self._refused = True
            self._tell(f"{left.name} waits in {self._store.log_folder}: {error}")
            return False
        except Exception as error:
            # A fault of ours: this file must not keep the others from the store.
            self._keep(left.name, f"{type(error).__name__}: {error}")
            self._kept_numbers.add(left.sequence)
        else:
            self._refused = False
            self.unstored.discard(left.sequence)
        left.file.close()
        return True

    def _recover(self) -> None:
        """Seal what dead processes left."""
        try:
            names = waiting(self._store)
        except OSError as error:
            self._tell(f"{self._store.log_folder} cannot be looked through: {error}")
            return
        for name in names:
            if self._stopping or not self._drain():  # what runs wait for comes first
                return
            try:
                seal_file(self._store, name, disk=self._disk, quiet_seconds=QUIET_SECONDS)
            except FileNotFoundError:
                continue
            except Stays as stays:
                if stays.damaged:
                    self._keep(name, str(stays))
            except (StorageError, OSError) as error:
                self._tell(f"{name} waits in {self._store.log_folder}: {error}")
                return
            except Exception as error:
                self._keep(name, f"{type(error).__name__}: {error}")

    def _keep(self, name: str, why: str) -> None:
        if name not in self._kept:
            self._kept.add(name)
            self._told_at = float("-inf")
            self._tell(f"{name} stays in {self._store.log_folder}, where it is read: {why}")

    def _give_up(self) -> None:
        for one in self._queue:
            if isinstance(one, Future) and one.set_running_or_notify_cancel():
                one.set_exception(RecordsLost("the log was closed before the store took its record files; they are on disk"))

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if self._on_trouble is not None and now >= self._told_at + _TELL_SECONDS:
            self._told_at = now
            with contextlib.suppress(Exception):
                self._on_trouble(text)
