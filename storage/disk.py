"""The few calls through which a log reaches the disk: the seam where tests put a full or failing one."""

from __future__ import annotations

import os
from typing import Protocol


class Disk(Protocol):
    """What a log needs of a file system."""

    def create(self, path: str) -> int:
        """A descriptor of a new file to append to."""
        ...

    def write(self, descriptor: int, data: bytes) -> int:
        """How many bytes were written."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return when what was written is on disk."""
        ...

    def sync_folder(self, path: str) -> None:
        """Return when the folder's entries are on disk."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...


class OsDisk:
    """The real one."""

    def create(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def sync_folder(self, path: str) -> None:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
