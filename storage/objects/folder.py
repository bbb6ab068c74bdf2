"""Objects as files of a folder.

An object is written beside the others, synced, and given its name by a hard link, which is one step and never replaces; then
the folder is synced. So there is no object or the whole one at any moment, after a kill and after a power cut, and whoever is
told that it was written has it. What a killed writer leaves lies in `~drafts`, a name that no key has, until it is a day old.

Many processes may write at once. The folder may be on a network file system that has hard links; the times of its files are
the server's then, while `now` is this machine's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import secrets
import stat
import time
from collections.abc import Generator, Iterator
from typing import Final

from storage.objects.contract import (
    InvalidKey,
    ObjectInfo,
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    StoreUnavailable,
    StoreUnsuitable,
    Tail,
    check_key,
    check_prefix,
    check_range,
    is_key,
)
from storage.objects.folder_disk import OS_FOLDER_DISK, FolderDisk
from storage.view import View

__all__ = ("DRAFTS", "DRAFT_SECONDS", "FolderObjectStore")

DRAFTS: Final = "~drafts"
DRAFT_SECONDS: Final = 86_400
"""No writer is given so long: an older draft is nobody's."""

_REFUSALS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_GONE: Final = (FileNotFoundError, NotADirectoryError)
_CHUNK: Final = 2**20


