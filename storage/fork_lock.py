"""A lock that a forked child finds free: the thread of the parent that held it is not there to give it back."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final


class ForkLock:
    """A re-entrant lock. What it guards may be half changed in a child."""

    def __init__(self) -> None:
        self.after_fork()
        _made.add(self)

    def after_fork(self) -> None:
        """Let go, whoever holds it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_made: Final[weakref.WeakSet[ForkLock]] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in tuple(_made):
        lock.after_fork()


os.register_at_fork(after_in_child=_after_fork)
