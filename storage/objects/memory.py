"""Objects in memory: for tests, and the measure of the other stores."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Final

from storage.objects.contract import ObjectInfo, ObjectNotFound, ObjectTooLarge, Tail, check_key, check_prefix, check_range

__all__ = ("MemoryObjectStore",)

_PLACE: Final = "memory"


class MemoryObjectStore:
    """See `storage.objects.contract.ObjectStore`. Gone with the process."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, dt.datetime]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "MemoryObjectStore()"

    def put_new(self, key: str, data: bytes) -> bool:
        """See `ObjectStore`."""
        check_key(key)
        with self._lock:
            held, _ = self._objects.setdefault(key, (bytes(data), self.now()))
        return held == data

    def get(self, key: str, limit: int) -> bytes:
        """See `ObjectStore`."""
        data = self._find(key)
        if len(data) > limit:
            raise ObjectTooLarge(key, len(data), limit)
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ObjectStore`."""
        check_range(start, length)
        return self._find(key)[start : start + length]

    def get_tail(self, key: str, length: int) -> Tail:
        """See `ObjectStore`."""
        check_range(0, length)
        data = self._find(key)
        return Tail(data[-length:], len(data))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore`."""
        check_prefix(prefix)
        with self._lock:
            found = [(key, held) for key, held in self._objects.items() if key.startswith(prefix)]
        return iter([ObjectInfo(key, len(data), modified) for key, (data, modified) in sorted(found)])

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def now(self) -> dt.datetime:
        """See `ObjectStore`."""
        return dt.datetime.now(dt.UTC)

    def close(self) -> None:
        """See `ObjectStore`. The objects stay."""

    def _find(self, key: str) -> bytes:
        check_key(key)
        with self._lock:
            held = self._objects.get(key)
        if held is None:
            raise ObjectNotFound(key, _PLACE)
        return held[0]
