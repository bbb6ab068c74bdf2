"""What is in the record files of this machine: one pass over them, taken up again where the last one ended."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from storage import frames
from storage.errors import CorruptRecord, StoreError
from storage.ids import NO_TRACE
from storage.records import Header, Kind, decode

_SUFFIX: Final = ".log"
_GUESS_BYTES: Final = 4096


class FileState:
    """How far a file was read, and what is wrong with it."""

    __slots__ = ("damage", "foreign", "reached", "size")

    def __init__(self) -> None:
        self.reached = self.size = 0
        self.damage: list[str] = []
        self.foreign = False


class TraceEntry:
    """Where the records of a trace are."""

    __slots__ = ("otel", "places", "wall")

    def __init__(self) -> None:
        self.places: dict[str, array[int]] = {}
        self.wall = 0
        self.otel: str | None = None


class FileGone(Exception):
    """A record file was sealed, or removed, while it was read."""


class RecordFiles:
    """The record files of one store. Not for several threads at once.

    Args:
        folder: where they are; it need not exist.
        store_id: files of any other store are left alone.
    """

    def __init__(self, folder: str, store_id: bytes) -> None:
        self._folder, self._store_id = folder, store_id
        self.files: dict[str, FileState] = {}
        self.traces: dict[bytes, TraceEntry] = {}
        self._shared: dict[bytes, tuple[str, int]] = {}

    def refresh(self) -> bool:
        """Read what was appended since.

        Returns:
            Whether files went away: what was in them is in packs that may not have been listed yet.

        Raises:
            StoreError: a file of a newer major version.
        """
        found = self._sizes()
        gone = any(name not in found or found[name] < state.size for name, state in self.files.items())
        if gone:
            # Files went away or were cut under this reader: what it knows of them is worth nothing.
            self.files.clear()
            self.traces.clear()
            self._shared.clear()
        for name, size in found.items():
            state = self.files.setdefault(name, FileState())
            if size > state.size and not self._read(name, state):
                gone = True
        return gone

    @property
    def damage(self) -> list[str]:
        """What is wrong with the files, whichever traces that reaches."""
        return [text for state in self.files.values() for text in state.damage]

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        try:
            with os.scandir(self._folder) as listed:
                for entry in sorted(listed, key=lambda one: one.name):
                    if entry.name.endswith(_SUFFIX):
                        with contextlib.suppress(FileNotFoundError):  # sealed since it was listed; the others are there
                            sizes[entry.name] = entry.stat().st_size
        except FileNotFoundError:
            return sizes
        return sizes

    def _read(self, name: str, state: FileState) -> bool:
        """Whether the file is there."""
        if state.foreign:
            return True
        try:
            with open(os.path.join(self._folder, name), "rb") as file:
                file.seek(state.reached)
                data = file.read()
        except FileNotFoundError:  # sealed since it was listed
            return False
        base = state.reached
        state.size = base + len(data)
        if base == 0:
            if len(data) < frames.FILE_HEADER_BYTES or not self._begin(name, state, data):
                return True
            data, base = data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES
            state.reached = base
        for one in frames.scan(data, base):
            if isinstance(one, frames.Gap):
                state.damage.append(f"{name} is damaged at offset {one.offset}: {one.end - one.offset} bytes are lost")
            else:
                self._note(name, one)
            state.reached = one.end
        return True

    def _begin(self, name: str, state: FileState, data: bytes) -> bool:
        """Whether the frames of a file are this store's."""
        try:
            header = frames.unpack_file_header(data)
        except StoreError as error:
            raise StoreError(f"{name} cannot be read: {error}") from None
        if header is None:
            state.damage.append(f"{name} is damaged at offset 0: its header is not whole")
            return True
        state.foreign = header.store_id != self._store_id
        if state.foreign:
            state.damage.append(f"{name} belongs to store {header.store_id.hex()}, not to this one")
        return not state.foreign

    def _note(self, name: str, frame: frames.Frame) -> None:
        if frame.trace == NO_TRACE:
            if frame.kind == Kind.VALUE:
                self._shared.setdefault(frame.body[:16], (name, frame.offset))
            return
        entry = self.traces.get(frame.trace)
        if entry is None:
            entry = self.traces[frame.trace] = TraceEntry()
        places = entry.places.get(name)
        if places is None:
            places = entry.places[name] = array("Q")
        places.append(frame.offset)
        if frame.kind == Kind.HEADER:
            try:
                header = decode(frame.kind, frame.body)
            except (TypeError, CorruptRecord):  # loading the trace says so
                return
            if isinstance(header, Header):
                entry.wall = header.wall
                entry.otel = header.otel[0] if header.otel is not None else None

    def frames_of(self, entry: TraceEntry) -> Iterator[tuple[str, int, frames.Frame | str]]:
        """(file, offset, frame) of every record of a trace; what is wrong, in words, for one that cannot be read.

        Raises:
            FileGone: a record file is there no more.
        """
        for name, places in entry.places.items():
            for offset, frame in self._fetch(name, places):
                yield name, offset, frame or f"{name} at offset {offset}: a record is there no more"

    def shared(self, digest: bytes) -> bytes | None:
        """The stored bytes of a value that belongs to files, not checked against the digest."""
        place = self._shared.get(digest)
        if place is None:
            return None
        for _, frame in self._fetch(place[0], [place[1]]):
            return None if frame is None else frame.body[16:]
        return None

    def _fetch(self, name: str, offsets: Iterable[int]) -> Iterator[tuple[int, frames.Frame | None]]:
        try:
            descriptor = os.open(os.path.join(self._folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise FileGone(name) from error
        try:
            for offset in offsets:
                yield offset, _fetch_one(descriptor, offset)
        finally:
            os.close(descriptor)


def _fetch_one(descriptor: int, offset: int) -> frames.Frame | None:
    data = os.pread(descriptor, _GUESS_BYTES, offset)
    if len(data) < frames.FRAME_HEADER_BYTES:
        return None
    missing = frames.FRAME_HEADER_BYTES + frames.body_length(data) - len(data)
    if missing > frames.MAX_BODY_BYTES:
        return None
    if missing > 0:
        data += os.pread(descriptor, missing, offset + len(data))
    return frames.unpack_frame(memoryview(data), 0, offset)
