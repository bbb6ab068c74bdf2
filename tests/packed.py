"""Packs of what a store has in its record files, laid down without the sealing under test elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import runtime
from runtime.sql import terms
from storage import frames, keys
from storage.ids import NO_TRACE
from storage.objects.contract import ObjectStore
from storage.objects.folder import FolderObjectStore
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.packs import open_pack
from storage.records import Kind
from storage.rows.beside import RowStore
from storage.rows.trace import RowMaker
from storage.store import Store
from tests.left_behind import leave

Choose = Callable[[frames.Frame], int]


def pack_up(folder: Path, choose: Choose = lambda _: 0, *, copies: int = 1, replaces: Sequence[str] = ()) -> list[str]:
    """Turn the record files of a store into packs: their keys.

    Args:
        folder: of the store.
        choose: which pack a record comes into.
        copies: how many packs of the same records.
        replaces: packs that each of these stands for.
    """
    store = store_of(folder)
    objects = FolderObjectStore(folder)
    made: list[str] = []
    for file in sorted((folder / "log").iterdir()):
        data, writer_id = file.read_bytes(), bytes.fromhex(file.name[:16])
        found = [
            one
            for one in frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES)
            if isinstance(one, frames.Frame)
        ]
        own = [one for one in found if one.trace != NO_TRACE]
        for place in sorted(set(map(choose, own))):
            for _ in range(copies):
                writer = PackWriter(store.id, writer_id, store.mac, replaces=replaces)
                for one in found:
                    if one.trace == NO_TRACE and one.kind == Kind.VALUE:
                        writer.share(one.body[:16], one.body[16:])
                for one in own:
                    if choose(one) == place:
                        writer.add([one])
                key = keys.pack(keys.hour_of(own[0].trace), writer_id, len(list(folder.glob("hot/*/*.pack"))))
                assert objects.put_new(key, writer.build())
                made.append(key)
        file.unlink()
    return made


@contextlib.contextmanager
def killed(folder: Path) -> Generator[runtime.Runtime]:
    """A runtime that records and is killed at the end: it leaves record files, and no packs."""
    made = runtime.Runtime(folder)
    yield made
    leave(made)


def store_of(folder: Path) -> Store:
    """The store in a folder."""
    return runtime.Runtime(folder)._reading()


def reader_of(objects: ObjectStore, key: str, folder: Path) -> PackReader:
    """A reader of a pack of the store in a folder."""
    return open_pack(objects, key, store_of(folder).mac)


def beside(folder: Path, objects: ObjectStore) -> RowStore:
    """The rows of packs that were copied from the store in a folder to other objects."""
    store = store_of(folder)
    return RowStore(objects, store.id, store.mac, RowMaker(terms()))