class FolderObjectStore:
    """See `storage.objects.contract.ObjectStore`.

    Args:
        path: the folder.
        create: make it if it is not there. Otherwise a missing folder is a `StoreRefused`, never an empty store: it may be
            one that is not mounted.
        disk: where the system calls that change it go.

    Raises:
        StoreRefused: it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False, disk: FolderDisk = OS_FOLDER_DISK) -> None:
        self._root = os.path.realpath(path)
        self._disk = disk
        self._durable: set[str] = set()
        self._cleaned = False
        if create:
            try:
                os.makedirs(self._root, 0o700, exist_ok=True)
                disk.sync_folder(os.path.dirname(self._root))
            except OSError as error:
                raise StoreRefused("open", "", self._root, f"the folder cannot be made: {error}") from error

    def __repr__(self) -> str:
        return f"FolderObjectStore({self._root!r})"

    def put_new(self, key: str, data: bytes) -> bool:
        """See `ObjectStore`.

        Raises:
            StoreUnsuitable: the file system has no hard links.
        """
        path = self._path(key)
        with self._telling("put_new", key):
            self._remove_old_drafts()
            try:
                return self._put(path, key, data)
            except FileNotFoundError:
                # A folder or the draft was removed under it: once more, from nothing.
                self._durable.clear()
                return self._put(path, key, data)

    def get(self, key: str, limit: int) -> bytes:
        """See `ObjectStore`."""
        with self._reading("get", key) as (descriptor, size):
            if size > limit:
                raise ObjectTooLarge(key, size, limit)
            return _read(descriptor, 0, size)

    def view(self, key: str) -> View:
        """See `Viewable`."""
        with self._reading("view", key) as (descriptor, size):
            return _FileView(os.dup(descriptor), size)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ObjectStore`."""
        check_range(start, length)
        with self._reading("get_range", key) as (descriptor, size):
            return _read(descriptor, start, min(length, max(size - start, 0)))

    def get_tail(self, key: str, length: int) -> Tail:
        """See `ObjectStore`."""
        check_range(0, length)
        with self._reading("get_tail", key) as (descriptor, size):
            taken = min(length, size)
            return Tail(_read(descriptor, size - taken, taken), size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore`."""
        check_prefix(prefix)
        at = prefix[: prefix.rfind("/") + 1]
        with self._telling("list", prefix):
            self._check_root("list", prefix)
            self._check_folder("list", prefix, os.path.join(self._root, at).rstrip("/"))
            return iter(list(self._walk(at, prefix)))

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        path = self._path(key)
        with self._telling("delete", key):
            self._check_folder("delete", key, os.path.dirname(path))
            try:
                self._disk.remove(path)
            except IsADirectoryError:
                return
            except _GONE:
                self._check_root("delete", key)
            # Also where it was gone: the removal before may have failed here.
            with contextlib.suppress(*_GONE):
                self._disk.sync_folder(os.path.dirname(path))

    def now(self) -> dt.datetime:
        """See `ObjectStore`. This machine's clock."""
        return dt.datetime.now(dt.UTC)

    def close(self) -> None:
        """See `ObjectStore`."""

    def _path(self, key: str) -> str:
        return os.path.join(self._root, check_key(key))

    @contextlib.contextmanager
    def _telling(self, operation: str, key: str) -> Generator[None]:
        """Say what a system call's failure means."""
        began = time.monotonic()
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self._check_root(operation, key)
            if error.errno in _REFUSALS:
                raise StoreRefused(operation, key, self._root, str(error)) from error
            raise StoreUnavailable(operation, key, self._root, 1, time.monotonic() - began, str(error)) from error

    def _check_root(self, operation: str, key: str) -> None:
        if not os.path.isdir(self._root):
            raise StoreRefused(
                operation, key, self._root, "there is no such folder. Is it mounted? A new store is made with create=True"
            )

    def _check_folder(self, operation: str, key: str, folder: str) -> None:
        # A store from a stranger could hold a link to anywhere.
        if os.path.realpath(folder) != folder:
            raise StoreRefused(operation, key, self._root, f"{folder} leads out of it by a symbolic link: remove the link")

    @contextlib.contextmanager
    def _reading(self, operation: str, key: str) -> Generator[tuple[int, int]]:
        """(descriptor, size) of an object's file."""
        path = self._path(key)
        with self._telling(operation, key):
            self._check_folder(operation, key, os.path.dirname(path))
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except _GONE:
                self._check_root(operation, key)
                raise ObjectNotFound(key, self._root) from None
            try:
                told = os.fstat(descriptor)
                if not stat.S_ISREG(told.st_mode):
                    raise ObjectNotFound(key, self._root)
                yield descriptor, told.st_size
            finally:
                os.close(descriptor)

    def _walk(self, at: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(os.path.join(self._root, at)) as entries:
                # With its slash, a folder sorts where the keys under it do.
                named = sorted((f"{at}{one.name}{'/' * one.is_dir(follow_symlinks=False)}", one) for one in entries)
        except _GONE:
            return
        for key, entry in named:
            if not is_key(key.rstrip("/")):
                continue
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    told = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(key, told.st_size, dt.datetime.fromtimestamp(told.st_mtime, dt.UTC))

    def _put(self, path: str, key: str, data: bytes) -> bool:
        folder = os.path.dirname(path)
        self._make_folders(key, os.path.join(self._root, DRAFTS))
        self._make_folders(key, folder)
        draft = os.path.join(self._root, DRAFTS, secrets.token_hex(16))
        try:
            self._write_draft(draft, data)
            try:
                self._disk.link(draft, path)
                written = True
            except FileExistsError:
                written = self._holds(path, key, data)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    why = f"its file system makes no hard links ({error.strerror})"
                    raise StoreUnsuitable("put-if-absent", self._root, why) from error
                raise
        finally:
            with contextlib.suppress(OSError):
                self._disk.remove(draft)
        # Also where it was there: whoever wrote it may not have come so far.
        self._disk.sync_folder(folder)
        return written

    def _write_draft(self, draft: str, data: bytes) -> None:
        descriptor = self._disk.create(draft)
        try:
            rest = memoryview(data)
            while rest:
                taken = self._disk.write(descriptor, rest)
                if taken <= 0:
                    raise OSError(errno.EIO, "a write took no bytes")
                rest = rest[taken:]
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)

    def _make_folders(self, key: str, folder: str) -> None:
        """Make each folder on the way, and sync its name even where it was there: its maker may not have come so far."""
        path = self._root
        for segment in os.path.relpath(folder, self._root).split(os.sep):
            above, path = path, os.path.normpath(os.path.join(path, segment))
            if path in self._durable or path == self._root:
                continue
            with contextlib.suppress(FileExistsError):
                self._disk.make_folder(path)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                self._check_folder("put_new", key, path)
            if not stat.S_ISDIR(mode):
                raise InvalidKey(key, f"{os.path.relpath(path, self._root)} is an object, and no folder of others")
            self._disk.sync_folder(above)
            self._durable.add(path)

    def _holds(self, path: str, key: str, data: bytes) -> bool:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            told = os.fstat(descriptor)
            if stat.S_ISDIR(told.st_mode):
                raise InvalidKey(key, "it is the folder of other objects")
            return told.st_size == len(data) and _read(descriptor, 0, told.st_size) == data
        finally:
            os.close(descriptor)

    def _remove_old_drafts(self) -> None:
        if self._cleaned:
            return
        self._cleaned = True
        oldest = time.time() - DRAFT_SECONDS
        with contextlib.suppress(OSError), os.scandir(os.path.join(self._root, DRAFTS)) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    with contextlib.suppress(OSError):
                        self._disk.remove(entry.path)


class _FileView:
    """See `View`. Not a memory map: where a file is cut or its disk fails, that ends the process, and a read says so."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, end, _ = part.indices(self._size)
        return os.pread(self._descriptor, end - start, start) if end > start else b""

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _read(descriptor: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = os.pread(descriptor, min(length, _CHUNK), start)
        if not part:
            raise OSError(errno.EIO, "the file ended before its size")
        parts.append(part)
        start += len(part)
        length -= len(part)
    return b"".join(parts)
