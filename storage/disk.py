"""The few system calls that recording makes, behind a seam: where tests put a disk that fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Final, Protocol

from storage import locks

_flush = getattr(os, "fdatasync", os.fsync)


class Disk(Protocol):
    """Where record files are written. Every method may raise OSError."""

    def create(self, path: str) -> int:
        """A descriptor of a new file that is only appended to."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """How many of the bytes were taken."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return once the file's bytes are on disk."""
        ...

    def sync_folder(self, path: str) -> None:
        """Return once the folder's names are on disk."""
        ...

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...


class OsDisk:
    """The operating system's."""

    def create(self, path: str) -> int:
        """See `Disk`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = locks.hold(lambda: os.open(path, flags, 0o600))
        try:
            # Until it is closed, by the kernel also where the process is killed: who seals record files leaves this one alone.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not os.fstat(descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it was sealed before its first record", path)
        except OSError:
            locks.let_go(descriptor)
            raise
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        """See `Disk`."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """See `Disk`."""
        _flush(descriptor)

    def sync_folder(self, path: str) -> None:
        """See `Disk`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """See `Disk`."""
        locks.let_go(descriptor)

    def remove(self, path: str) -> None:
        """See `Disk`."""
        os.unlink(path)


OS_DISK: Final = OsDisk()


class LogFile:
    """A record file that is being written.

    Args:
        disk: where it is.
        folder: the store's `log` folder.
        name: of the file, which must not exist.
        header: its first 64 bytes.

    Raises:
        OSError: it could not be begun; then nothing of it is left.
    """

    __slots__ = ("_descriptor", "_disk", "size")

    def __init__(self, disk: Disk, folder: str, name: str, header: bytes) -> None:
        path = os.path.join(folder, name)
        self._disk = disk
        self._descriptor = disk.create(path)
        self.size = 0
        try:
            self.write(header)
            disk.sync_folder(folder)
        except OSError:
            self.close()
            with contextlib.suppress(OSError):
                disk.remove(path)
            raise

    def write(self, data: bytes) -> None:
        """Append all of the bytes.

        Raises:
            OSError: some of them may be in the file, and it must not be written any more.
        """
        rest = memoryview(data)
        while rest:
            taken = self._disk.write(self._descriptor, rest)
            if taken <= 0:
                raise OSError(errno.EIO, "a write took no bytes")
            rest = rest[taken:]
        self.size += len(data)

    def sync(self) -> None:
        """Return once all is on disk.

        Raises:
            OSError: it may not be. Asking again would lie: a kernel reports a failed sync once.
        """
        self._disk.sync(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        with contextlib.suppress(OSError):
            self._disk.close(self._descriptor)
