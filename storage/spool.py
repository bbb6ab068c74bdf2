"""Whether record files are safe where they wait for a bucket."""

from __future__ import annotations

import os
import re
from typing import Final

from storage.objects.contract import Viewable
from storage.store import Store

_MOUNTS: Final = "/proc/self/mountinfo"
_VOLATILE: Final = {
    "tmpfs": "in memory, and gone when the machine restarts",
    "ramfs": "in memory, and gone when the machine restarts",
    "overlay": "the writable layer of a container, and gone with it",
}
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def volatile(store: Store, mounts: str = _MOUNTS) -> str | None:
    """What is to be said of the folder of record files where it may vanish before a bucket has them; None where nothing is.

    Args:
        store: whose record files.
        mounts: the kernel's table of mounts; without one, nothing is known and nothing is said.
    """
    if isinstance(store.objects, Viewable):
        return None  # packs lie where record files do
    kind = _kind_of(os.path.realpath(store.log_folder), mounts)
    if kind not in _VOLATILE:
        return None
    return (
        f"record files wait for {store.place} in {store.log_folder}, which is on {kind}: {_VOLATILE[kind]}. What a process "
        "has not sent when it is killed is lost then: name a folder on a disk with spool=..."
    )


def _kind_of(path: str, mounts: str) -> str:
    """The type of the file system that a path is on."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    found = ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = point in {"/", path} or path.startswith(f"{point}/")
        # The later of two at one point hides the other.
        if inside and len(point) >= len(found[0]):
            found = (point, right.split(" ")[0])
    return found[1]
