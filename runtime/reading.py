"""What a store is asked for beyond SQL: its traces, and its upkeep."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread

from runtime import loader
from runtime.errors import RuntimeMisuse
from runtime.listing import Listed, facts_of, summary
from runtime.recording import Recording
from runtime.sql import Asked
from runtime.where import parse
from storage import portable
from storage.check import Report, check
from storage.merging import GRACE_SECONDS, Done, merge
from storage.sealing import Kept, Sealed, seal


class Reading(Asked):
    """The part of `Runtime` that reads its store and keeps it in order."""

    def load(self, trace_id: str) -> Recording:
        """As `open`."""
        store = self._reading()
        with store.snapshot():  # to find it and to read it take one listing
            return loader.load(store, store.resolve(trace_id))

    def open(self, trace_id: str) -> Recording:
        """A recorded trace, by its id or the start of it.

        Raises:
            InvalidId: the text is no id.
            TraceNotFound: the store does not hold it.
            AmbiguousTrace: several traces start like that.
            CorruptRecord: what is stored cannot be read.
        """
        return self.load(trace_id)

    async def aopen(self, trace_id: str) -> Recording:
        """As `open`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.load, trace_id)

    def list(self, where: str | None = None, limit: int | None = 50) -> Sequence[Listed]:
        """Recorded traces, newest first.

        Args:
            where: which, for instance `outcome.csat <= 2 and variant = 'B'`; also `agent`, `status`, `kind`, `duration_ms`.
            limit: at most so many.

        Raises:
            BadWhere: `where` is not of the grammar.
        """
        test = None if where is None else parse(where)
        store = self._reading()
        found: list[Listed] = []
        with store.snapshot():
            for trace in store.ids():
                if limit is not None and len(found) >= limit:
                    break
                line = summary(store, trace)
                if test is None or test(facts_of(line)):
                    found.append(line)
        return found

    async def alist(self, where: str | None = None, limit: int | None = 50) -> Sequence[Listed]:
        """As `list`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.list, where, limit))

    def export(self, trace_id: str, path: str | os.PathLike[str]) -> None:
        """Write one trace to a file of its own, NAME.recording: `Runtime("NAME.recording")` opens it, anywhere.

        It is a whole store with a key of its own. Its values are there as they were recorded; of a subject it tells nothing, so
        that `forget` does not reach it.

        Raises:
            TraceNotFound: the store does not hold the trace.
            StoreError: the trace is not whole, or the file cannot be written. What was there before stays.
            RuntimeMisuse: the name does not end in .recording.
        """
        if not portable.is_recording(path):
            raise RuntimeMisuse(f"{os.fspath(path)}: a trace is exported to a file whose name ends in {portable.SUFFIX}")
        portable.write(Path(path), portable.export(self.load(trace_id).stored))

    async def aexport(self, trace_id: str, path: str | os.PathLike[str]) -> None:
        """As `export`, in a worker thread."""
        await anyio.to_thread.run_sync(self.export, trace_id, path)

    def check(
        self, *, full: bool = False, quarantine: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Report:
        """Read every pack and every trace of the store and say what is damaged. Nothing is deleted.

        Args:
            full: also hash every value again.
            quarantine: mark damaged packs, so that no merge takes them. Without it, nothing is changed.
            progress: told how many packs and traces of how many are done.

        Raises:
            StoreError: the store cannot be read at all.
        """
        return check(self._reading(), full=full, quarantine=quarantine, progress=progress)

    async def acheck(
        self, *, full: bool = False, quarantine: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Report:
        """As `check`, in a worker thread."""
        call = functools.partial(self.check, full=full, quarantine=quarantine, progress=progress)
        return await anyio.to_thread.run_sync(call)

    def seal(self) -> tuple[Sequence[Sealed], Sequence[Kept]]:
        """Make packs of the record files of processes that have ended: a fraction of the size, and read alike.

        Returns:
            What became a pack, and what stays with the reason: files that are being written, and damaged ones.

        Raises:
            StoreError: there is no store.
            StoreUnavailable: it gave no answer; every trace is still where it was.
            OSError: the disk refused; as above.
        """
        return seal(self._reading())

    async def aseal(self) -> tuple[Sequence[Sealed], Sequence[Kept]]:
        """As `seal`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.seal)

    def merge(self, *, grace_seconds: float = GRACE_SECONDS, progress: Callable[[int, int], None] | None = None) -> Done:
        """Merge the small packs of every hour that is over; remove those that were replaced long enough ago.

        Any number of processes may do so at once, and end at any moment: nothing is lost, and nothing is seen twice.

        Args:
            grace_seconds: how long replaced packs stay.
            progress: told how many hours of how many are done.

        Raises:
            StoreError: there is no store.
            StoreUnavailable: it gave no answer; every trace is still there.
            ValueError: the grace is shorter than an upload may take.
        """
        return merge(self._reading(), grace_seconds=grace_seconds, progress=progress)

    async def amerge(self, *, grace_seconds: float = GRACE_SECONDS, progress: Callable[[int, int], None] | None = None) -> Done:
        """As `merge`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.merge, grace_seconds=grace_seconds, progress=progress))
