"""Descriptors that hold a lock on a record file: a forked child keeps none of them.

The kernel keeps such a lock while any copy of its descriptor is open. A child that kept one would keep the file of a parent that
died from the next process for as long as it lives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final

_held: Final[set[int]] = set()
# Held from before a descriptor is opened until it is noted: no fork comes in between.
_guard: Final = threading.Lock()


def hold(opened: Callable[[], int]) -> int:
    """Open a descriptor that no child is to keep. Raises what opening raises."""
    with _guard:
        descriptor = opened()
        _held.add(descriptor)
        return descriptor


def let_go(descriptor: int) -> None:
    """Close one, if it is still held: in a child none is."""
    with _guard:
        if descriptor not in _held:
            return
        _held.remove(descriptor)
        os.close(descriptor)


def _in_child() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_in_child)
