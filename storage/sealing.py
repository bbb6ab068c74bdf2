"""Record files that nobody writes any more, as packs (docs/pack.md).

A file that a process still writes is locked by it and left alone. The packs made of it are read back and in the store before it
is removed: at every moment each trace is in the one or the other, or in both, which is the same to a reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Final, NamedTuple

from storage import frames, keys, locks
from storage.disk import OS_DISK, Disk
from storage.errors import StoreError
from storage.ids import NO_TRACE
from storage.packing import NotPacked, Records, pack, put, shared_of
from storage.records import Kind
from storage.store import Store
from storage.turns import taking_turns

QUIET_SECONDS: Final = 2.0
"""A file of another process that was written to more recently is left alone: its process may not hold the lock yet."""

_TURN_RECORDS: Final = 64


class Sealed(NamedTuple):
    """A record file that became packs."""

    file: str
    packs: tuple[str, ...]
    """Their keys: one for each hour that its traces are of, none where the file held no record."""
    traces: int
    bytes_before: int
    bytes_after: int


class Kept(NamedTuple):
    """A record file that stays."""

    file: str
    why: str


class Stays(Exception):
    """Why a file is left as it is.

    Args:
        why: in words.
        damaged: nobody will make a pack of it, now or later.
    """

    def __init__(self, why: str, *, damaged: bool = True) -> None:
        self.damaged = damaged
        super().__init__(why)


def seal(store: Store, *, disk: Disk = OS_DISK, quiet_seconds: float = QUIET_SECONDS) -> tuple[list[Sealed], list[Kept]]:
    """Make packs of the record files that nobody writes any more.

    Args:
        store: whose files.
        disk: the system calls that remove them.
        quiet_seconds: how long a file must not have been written to.

    Raises:
        StoreUnavailable: the store gave no answer; every trace is still where it was.
        StoreError: it refused, or is not to be trusted; as above.
        OSError: the disk refused; as above.
    """
    sealed: list[Sealed] = []
    kept: list[Kept] = []
    for name in waiting(store):
        try:
            sealed.append(seal_file(store, name, disk=disk, quiet_seconds=quiet_seconds))
        except FileNotFoundError:  # another process was faster
            continue
        except Stays as stays:
            kept.append(Kept(name, str(stays)))
    return sealed, kept


def waiting(store: Store) -> list[str]:
    """The record files of this machine, those that are being written among them."""
    try:
        return sorted(name for name in os.listdir(store.log_folder) if keys.parse_log_file(name) is not None)
    except FileNotFoundError:
        return []


def waiting_bytes(store: Store) -> int:
    """The bytes of these."""
    total = 0
    for name in waiting(store):
        with contextlib.suppress(FileNotFoundError):  # sealed meanwhile
            total += os.stat(os.path.join(store.log_folder, name)).st_size
    return total


def seal_file(store: Store, name: str, *, disk: Disk = OS_DISK, quiet_seconds: float = 0.0, held: bool = False) -> Sealed:
    """Make packs of one record file and remove it.

    Args:
        store: whose file.
        name: of the file.
        disk: the system calls that remove it.
        quiet_seconds: how long it must not have been written to.
        held: the caller holds its lock.

    Raises:
        Stays: it is being written, was written to just now, or is damaged; it is as it was.
        FileNotFoundError: it is there no more.
        StoreUnavailable: as `seal`, and so are the others.
    """
    with contextlib.closing(_Locked(store, name, disk, held=held)) as file:
        return file.seal(quiet_seconds)


class _Locked:
    """One record file, held so that nobody else writes or seals it."""

    def __init__(self, store: Store, name: str, disk: Disk, *, held: bool) -> None:
        self._store, self._name, self._disk = store, name, disk
        self._path = os.path.join(store.log_folder, name)
        self._descriptor = locks.hold(lambda: os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
        if held:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise Stays("a process is writing it", damaged=False) from None

    def close(self) -> None:
        """Let it go."""
        locks.let_go(self._descriptor)

    def seal(self, quiet_seconds: float) -> Sealed:
        """Make packs of it and remove it."""
        about = os.fstat(self._descriptor)
        if not about.st_nlink:
            raise FileNotFoundError(self._path)
        # Either way: by a clock that was set back, what is of the future would never be quiet.
        if abs(time.time() - about.st_mtime) < quiet_seconds:
            raise Stays("it was written to just now", damaged=False)
        with open(self._path, "rb") as file:
            data = file.read()
        header, traces, shared = self._take_apart(data)
        named = keys.parse_log_file(self._name)
        assert named is not None
        made: dict[str, tuple[bytes, Records, dict[bytes, bytes]]] = {}
        try:
            for hour, records in by_hour(traces).items():
                values = {digest: shared[digest] for digest in shared_of(records) if digest in shared}
                made[keys.pack(hour, *named)] = pack(self._store, header.writer, records, values), records, values
            self._store.ask()
            for key, (content, records, values) in made.items():
                put(self._store, key, content, records, values)
        except NotPacked as error:
            raise Stays(str(error)) from error
        self._disk.remove(self._path)
        self._disk.sync_folder(self._store.log_folder)
        return Sealed(self._name, tuple(made), len(traces), len(data), sum(len(content) for content, *_ in made.values()))

    def _take_apart(self, data: bytes) -> tuple[frames.FileHeader, Records, dict[bytes, bytes]]:
        try:
            header = frames.unpack_file_header(data) if len(data) >= frames.FILE_HEADER_BYTES else None
        except StoreError as error:  # of a newer version, which makes packs of its own
            raise Stays(str(error)) from None
        if header is None:
            if len(data) < frames.FILE_HEADER_BYTES:  # its process ended as it was begun
                return frames.FileHeader(0, 0, self._store.id, bytes(8), 0), {}, {}
            raise Stays("its header is damaged")
        if header.store_id != self._store.id:
            raise Stays(f"it belongs to store {header.store_id.hex()}")
        traces: Records = {}
        shared: dict[bytes, bytes] = {}
        for one in taking_turns(_TURN_RECORDS, frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES)):
            if isinstance(one, frames.Gap):
                raise Stays(f"it is damaged at offset {one.offset}")
            if one.trace != NO_TRACE:
                traces.setdefault(one.trace, []).append(one)
            elif one.kind == Kind.VALUE:
                shared[one.body[:16]] = one.body[16:]
        return header, traces, shared


def by_hour(traces: Records) -> dict[str, Records]:
    """The traces of each hour."""
    hours: dict[str, Records] = {}
    for trace, records in traces.items():
        hours.setdefault(keys.hour_of(trace), {})[trace] = records
    return hours
