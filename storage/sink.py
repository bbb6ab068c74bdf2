"""One trace as its writer sees it."""

from __future__ import annotations

import itertools
from collections.abc import Callable


class Sink:
    """Where the records of one trace go. `next_id` may be called from any thread.

    Args:
        trace_id: the trace.
        writer: id of the writer that the trace began with.
        first: the first record id.
    """

    __slots__ = (
        "ended",
        "first_file",
        "last_file",
        "latest",
        "lost",
        "next_id",
        "personal",
        "trace_id",
        "values",
        "why",
        "writer",
        "written",
    )

    trace_id: bytes
    next_id: Callable[[], int]
    lost: int
    """Records that were given and may not be on disk."""
    why: str
    """What the first of them was lost to."""
    written: int
    """Records written, values among them."""
    personal: bool
    """Whether its values belong to a subject."""
    values: dict[bytes, int]
    """Digest of each value written -> its record id. The writer's own."""
    latest: tuple[bytes, int] | None
    """The value written last and its record id: a step often returns what its effect gave. The writer's own."""
    ended: bool
    """Whether its end was written. The writer's own."""

    first_file: int
    last_file: int
    """Which of its writer's record files hold the trace, counted from 1; 0 before anything was written."""

    def __init__(self, trace_id: bytes, writer: bytes, first: int = 1) -> None:
        self.trace_id = trace_id
        self.writer = writer
        self.next_id = itertools.count(first).__next__
        self.lost = self.written = 0
        self.first_file = self.last_file = 0
        self.personal = self.ended = False
        self.values = {}
        self.latest = None
        self.why = ""

    def lose(self, why: str) -> None:
        """Count a record that may not reach the disk."""
        self.lost += 1
        self.why = self.why or why

    def forget(self) -> None:
        """One of the values written may be gone: the next use writes it again."""
        self.values.clear()
        self.latest = None
