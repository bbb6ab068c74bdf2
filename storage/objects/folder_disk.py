"""The system calls that a folder of objects is changed by, behind the seam of `storage.disk`."""

from __future__ import annotations

import os
from typing import Final, Protocol

from storage.disk import Disk, OsDisk

__all__ = ("OS_FOLDER_DISK", "FolderDisk", "OsFolderDisk")


class FolderDisk(Disk, Protocol):
    """Where objects are written. Every method may raise OSError."""

    def make_folder(self, path: str) -> None:
        """Make a folder in one that is there.

        Raises:
            FileExistsError: something of that name is there.
        """
        ...

    def link(self, path: str, name: str) -> None:
        """Give a file a second name, in one step.

        Raises:
            FileExistsError: something of that name is there, and stays.
        """
        ...


class OsFolderDisk(OsDisk):
    """The operating system's."""

    def make_folder(self, path: str) -> None:
        """See `FolderDisk`."""
        os.mkdir(path, 0o700)

    def link(self, path: str, name: str) -> None:
        """See `FolderDisk`."""
        os.link(path, name, follow_symlinks=False)


OS_FOLDER_DISK: Final = OsFolderDisk()
