"""The packs of a store: which there are, and reading from them.

Nothing is kept in step with the store: what is there is listed when it is asked for, an hour at a time, and a pack that was
read stays in memory while there is room. A pack that another one replaces is passed over, though it is still there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from storage import keys
from storage.digest import Mac
from storage.errors import CorruptRecord
from storage.objects.contract import ObjectInfo, ObjectNotFound, ObjectStore, Viewable
from storage.pack.footer import Footer
from storage.pack.reader import PackReader, ReadRange, ReadTail, glance

MAX_HELD_BYTES: Final = 256 * 1024 * 1024
"""Of packs that were read, in memory."""
MAX_VIEWS: Final = 128
"""Of packs that are looked into: each holds a descriptor."""


class PackGone(Exception):
    """A pack was replaced, or removed, while it was read."""


class Packs:
    """Every pack of a store. Not for several threads at once.

    Args:
        objects: where they are.
        store_id: packs of any other store are left alone.
        mac: the store's digests.
    """

    def __init__(self, objects: ObjectStore, store_id: bytes, mac: Mac) -> None:
        self._objects, self._store_id, self._mac = objects, store_id, mac
        self._readers: OrderedDict[str, PackReader] = OrderedDict()
        self._glanced: OrderedDict[str, Footer] = OrderedDict()
        self._views = objects if isinstance(objects, Viewable) else None
        self._listed: dict[str, list[ObjectInfo]] | None = None
        self._listed_hours: dict[str, list[ObjectInfo]] = {}
        self._snapshots = 0

    def snapshot(self, *, begin: bool) -> None:
        """Begin or end to go by one listing."""
        self._snapshots += 1 if begin else -1
        self.relist()

    def relist(self) -> None:
        """Forget what was listed."""
        self._listed = None
        self._listed_hours.clear()

    def hours(self) -> dict[str, list[ObjectInfo]]:
        """The packs of each hour, newest hour first, those that are replaced among them."""
        if self._listed is not None:
            return self._listed
        found = dict(sorted(by_hour(self._objects).items(), reverse=True))
        self._forget(info.key for infos in found.values() for info in infos)
        if self._snapshots:
            self._listed = found
        return found

    def listed(self, hour: str) -> list[ObjectInfo]:
        """The packs of an hour, those that are replaced among them."""
        if self._listed is not None:
            return self._listed.get(hour, [])
        known = self._listed_hours.get(hour)
        if known is not None:
            return known
        found = [info for info in self._objects.list(keys.hour_prefix(hour)) if keys.parse_pack(info.key) is not None]
        if self._snapshots:
            self._listed_hours[hour] = found
        return found

    def footers(self, infos: Iterable[ObjectInfo], damage: list[str]) -> dict[str, Footer]:
        """The footer of each pack that no other of them replaces.

        A footer may have been read without comparing its digest: what it says is where to look, and `reader` compares.

        Args:
            infos: the packs, all of an hour.
            damage: what is wrong with packs that cannot be read is added to it.

        Raises:
            PackGone: one of them is there no more.
            StoreUnavailable: the store gave no answer.
        """
        found: dict[str, Footer] = {}
        for info in infos:
            try:
                found[info.key] = self._footer(info.key)
            except CorruptRecord as error:
                damage.append(str(error))
                continue
            if found[info.key].header.store_id != self._store_id:
                damage.append(f"{info.key} belongs to store {found.pop(info.key).header.store_id.hex()}, not to this one")
        replaced = {key for footer in found.values() for key in footer.replaces}
        return {key: footer for key, footer in found.items() if key not in replaced}

    def reader(self, key: str) -> PackReader:
        """A pack, its footer compared with its digest.

        Raises:
            CorruptPack: its beginning or its end is not that of a pack.
            StoreError: it is of a newer major version, or was made with another key.
            PackGone: it is there no more.
            StoreUnavailable: the store gave no answer.
        """
        known = self._readers.get(key)
        if known is not None:
            self._readers.move_to_end(key)
            return known
        made = open_pack(self._objects, key, self._mac)
        self._readers[key] = made
        held = sum(reader.held for reader in self._readers.values())
        while held > MAX_HELD_BYTES and len(self._readers) > 1:
            _, oldest = self._readers.popitem(last=False)
            held -= oldest.held
        return made

    def _footer(self, key: str) -> Footer:
        known = self._readers.get(key)
        if known is not None:
            return known.footer
        if self._views is None:
            return self.reader(key).footer
        seen = self._glanced.get(key)
        if seen is None:
            try:
                seen = glance(self._views.view(key), key)
            except ObjectNotFound as error:
                raise PackGone(key) from error
            self._glanced[key] = seen
            if len(self._glanced) > MAX_VIEWS:
                self._glanced.popitem(last=False)
        return seen

    def _forget(self, there: Iterable[str]) -> None:
        """What was read of any other pack is worth nothing any more."""
        left = set(there)
        for known in (self._readers, self._glanced):
            for key in known.keys() - left:
                del known[key]


def by_hour(objects: ObjectStore) -> dict[str, list[ObjectInfo]]:
    """The packs of each hour, those that are replaced among them."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in objects.list(keys.HOT):
        named = keys.parse_pack(info.key)
        if named is not None:
            found.setdefault(named.hour, []).append(info)
    return found


def reads(objects: ObjectStore, key: str) -> tuple[ReadTail, ReadRange]:
    """How a pack in a store is read. Both raise `PackGone` where it is there no more."""

    def span(offset: int, length: int) -> bytes:
        try:
            return objects.get_range(key, offset, length)
        except ObjectNotFound as error:
            raise PackGone(key) from error

    def tail(count: int) -> tuple[bytes, int]:
        try:
            return objects.get_tail(key, count)
        except ObjectNotFound as error:
            raise PackGone(key) from error

    return tail, span


def open_pack(objects: ObjectStore, key: str, mac: Mac) -> PackReader:
    """A reader of a pack in a store. Raises what `Packs.reader` does."""
    return PackReader(*reads(objects, key), mac=mac, name=key)


def otel_matches(footer: Footer, otel: bytes) -> Iterator[bytes]:
    """The traces of a pack that OpenTelemetry knows by an id."""
    for entry in footer.find_otel(otel):
        if entry < footer.counts.parts:
            yield footer.part(entry).trace
