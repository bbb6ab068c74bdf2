"""The small packs of an hour that is over become one (docs/pack.md, section 7).

A merged pack names the packs that it replaces, and a reader that sees it passes these over from then on; they are deleted later,
when nobody can still be reading by an older listing. Any number of processes may merge at once and end at any moment: the worst
is that a trace is in two packs, which is the same to a reader, and is put right by the next merge.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from storage import check, keys
from storage.errors import CorruptRecord, StorageError
from storage.frames import Frame
from storage.objects.contract import ObjectInfo, StoreRefused, StoreUnavailable
from storage.pack.layout import KNOWN_FEATURES, MINOR, Part
from storage.pack.reader import PackReader
from storage.packing import NotPacked, Records, pack, put, shared_of, told
from storage.packs import PackGone, by_hour, open_pack
from storage.store import Store

TARGET_BYTES: Final = 32 * 1024 * 1024
"""A merged pack grows no larger, and a pack of half of it is left as it is."""
GRACE_SECONDS: Final = 3600.0
"""How long replaced packs stay, by the store's clock: longer than any upload, and than anybody reads by one listing."""
MIN_GRACE_SECONDS: Final = 300.0
MAX_CONTENT_BYTES: Final = 256 * 1024 * 1024
"""Of what is merged at once, before compression: it is all in memory."""
CLOSED_SECONDS: Final = 600.0
"""How long after its end an hour is over: its last runs have ended and are sealed, and clocks differ."""


class Merged(NamedTuple):
    """Packs that became one."""

    pack: str
    replaces: tuple[str, ...]
    traces: int
    bytes_before: int
    bytes_after: int


class Removed(NamedTuple):
    """A pack that was replaced, and is gone."""

    pack: str
    by: str


class Left(NamedTuple):
    """A pack that is not merged."""

    pack: str
    why: str


class Done(NamedTuple):
    """What a merge did."""

    merged: tuple[Merged, ...]
    removed: tuple[Removed, ...]
    left: tuple[Left, ...]


