"""Reading many traces of a store, in the order in which they lie.

`Store` finds one trace wherever it is; here an hour's packs are looked through once, and each of their blocks is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from storage import keys
from storage.errors import CorruptRecord
from storage.pack.layout import REPLAY, Part
from storage.pack.scan import PackScan, Scanned, Unusual
from storage.packs import PackGone, Packs, reads
from storage.record_files import RecordFiles
from storage.store import Store

_MAX_SCANS: Final = 8
"""Packs that are held in memory at once."""
_LOOKS: Final = 5
"""Packs that are merged while they are looked at are another one at the next look."""


class Batch(NamedTuple):
    """Traces that lie together."""

    hour: str
    """Of their packs, as 20261125-09; empty for traces that are in record files only."""
    traces: tuple[bytes, ...]


class Sweep:
    """One pass over a store. Not for several threads; what comes to the store meanwhile may be missed.

    Args:
        store: which.

    Raises:
        StoreUnavailable: the store gave no answer.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._packs = Packs(store.objects, store.id, store.mac)
        self._files = RecordFiles(store.log_folder, store.id)
        self._files.refresh()
        self._hour = ""
        self._parts: dict[bytes, list[tuple[str, Part]]] = {}
        self._scans: dict[str, PackScan] = {}
        self.damage: list[str] = []
        """Packs that cannot be read, so that nothing tells which traces are in them."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Every trace of a run once, newest hour first, in the order in which they lie.

        Replays are among them where nothing but reading them tells that they are.

        Args:
            size: of a batch, at most.
        """
        left = set(self._files.traces)
        self.damage += self._files.damage
        for hour in self._packs.hours():
            self._look(hour)
            left.difference_update(self._parts)
            runs = (trace for trace, parts in self._parts.items() if not parts[0][1].flags & REPLAY)
            ordered = sorted(runs, key=self._place)
            for start in range(0, len(ordered), size):
                yield Batch(hour, tuple(ordered[start : start + size]))
        rest = sorted(left)
        for start in range(0, len(rest), size):
            yield Batch("", tuple(rest[start : start + size]))

    def read(self, trace: bytes) -> Scanned | None:
        """A trace that is whole and lies in packs of its hour; None where `Store.load` has to tell.

        Raises:
            StoreUnavailable: the store gave no answer.
        """
        if trace in self._files.traces:
            return None
        if trace not in self._parts and (hour := keys.hour_of(trace)) != self._hour:
            self._look(hour)
        parts = self._parts.get(trace)
        if not parts:
            return None
        try:
            return self._read(trace, parts)
        except (Unusual, CorruptRecord, TypeError, msgspec.MsgspecError, PackGone):
            return None

    def _read(self, trace: bytes, parts: list[tuple[str, Part]]) -> Scanned:
        first = self._scan(parts[0][0])
        found = first.begin(trace)
        for key, part in parts:
            self._scan(key).gather(part, found)
        found.finish()
        header = found.header
        manifest, environment = (self._shared(digest, parts) for digest in (header.manifest, header.environment))
        if manifest is None or environment is None:
            raise Unusual
        found.manifest = manifest
        return found

    def _shared(self, digest: bytes, parts: list[tuple[str, Part]]) -> bytes | None:
        found = (self._scan(key).whole_shared(digest) for key, _ in parts)
        return next((data for data in found if data is not None), None)

    def _place(self, trace: bytes) -> tuple[str, int, int]:
        key, part = self._parts[trace][0]
        return key, part.block, part.offset

    def _look(self, hour: str) -> None:
        """Find which traces an hour's packs hold."""
        self._hour = hour
        self._parts = {}
        self._scans.clear()
        for _ in range(_LOOKS):
            damage: list[str] = []
            try:
                found = self._packs.footers(self._packs.listed(hour), damage)
                listed = [(key, part) for key, footer in found.items() for part in footer.parts()]
            except PackGone:
                self._packs.relist()
                continue
            break
        else:
            listed, damage = [], [f"packs of hour {hour} went away as often as they were looked for"]
        self.damage += [text for text in damage if text not in self.damage]
        for key, part in listed:
            self._parts.setdefault(part.trace, []).append((key, part))

    def _scan(self, key: str) -> PackScan:
        known = self._scans.pop(key, None)
        if known is None:
            if len(self._scans) >= _MAX_SCANS:
                del self._scans[next(iter(self._scans))]
            known = PackScan(*reads(self._store.objects, key), mac=self._store.mac, name=key)
        self._scans[key] = known
        return known
