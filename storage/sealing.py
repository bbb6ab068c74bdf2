"""Record files of processes that have ended, as packs (docs/pack.md).

A file that a process still writes is locked by it and left alone. A pack is complete and read back before its record file is
removed: at every moment each trace is in the one or the other, or in both, which is the same to a reader.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from storage import frames
from storage.disk import OS_DISK, Disk, LogFile
from storage.errors import CorruptRecord, StorageError
from storage.ids import NO_TRACE
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.packs import SUFFIX, read_file
from storage.records import Kind
from storage.store import LocalStore

QUIET_SECONDS: Final = 2.0
"""A file that was written to more recently is left alone: its process may not hold the lock yet."""
_LOG: Final = re.compile(r"[0-9a-f]{16}-\d{6,}\.log\Z")


class Sealed(NamedTuple):
    """A record file that became a pack."""

    file: str
    pack: str
    """Its key, relative to the store; empty where the file held no record."""
    traces: int
    bytes_before: int
    bytes_after: int


class Kept(NamedTuple):
    """A record file that stays."""

    file: str
    why: str


class _Stays(Exception):
    """Why a file is left as it is."""


def seal(store: LocalStore, *, disk: Disk = OS_DISK, quiet_seconds: float = QUIET_SECONDS) -> tuple[list[Sealed], list[Kept]]:
    """Make packs of the record files that nobody writes any more.

    Args:
        store: whose files.
        disk: the system calls that write.
        quiet_seconds: how long a file must not have been written to.

    Raises:
        OSError: the disk refused; every trace is still where it was.
    """
    sealed: list[Sealed] = []
    kept: list[Kept] = []
    for name in sorted(os.listdir(store.log_folder)):
        if not _LOG.match(name):
            continue
        try:
            with contextlib.closing(_Locked(store, name, disk)) as file:
                sealed.append(file.seal(quiet_seconds))
        except FileNotFoundError:  # another process was faster
            continue
        except _Stays as stays:
            kept.append(Kept(name, str(stays)))
    return sealed, kept


class _Locked:
    """One record file, held so that nobody else writes or seals it."""

    def __init__(self, store: LocalStore, name: str, disk: Disk) -> None:
        self._store, self._name, self._disk = store, name, disk
        self._path = os.path.join(store.log_folder, name)
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise _Stays("a process is writing it") from None

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def seal(self, quiet_seconds: float) -> Sealed:
        """Make a pack of it and remove it."""
        about = os.fstat(self._descriptor)
        if not about.st_nlink:
            raise FileNotFoundError(self._path)
        if time.time() - about.st_mtime < quiet_seconds:
            raise _Stays("it was written to just now")
        with open(self._path, "rb") as file:
            data = file.read()
        header, traces, shared = self._take_apart(data)
        if not traces:
            self._remove()
            return Sealed(self._name, "", 0, len(data), 0)
        pack = self._pack(header, traces, shared)
        hour = dt.datetime.fromtimestamp(header.created / 1e9, tz=dt.UTC).strftime("%Y%m%dT%H")
        key = f"hot/{hour}/{self._name.removesuffix('.log')}{SUFFIX}"
        self._put(key, pack, traces, shared)
        self._remove()
        return Sealed(self._name, key, len(traces), len(data), len(pack))

    def _take_apart(self, data: bytes) -> tuple[frames.FileHeader, dict[bytes, list[frames.Frame]], dict[bytes, bytes]]:
        header = frames.unpack_file_header(data) if len(data) >= frames.FILE_HEADER_BYTES else None
        if header is None:
            raise _Stays("its header is damaged")
        if header.store_id != self._store.id:
            raise _Stays(f"it belongs to store {header.store_id.hex()}")
        traces: dict[bytes, list[frames.Frame]] = {}
        shared: dict[bytes, bytes] = {}
        for one in frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES):
            if isinstance(one, frames.Gap):
                raise _Stays(f"it is damaged at offset {one.offset}")
            if one.trace != NO_TRACE:
                traces.setdefault(one.trace, []).append(one)
            elif one.kind == Kind.VALUE:
                shared[one.body[:16]] = one.body[16:]
        return header, traces, shared

    def _pack(self, header: frames.FileHeader, traces: dict[bytes, list[frames.Frame]], shared: dict[bytes, bytes]) -> bytes:
        writer = PackWriter(self._store.id, header.writer, self._store.mac)
        try:
            for digest, content in shared.items():
                writer.share(digest, content)
            for records in traces.values():
                writer.add(records)
            pack = writer.build()
            reader = PackReader.of_bytes(pack, mac=self._store.mac)
        except (StorageError, ValueError) as error:
            raise _Stays(f"no pack can be made of it: {error}") from error
        if not _holds(reader, traces, shared):
            raise _Stays("the pack made of it does not hold what it holds")
        return pack

    def _put(self, key: str, pack: bytes, traces: dict[bytes, list[frames.Frame]], shared: dict[bytes, bytes]) -> None:
        path = os.path.join(self._store.path, key)
        folder, name = os.path.split(path)
        hot = os.path.dirname(folder)
        os.makedirs(folder, 0o700, exist_ok=True)
        for leftover in os.listdir(folder):  # of a process that ended as it wrote this very pack
            if leftover.startswith(f".{name}."):
                self._disk.remove(os.path.join(folder, leftover))
        draft = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
        with contextlib.closing(LogFile(self._disk, folder, os.path.basename(draft), pack)) as file:
            file.sync()
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        self._disk.remove(draft)
        for place in (folder, hot, os.fspath(self._store.path)):
            self._disk.sync_folder(place)
        # What is there now, be it this one or that of a process that ended before it removed the record file.
        try:
            there = _holds(read_file(path, self._store.mac, key), traces, shared)
        except StorageError as error:
            raise _Stays(f"{key} is there already and cannot be read: {error}") from error
        if not there:
            raise _Stays(f"{key} is there already and does not hold what it holds")

    def _remove(self) -> None:
        self._disk.remove(self._path)
        self._disk.sync_folder(self._store.log_folder)


def _holds(reader: PackReader, traces: dict[bytes, list[frames.Frame]], shared: dict[bytes, bytes]) -> bool:
    """Whether a pack gives back every record and every shared value."""
    try:
        return all(
            _told(reader.frames(trace)) == _told(records) for trace, records in traces.items()
        ) and all(reader.shared(digest) == content for digest, content in shared.items())  # fmt: skip
    except CorruptRecord:
        return False


def _told(records: Iterable[frames.Frame]) -> list[tuple[int, int, int, bytes]]:
    return [(one.kind, one.flags, one.record, one.body) for one in records]
