"""A store: which traces it holds, and reading them (docs/format.md).

A trace is in record files of this machine, in packs under the hour of its id, or in both, which is the same to a reader. Record
files are looked at first and packs after, so that one which is sealed meanwhile is found.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, TypeVar

from storage import founding, keys
from storage.digest import Mac
from storage.errors import AmbiguousTrace, CorruptRecord, StoreError, TraceNotFound
from storage.fork_lock import ForkLock
from storage.frames import Frame
from storage.ids import check_trace_prefix, trace_seconds
from storage.objects.contract import ObjectInfo, ObjectStore
from storage.objects.probe import ask_again
from storage.pack.footer import Footer
from storage.pack.reader import PackReader
from storage.packs import PackGone, Packs, otel_matches
from storage.record_files import FileGone, RecordFiles
from storage.stored import Found, Stored

T = TypeVar("T")

_SHOWN: Final = 5
_LOOKS: Final = 5
"""A record file that is sealed while it is read is a pack at the next look, and packs that are merged are another one."""
_FULL_DIGITS: Final = 32


class Store:
    """A store. Made by `storage.opening.open_store`; its methods may be called from any thread, and block.

    Args:
        place: what it is called in errors: the folder, or the URL of the bucket.
        objects: where its packs are.
        identity: who it is.
        mac: its digests.
        log_folder: where this machine's record files of it are.
        asked: whether it was asked who it is, and whether it keeps what is written.
    """

    def __init__(
        self, place: str, objects: ObjectStore, identity: founding.Identity, mac: Mac, log_folder: str, *, asked: bool = True
    ) -> None:
        self.place, self.objects, self.id, self.mac, self.log_folder = place, objects, identity.id, mac, log_folder
        self._asked = asked
        self._lock = ForkLock()
        self.after_fork()
        _open.add(self)

    def after_fork(self) -> None:
        """Start afresh in a child: a thread of the parent may have been half through what is known of files and packs."""
        self._packs = Packs(self.objects, self.id, self.mac)
        self._files = RecordFiles(self.log_folder, self.id)

    def ask(self) -> None:
        """Ask a store that gave no answer when it was opened what it was not asked then. Before anything is put there.

        Raises:
            StoreError: it is another one, or not to be trusted.
            StoreUnavailable: it still gives none.
        """
        if self._asked:
            return
        there = founding.read(self.objects, self.place)
        if there is None or there.id != self.id:
            raise StoreError(f"the store at {self.place} is not the one that it was: {self.id.hex()}")
        there.check(self.mac, "the key in use", self.place)
        ask_again(self.objects)
        self._asked = True

    def close(self) -> None:
        """Give back its connections."""
        self.objects.close()

    def refresh(self) -> None:
        """Take in what was recorded on this machine since. The other methods do so by themselves.

        Raises:
            StoreError: a record file was written by a newer major version.
        """
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        if self._files.refresh():
            self._packs.relist()

    @contextlib.contextmanager
    def snapshot(self) -> Generator[None]:
        """While much is read: packs are listed once, and again only where a record file of this machine went away meanwhile."""
        with self._lock:
            self._packs.snapshot(begin=True)
        try:
            yield
        finally:
            with self._lock:
                self._packs.snapshot(begin=False)

    @property
    def count(self) -> int:
        """How many traces there are."""
        return len(set(self.ids()))

    @property
    def damage(self) -> list[str]:
        """What is wrong with its record files and packs, whichever traces that reaches. Reads the end of every pack."""
        with self._lock:
            self._refresh()
            return [*self._files.damage, *self._unreadable()]

    def ids(self) -> Iterator[bytes]:
        """The traces, newest first, an hour at a time."""
        with self._lock:
            self._refresh()
            hours = self._looking(self._packs.hours)
            of_files: dict[str, set[bytes]] = {}
            for trace in self._files.traces:
                of_files.setdefault(keys.hour_of(trace), set()).add(trace)
        for hour in sorted({*hours, *of_files}, reverse=True):
            with self._lock:
                walls = self._looking(functools.partial(self._walls, hour))
            walls.update((trace, 0) for trace in of_files.get(hour, ()) if trace not in walls)
            yield from sorted(walls, key=lambda one: (trace_seconds(one), walls[one] or self._wall(one), one), reverse=True)

    def _walls(self, hour: str) -> dict[bytes, int]:
        """The traces of an hour's packs, and when each began."""
        found: dict[bytes, int] = {}
        for footer in self._packs.footers(self._packs.listed(hour), []).values():
            for part in footer.parts():
                found[part.trace] = found.get(part.trace) or part.began
        return found

    def _wall(self, trace: bytes) -> int:
        entry = self._files.traces.get(trace)
        return 0 if entry is None else entry.wall

    def packs(self) -> list[str]:
        """The keys of all packs, newest hour first, those that are replaced and still there among them."""
        with self._lock:
            return [info.key for infos in self._looking(self._packs.hours).values() for info in infos]

    def resolve(self, prefix: str) -> bytes:
        """The trace of a printed id or the start of one, or of the whole id that OpenTelemetry knows it by.

        Raises:
            InvalidId: the text is no trace id.
            TraceNotFound: there is none.
            AmbiguousTrace: there are several.
            CorruptRecord: there is none among what can be read, and not all of the store can.
        """
        wanted = check_trace_prefix(prefix)
        with self._lock:
            self._refresh()
            return self._looking(functools.partial(self._resolve, wanted))

    def _resolve(self, wanted: str) -> bytes:
        whole = bytes.fromhex(wanted) if len(wanted) == _FULL_DIGITS else None
        damage: list[str] = []
        if whole is not None and (whole in self._files.traces or self._holders(whole, damage)):
            return whole
        found = {one for one in self._files.traces if one.hex().startswith(wanted)}
        otel = {one for one, entry in self._files.traces.items() if whole is not None and entry.otel == wanted}
        for footer in self._footers(damage):
            found.update(footer.find(wanted))
            if whole is not None:
                otel.update(otel_matches(footer, whole))
        found = found or otel
        if not found:
            raise self._absent(wanted, damage)
        if len(found) > 1:
            newest = sorted(found, key=lambda one: (trace_seconds(one), self._wall(one), one), reverse=True)
            raise AmbiguousTrace(wanted, [one.hex() for one in newest[:_SHOWN]], len(found))
        return found.pop()

    def load(self, trace_id: bytes, *, vectors: bool = True) -> Stored:
        """Read a trace.

        Args:
            trace_id: which.
            vectors: read its vectors too; otherwise each is read when it is asked for.

        Raises:
            TraceNotFound: it is not here.
            CorruptRecord: it has no header, so there is nothing to read it by; or it is not among what can be read.
            StoreUnavailable: the store gave no answer.
        """
        with self._lock:
            return self._looking(functools.partial(self._load, trace_id, vectors=vectors))

    def _load(self, trace: bytes, *, vectors: bool) -> Stored:
        self._refresh()
        entry = self._files.traces.get(trace)
        damage: list[str] = []
        readers = self._holders(trace, damage)
        if entry is None and not readers:
            raise self._absent(trace.hex(), damage)
        places = () if entry is None else entry.places
        damage += (text for name in places for text in self._files.files[name].damage)

        def records() -> Iterator[tuple[str, int, Frame | str]]:
            if entry is not None:
                yield from self._files.frames_of(entry)
            for reader in readers:
                try:
                    found = reader.frames(trace, vectors=vectors)
                except CorruptRecord as error:
                    yield reader.name, 0, str(error)
                else:
                    yield from ((reader.name, frame.offset, frame) for frame in found)

        def shared(digest: bytes) -> bytes | None:
            for reader in readers:
                with contextlib.suppress(CorruptRecord):  # another may have it whole; what is wrong here, its records tell
                    if (data := reader.shared(digest)) is not None:
                        return data
            return self._files.shared(digest)

        return Stored(trace, Found(records(), len(places) + len(readers), damage, shared), self.mac, self.load)

    def _holders(self, trace: bytes, damage: list[str]) -> list[PackReader]:
        """The packs that hold records of a trace: those of its hour, and where these hold none, any."""
        found = self._held(self._packs.listed(keys.hour_of(trace)), trace, damage)
        if found or trace in self._files.traces:
            return found
        return [one for infos in self._packs.hours().values() for one in self._held(infos, trace, damage)]

    def _held(self, infos: Sequence[ObjectInfo], trace: bytes, damage: list[str]) -> list[PackReader]:
        found: list[PackReader] = []
        for key, footer in self._packs.footers(infos, damage).items():
            if footer.parts_of(trace):
                try:
                    found.append(self._packs.reader(key))
                except CorruptRecord as error:
                    damage.append(str(error))
        return found

    def _footers(self, damage: list[str]) -> Iterator[Footer]:
        for infos in self._packs.hours().values():
            yield from self._packs.footers(infos, damage).values()

    def _unreadable(self) -> list[str]:
        """What is wrong with packs that cannot be read: each footer is compared with its digest."""
        damage: list[str] = []
        for infos in self._looking(self._packs.hours).values():
            for info in infos:
                try:
                    self._packs.footers([info], damage)
                    self._packs.reader(info.key)
                except CorruptRecord as error:
                    damage.append(str(error))
                except PackGone:
                    continue
        return list(dict.fromkeys(damage))

    def _absent(self, wanted: str, damage: Sequence[str]) -> CorruptRecord | TraceNotFound:
        """Why there is no such trace: what is absent and what cannot be read, though it can by now, are two things."""
        damage = list(dict.fromkeys([*self._files.damage, *damage, *self._unreadable()]))
        if damage:
            more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
            return CorruptRecord(
                f"no trace {wanted} among what can be read of {self.place}, and not all of it can: {damage[0]}{more}. "
                "`kitchenlog check` tells all"
            )
        return TraceNotFound(wanted, self.place, self.count)

    def _looking(self, look: Callable[[], T]) -> T:
        """What looking finds; again where a file or a pack went away meanwhile: what was in it is elsewhere by now."""
        for _ in range(_LOOKS):
            try:
                return look()
            except (FileGone, PackGone):
                self._packs.relist()
                self._files.refresh()
        raise CorruptRecord(f"files and packs of {self.place} went away as often as they were looked for")


_open: Final[weakref.WeakSet[Store]] = weakref.WeakSet()


def _after_fork() -> None:
    for store in tuple(_open):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork)
