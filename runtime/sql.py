"""SQL over the rows of a runtime's store: the names that they are told in, and where they are."""

from __future__ import annotations

import abc
import functools

import anyio.to_thread

from runtime import vocabulary
from runtime.failure import STATUS
from runtime.scope import call_address
from storage.objects.folder import FolderObjectStore
from storage.rows.beside import Progress, Rebuilt, RowStore
from storage.rows.columns import Terms
from storage.rows.loose import loose_traces
from storage.rows.sql import Answer, answer
from storage.rows.trace import RowMaker
from storage.store import Store


def terms() -> Terms:
    """What rows are told in."""
    return Terms(STATUS, vocabulary.COLUMNS, call_address)


def _ignore(done: int, every: int, /) -> None:
    """Progress that nobody watches."""


class Asked(abc.ABC):
    """The part of `Runtime` that answers SQL."""

    @abc.abstractmethod
    def _reading(self) -> Store:
        """The store, with everything in it that was recorded."""

    def query(self, select: str, *, progress: Progress = _ignore) -> Answer:
        """Ask every trace in SQL: the views `traces`, `spans` and `effects`. Rows that packs lack are made and stored first.

        Args:
            select: one SELECT, as DuckDB has it.
            progress: told of how many packs how many have their rows, while they are made.

        Raises:
            BadQuery: it is not one SELECT, or cannot be answered.
            StoreError: there is no store, or its rows were made by a newer version.
        """
        store, maker = self._reading(), RowMaker(terms())
        loose = loose_traces(store.log_folder)
        load = functools.partial(store.load, vectors=False)
        with store.snapshot(), _beside(store, maker) as rows:
            return answer(select, rows, maker, loose=loose, load=load, progress=progress)

    async def aquery(self, select: str, *, progress: Progress = _ignore) -> Answer:
        """As `query`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.query, select, progress=progress))

    def reindex(self, *, progress: Progress = _ignore) -> Rebuilt:
        """Make the rows of every pack anew, and say how many were as they should be.

        Args:
            progress: told how many packs of how many are done.

        Raises:
            StoreError: there is no store, or it may not be written to.
        """
        store = self._reading()
        with _beside(store, RowMaker(terms())) as rows:
            return rows.rebuild(progress)

    async def areindex(self, *, progress: Progress = _ignore) -> Rebuilt:
        """As `reindex`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.reindex, progress=progress))


def _beside(store: Store, maker: RowMaker) -> RowStore:
    folder = store.place if isinstance(store.objects, FolderObjectStore) else None
    return RowStore(store.objects, store.id, store.mac, maker, folder=folder)
