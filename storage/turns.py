"""Work that must not keep an event loop of the same process waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

# Not for no time at all: the interpreter lock would be taken back before a waiting thread wakes.
_SECONDS: Final = 1e-5


def let_others() -> None:
    """Give the interpreter lock away for a moment. A thread that waits for it gets it at once, not a switch interval later."""
    time.sleep(_SECONDS)


def taking_turns(every: int, items: Iterable[T]) -> Iterator[T]:
    """The items, and now and then a moment for other threads.

    Args:
        every: after so many items.
        items: what is worked through.
    """
    for number, one in enumerate(items, 1):
        yield one
        if not number % every:
            let_others()
