"""The packs of a store in a folder: which there are, and reading from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from storage.digest import Mac
from storage.errors import CorruptRecord
from storage.pack.errors import CorruptPack
from storage.pack.layout import HEADER_BYTES, unpack_header
from storage.pack.reader import PackReader

SUFFIX: Final = ".pack"


class Packs:
    """Every pack below a folder. Not for several threads at once.

    Args:
        folder: the store's `hot` folder; it need not exist.
        store_id: packs of any other store are left alone.
        mac: the store's digests.
    """

    def __init__(self, folder: str, store_id: bytes, mac: Mac) -> None:
        self._folder, self._store_id, self._mac = folder, store_id, mac
        self.readers: dict[str, PackReader] = {}
        self.damage: dict[str, str] = {}
        """What is wrong with packs that cannot be read at all."""

    def refresh(self) -> bool:
        """Take in packs that are new: whether one that was known is gone."""
        found = dict(self._scan())
        gone = [name for name in (*self.readers, *self.damage) if name not in found]
        for name in gone:
            self.readers.pop(name, None)
            self.damage.pop(name, None)
        for name, path in found.items():
            if name not in self.readers and name not in self.damage:
                self._open(name, path)
        return bool(gone)

    def shared(self, digest: bytes) -> bytes | None:
        """The stored bytes of a value that belongs to no trace."""
        for reader in reversed(self.readers.values()):
            try:
                data = reader.shared(digest)
            except CorruptRecord:  # another pack may have it whole; loading a trace of this one says what is wrong
                continue
            if data is not None:
                return data
        return None

    def _scan(self) -> Iterator[tuple[str, str]]:
        try:
            hours = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return
        for hour in hours:
            try:
                names = sorted(os.listdir(os.path.join(self._folder, hour)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                if name.endswith(SUFFIX) and not name.startswith("."):
                    yield f"hot/{hour}/{name}", os.path.join(self._folder, hour, name)

    def _open(self, name: str, path: str) -> None:
        try:
            reader = read_file(path, self._mac, name)
        except (CorruptRecord, OSError) as error:
            self.damage[name] = str(error)
            return
        if reader.footer.header.store_id != self._store_id:
            self.damage[name] = f"{name} belongs to store {reader.footer.header.store_id.hex()}, not to this one"
            return
        self.readers[name] = reader


def read_file(path: str, mac: Mac, name: str) -> PackReader:
    """A reader of a pack on disk.

    Raises:
        CorruptPack: its beginning or its end is not that of a pack.
        StoreError: it is of a newer major version, or was made with another key.
        OSError: it cannot be read.
    """

    def tail(count: int) -> tuple[bytes, int]:
        size = os.stat(path).st_size
        return span(max(0, size - count), min(count, size)), size

    def span(offset: int, length: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    try:
        unpack_header(span(0, HEADER_BYTES))
    except CorruptRecord as error:
        raise CorruptPack(name, "header", 0, str(error)) from error
    return PackReader(tail, span, mac=mac, name=name)
