"""The rows objects of a store: one beside each pack, made by whoever needs it first (docs/pack.md, section 8)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, NamedTuple, Self

from storage import keys
from storage.digest import Mac
from storage.errors import CorruptRecord, StoreError
from storage.objects.contract import ObjectNotFound, ObjectStore, StoreRefused
from storage.packs import PackGone, open_pack
from storage.rows import parquet
from storage.rows.columns import VERSION
from storage.rows.part import rows_of_pack
from storage.rows.stamp import Head, RowsMac, read
from storage.rows.trace import RowMaker, TraceRows

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""

_ROWS: Final = ".parquet"
_LOOKS: Final = 5
"""A pack that is merged while it is looked at is in another one at the next look."""
_MAX_BYTES: Final = 2**30
_FETCHES: Final = 16


class Opened(NamedTuple):
    """Rows that are ready to be asked."""

    files: Mapping[str, Head]
    """Files on this machine, one for each pack that counts."""
    made: int
    """How many packs had none."""
    damage: tuple[str, ...]
    """What could not be read."""
    unstored: str
    """Why rows that were made could not be stored; empty where they could."""


class Rebuilt(NamedTuple):
    """What making all rows anew found."""

    packs: int
    same: int
    """Rows that were there and equal."""
    made: int
    """Rows that were not there."""
    differed: int
    """Rows that were there and were not those of their pack, or were made by another version."""
    removed: int
    """Rows of packs that are gone."""
    damage: tuple[str, ...]


class _Encoded(NamedTuple):
    """The rows of a pack."""

    data: bytes
    head: Head
    is_whole: bool
    """All of the pack could be read."""


class RowStore:
    """The rows beside the packs of a store. Not for several threads at once; to be left as a context manager.

    Args:
        objects: where packs and rows are.
        store_id: packs of any other store are left alone.
        mac: the store's digests.
        maker: makes the rows.
        folder: where the objects are files of this machine, the path they lie below; else they are copied for the while.
    """

    def __init__(self, objects: ObjectStore, store_id: bytes, mac: Mac, maker: RowMaker, *, folder: str | None = None) -> None:
        self._objects, self._store_id, self._mac, self._maker, self._folder = objects, store_id, mac, maker, folder
        self._rows_mac = RowsMac(mac)
        self._scratch = tempfile.TemporaryDirectory(prefix="kitchenlog-")
        self.scratch = self._scratch.name
        """A folder of this machine that goes when this is left."""
        self._damage: list[str] = []
        self._unstored = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._scratch.cleanup()

    def open(self, progress: Progress) -> Opened:
        """The rows of every pack that no other one stands for; those that are missing are made and stored.

        Args:
            progress: told of those that are made.

        Raises:
            StoreError: rows were made by a newer version.
        """
        for _ in range(_LOOKS):
            self._damage, self._unstored = [], ""
            with contextlib.suppress(ObjectNotFound, PackGone):
                return self._open(progress)
        raise StoreError(f"packs of {self._objects!r} went away as often as they were looked for")

    def _open(self, progress: Progress) -> Opened:
        listed, packs = self._list()
        there = [pack for pack in packs if keys.rows(pack) in listed]
        with ThreadPoolExecutor(_FETCHES) as pool:
            told = zip(there, pool.map(self._fetch, there), strict=True)
            ready = {pack: found for pack, found in told if found is not None and found[1].version >= VERSION}
        for pack, (_, head) in ready.items():
            if head.version > VERSION:
                raise StoreError(f"{keys.rows(pack)} has rows of version {head.version}; this kitchenlog reads {VERSION}")
        replaced = {key for _, head in ready.values() for key in head.replaces}
        missing = [key for key in packs if key not in ready and key not in replaced]
        made = 0
        for done, pack in enumerate(missing):
            progress(done, len(missing))
            found = self._make(pack, instead=keys.rows(pack) in listed)
            if found is not None:
                ready[pack] = found
                made += 1
        if missing:
            progress(len(missing), len(missing))
        replaced = {key for _, head in ready.values() for key in head.replaces}
        files = {path: head for pack, (path, head) in ready.items() if pack not in replaced}
        return Opened(files, made, tuple(self._damage), self._unstored)

    def apart(self, rows: Iterable[TraceRows]) -> tuple[str, Head]:
        """Rows that are beside no pack, as a file for the while."""
        data, head = parquet.encode(rows, self._maker.terms, self._rows_mac)
        return self._keep("loose.parquet", data), head

    def rebuild(self, progress: Progress) -> Rebuilt:
        """Make all rows anew from the packs, and compare them with what was there.

        Raises:
            PackGone: a pack went away meanwhile.
            StoreRefused: rows may not be written here.
        """
        self._damage = []
        listed, packs = self._list()
        same = made = differed = 0
        for done, pack in enumerate(packs):
            progress(done, len(packs))
            encoded = self._encode(pack)
            if encoded is None or not encoded.is_whole:
                continue
            key = keys.rows(pack)
            there = self._objects.get(key, _MAX_BYTES) if key in listed else None
            if there == encoded.data:
                same += 1
                continue
            if there is None:
                made += 1
            else:
                differed += 1
                self._objects.delete(key)
            self._objects.put_new(key, encoded.data)
        packs_there = {keys.rows(pack) for pack in packs}
        orphans = [key for key in listed if key.endswith(_ROWS) and key not in packs_there]
        for key in orphans:
            self._objects.delete(key)
        progress(len(packs), len(packs))
        return Rebuilt(len(packs), same, made, differed, len(orphans), tuple(self._damage))

    def _list(self) -> tuple[set[str], list[str]]:
        """What there is, and the packs among it."""
        listed = {info.key for info in self._objects.list(keys.HOT)}
        return listed, sorted(key for key in listed if keys.parse_pack(key) is not None)

    def _fetch(self, pack: str) -> tuple[str, Head] | None:
        """The rows of a pack as a file of this machine; None where they are not what was written."""
        key = keys.rows(pack)
        data = self._objects.get(key, _MAX_BYTES)
        head = read(data, self._rows_mac)
        if head is None:
            return None
        return (os.path.join(self._folder, key) if self._folder is not None else self._keep(key, data)), head

    def _keep(self, key: str, data: bytes) -> str:
        path = os.path.join(self.scratch, key.replace("/", "-"))
        with open(path, "wb") as file:
            file.write(data)
        return path

    def _make(self, pack: str, *, instead: bool) -> tuple[str, Head] | None:
        """Make the rows of a pack and store them; those of one that is damaged are not stored.

        Args:
            pack: its key.
            instead: whether rows are there that are none, or of an older version.
        """
        key = keys.rows(pack)
        encoded = self._encode(pack)
        if encoded is None:
            return None
        if encoded.is_whole:
            try:
                if instead:
                    self._objects.delete(key)
                if self._objects.put_new(key, encoded.data) and self._folder is not None:
                    return os.path.join(self._folder, key), encoded.head
            except StoreRefused as error:  # whoever may only read still gets an answer
                self._unstored = f"rows could not be stored, and are made for every query: {error}"
        return self._keep(key, encoded.data), encoded.head

    def _encode(self, pack: str) -> _Encoded | None:
        """The rows of a pack; None where it is no pack of this store."""
        before = len(self._damage)
        try:
            reader = open_pack(self._objects, pack, self._mac)
        except StoreRefused:
            raise
        except (CorruptRecord, StoreError) as error:  # damaged, made with another key, or by a newer version
            self._damage.append(str(error))
            return None
        footer = reader.footer
        if footer.header.store_id != self._store_id:
            self._damage.append(f"{pack} belongs to store {footer.header.store_id.hex()}, not to this one")
            return None
        rows = rows_of_pack(reader, self._mac, self._maker, self._damage)
        data, head = parquet.encode(rows, self._maker.terms, self._rows_mac, replaces=footer.replaces)
        return _Encoded(data, head, len(self._damage) == before)