def merge(
    store: Store,
    *,
    grace_seconds: float = GRACE_SECONDS,
    target_bytes: int = TARGET_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Done:
    """Merge the small packs of every hour that is over, and remove those that were replaced long enough ago.

    Args:
        store: whose packs.
        grace_seconds: how long replaced packs stay, at least `MIN_GRACE_SECONDS`.
        target_bytes: how large a merged pack may grow.
        progress: told how many hours of how many are done.

    Raises:
        ValueError: the grace is shorter than an upload may take.
        StoreUnavailable: the store gave no answer; every trace is still there.
        StoreRefused: as above.
    """
    if grace_seconds < MIN_GRACE_SECONDS:
        raise ValueError(f"grace_seconds is at least {MIN_GRACE_SECONDS:.0f}: an upload may take so long, and a reader as well")
    now = store.objects.now()
    over = now - dt.timedelta(seconds=CLOSED_SECONDS)
    hours = {hour: infos for hour, infos in by_hour(store.objects).items() if keys.hour_ends(hour) <= over}
    marked = frozenset(check.quarantined(store))
    merged: list[Merged] = []
    removed: list[Removed] = []
    left: list[Left] = []
    for done, (hour, infos) in enumerate(sorted(hours.items()), 1):
        one = _Hour(store, hour, infos, marked)
        removed += one.remove(now - dt.timedelta(seconds=grace_seconds))
        merged += one.merge(target_bytes)
        left += one.left
        if progress is not None:
            progress(done, len(hours))
    return Done(tuple(merged), tuple(removed), tuple(left))


class _Hour:
    """The packs of one hour."""

    def __init__(self, store: Store, hour: str, infos: Sequence[ObjectInfo], marked: frozenset[str]) -> None:
        self._store, self._hour = store, hour
        self._infos = {info.key: info for info in infos}
        self._readers: dict[str, PackReader] = {}
        self.left: list[Left] = []
        for key in self._infos:
            if key in marked:
                self.left.append(Left(key, "it is marked as damaged"))
                continue
            try:
                self._readers[key] = open_pack(store.objects, key, store.mac)
            except PackGone:
                continue
            except CorruptRecord as error:
                self._quarantine(key, error)
            except (StoreUnavailable, StoreRefused):
                raise
            except StorageError as error:
                self.left.append(Left(key, str(error)))
        self._replaced = {key for reader in self._readers.values() for key in reader.footer.replaces}

    def _quarantine(self, key: str, error: CorruptRecord) -> None:
        """A damaged pack is never merged: nothing of it is taken for whole, nothing of it is deleted, and the others go on."""
        check.mark(self._store, key, str(error))
        self.left.append(Left(key, str(error)))

    # the end of packs that were replaced

    def remove(self, before: dt.datetime) -> list[Removed]:
        """Remove the packs that were replaced by one which was there before a time."""
        removed: list[Removed] = []
        for by, reader in self._readers.items():
            for key in sorted(set(reader.footer.replaces) & self._infos.keys()):
                if self._infos[by].modified <= before and by not in self._replaced and self._is_held(key, reader):
                    self._store.objects.delete(keys.rows(key))
                    self._store.objects.delete(key)
                    del self._infos[key]
                    removed.append(Removed(key, by))
        return removed

    def _is_held(self, key: str, by: PackReader) -> bool:
        """Whether a pack has every record of one that it says it replaces: what it has not, or cannot be read, stays."""
        old = self._readers.get(key)
        if old is None:
            return False
        try:
            places = [(by.footer.parts_of(trace)[:1], trace) for trace in old.ids()]
            # In the order of the new pack's blocks, of which a reader keeps one.
            return all(
                where and set(map(told, old.frames(trace))) <= set(map(told, by.frames(trace)))
                for where, trace in sorted(places, key=_block)
            )
        except (PackGone, CorruptRecord):
            return False

    # merging

    def merge(self, target_bytes: int) -> list[Merged]:
        """Merge what is small."""
        small = [
            key for key, reader in sorted(self._readers.items())
            if key not in self._replaced and key in self._infos and reader.size < target_bytes // 2 and self._may(key, reader)
        ]  # fmt: skip
        merged: list[Merged] = []
        sizes = [(key, self._readers[key].size, _content(self._readers[key])) for key in small]
        for batch in _batches(sizes, target_bytes):
            made = self._merge(batch)
            if made is not None:
                merged.append(made)
        return merged

    def _may(self, key: str, reader: PackReader) -> bool:
        """Whether this version understands all of a pack: else it would leave out what it does not know."""
        header = reader.footer.header
        if header.store_id != self._store.id:
            self.left.append(Left(key, f"it belongs to store {header.store_id.hex()}"))
            return False
        if header.minor > MINOR or header.features & ~KNOWN_FEATURES:
            self.left.append(Left(key, "it was written by a newer kitchenlog"))
            return False
        return True

    def _merge(self, batch: Sequence[str]) -> Merged | None:
        traces: Records = {}
        shared: dict[bytes, bytes] = {}
        taken: list[str] = []
        for key in batch:
            try:
                found = {trace: self._readers[key].frames(trace) for trace in self._readers[key].ids()}
                values = _values(self._readers[key], found)
            except PackGone:  # another process was faster
                return None
            except CorruptRecord as error:
                self._quarantine(key, error)
                continue
            taken.append(key)
            shared |= values
            for trace, records in found.items():
                traces[trace] = _united(traces.get(trace, ()), records)
        if len(taken) < 2:
            return None
        replaces = {*taken, *(key for one in taken for key in self._readers[one].footer.replaces)}
        return self._put(taken, sorted(replaces), traces, shared)

    def _put(self, taken: list[str], replaces: list[str], traces: Records, shared: dict[bytes, bytes]) -> Merged | None:
        # Of the same packs every process makes the same one: the loser of a race finds its own.
        writer_id = hashlib.blake2b("\n".join(replaces).encode(), digest_size=8, person=b"merge").digest()
        key = keys.pack(self._hour, writer_id, 0)
        try:
            made = pack(self._store, writer_id, traces, shared, replaces=replaces)
            put(self._store, key, made, traces, shared)
        except NotPacked as error:
            self.left += [Left(one, str(error)) for one in taken]
            return None
        before = sum(self._infos[one].size for one in taken)
        return Merged(key, tuple(replaces), len(traces), before, len(made))


def _values(reader: PackReader, traces: Records) -> dict[bytes, bytes]:
    """The manifests and environments that traces name, as far as their pack has them."""
    found = ((digest, reader.shared(digest)) for digest in sorted(shared_of(traces)))
    return {digest: content for digest, content in found if content is not None}


def _united(first: Iterable[Frame], second: Iterable[Frame]) -> list[Frame]:
    """The records of a trace in two packs, each once. Two that differ under one number are both kept: reading says so."""
    return list({told(one): one for one in (*first, *second)}.values())


def _block(place: tuple[list[Part], bytes]) -> tuple[int, bytes]:
    return (place[0][0].block if place[0] else -1, place[1])


def _content(reader: PackReader) -> int:
    """Bytes of a pack before compression, at least."""
    footer = reader.footer
    blocks = sum(footer.block(number).size for number in range(footer.counts.blocks))
    return blocks + sum(part.vectors_length for part in footer.parts()) + sum(one.size for one in footer.larges())


def _batches(sizes: Sequence[tuple[str, int, int]], target_bytes: int) -> list[list[str]]:
    """Packs in groups of two or more that fit one pack, and memory. Each is (key, bytes, bytes before compression)."""
    batches: list[list[str]] = []
    room = free = 0
    for key, size, content in sizes:
        if not batches or size > room or content > free:
            batches.append([])
            room, free = target_bytes, MAX_CONTENT_BYTES
        batches[-1].append(key)
        room, free = room - size, free - content
    return [batch for batch in batches if len(batch) > 1]
