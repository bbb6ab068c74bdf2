"""Bytes that are read as they are asked for."""

from __future__ import annotations

from typing import Protocol


class View(Protocol):
    """Something of bytes, of which no more is read than is looked at: `bytes` are one. What reading raises is passed on."""

    def __len__(self) -> int:
        """How many bytes there are in all."""
        ...

    def __getitem__(self, part: slice, /) -> bytes:
        """Bytes from the middle, fewer where it ends."""
        ...


class Window:
    """A stretch of a view."""

    def __init__(self, view: View, start: int, length: int) -> None:
        self._view, self._start, self._length = view, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> bytes:
        start, end, _ = part.indices(self._length)
        return self._view[self._start + start : self._start + end]
