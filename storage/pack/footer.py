"""The footer of a pack: what it holds and where (docs/pack.md, section 6)."""

from __future__ import annotations

import bisect
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from storage.errors import CorruptRecord
from storage.ids import TRACE_BYTES, check_trace_prefix
from storage.pack.layout import LARGE, OTEL, PART, SECTION, Header, Large, Part, Section
from storage.view import View

MAX_FOOTER_BYTES: Final = 64 * 1024 * 1024
_HEAD: Final = struct.Struct("<6HI16s8s8s6I3Q")
HEAD_BYTES: Final = _HEAD.size + SECTION.size
_NAME_LENGTH: Final = struct.Struct("<H")
_MAX_NAME: Final = 200
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")


class Contents(NamedTuple):
    """All that a footer says."""

    header: Header
    parts: Sequence[Part]
    """Sorted by trace id and number."""
    blocks: Sequence[Section]
    large: Sequence[Large]
    """Sorted by digest and scope."""
    otel: Sequence[tuple[bytes, int]]
    """OpenTelemetry trace ids and which entry of `parts` each names, sorted."""
    replaces: Sequence[str]
    shared: Section
    frames: int


class Counts(NamedTuple):
    """What a pack holds, in numbers. Times are unix nanoseconds."""

    parts: int
    traces: int
    blocks: int
    large: int
    otel: int
    replaces: int
    frames: int
    oldest: int
    newest: int


def check_name(name: str) -> str:
    """The key of a pack, relative to its store.

    Raises:
        ValueError: it is none.
    """
    if len(name) > _MAX_NAME or not _NAME.match(name):
        raise ValueError(f"{name!r} is no key of a pack")
    return name


def encode(contents: Contents) -> bytes:
    """The bytes of a footer."""
    header, parts = contents.header, contents.parts
    head = _HEAD.pack(
        HEAD_BYTES, PART.size, SECTION.size, LARGE.size, OTEL.size, 0,
        header.features, header.store_id, header.writer_id, header.key_id,
        len(parts), sum(not part.number for part in parts), len(contents.blocks), len(contents.large),
        len(contents.otel), len(contents.replaces), contents.frames,
        min((part.began for part in parts), default=0), max((part.ended for part in parts), default=0),
    )  # fmt: skip
    names = [check_name(name).encode("ascii") for name in contents.replaces]
    return b"".join((
        head,
        SECTION.pack(*contents.shared),
        *(PART.pack(*part) for part in parts),
        *(SECTION.pack(*block) for block in contents.blocks),
        *(LARGE.pack(*large) for large in contents.large),
        *(OTEL.pack(*pair) for pair in contents.otel),
        *(_NAME_LENGTH.pack(len(name)) + name for name in names),
    ))  # fmt: skip


class Footer:
    """A footer that was read. Entries are decoded as they are asked for.

    Args:
        data: its bytes, which may be read as they are looked at.
        minor: the pack's minor version, which the footer does not repeat.

    Raises:
        CorruptRecord: its tables do not fit it.
    """

    header: Header
    counts: Counts
    shared: Section
    replaces: tuple[str, ...]
    end: int
    """How many of its bytes the tables of this version take."""

    def __init__(self, data: View, minor: int) -> None:
        if len(data) < HEAD_BYTES:
            raise CorruptRecord(f"it has {len(data)} bytes and its head alone has {HEAD_BYTES}")
        fields = _HEAD.unpack(data[: _HEAD.size])
        head_bytes, *widths, _, features, store_id, writer_id, key_id = fields[:10]
        self._data = data
        self.header = Header(minor, store_id, writer_id, key_id, features)
        self.counts = Counts(*fields[10:])
        self.shared = Section(*SECTION.unpack(data[_HEAD.size : HEAD_BYTES]))
        least = (HEAD_BYTES, PART.size, SECTION.size, LARGE.size, OTEL.size)
        if any(width < known for width, known in zip((head_bytes, *widths), least, strict=True)):
            raise CorruptRecord("its entries are shorter than those of version 1")
        self._part_width, self._block_width, self._large_width, self._otel_width = widths
        self._parts_at = head_bytes
        self._blocks_at = self._parts_at + self.counts.parts * self._part_width
        self._large_at = self._blocks_at + self.counts.blocks * self._block_width
        self._otel_at = self._large_at + self.counts.large * self._large_width
        names_at = self._otel_at + self.counts.otel * self._otel_width
        if names_at > len(data):
            raise CorruptRecord(f"it has {len(data):,} bytes and its tables {names_at:,}")
        self.replaces, self.end = self._names(names_at)

    def _names(self, at: int) -> tuple[tuple[str, ...], int]:
        names: list[str] = []
        for _ in range(self.counts.replaces):
            try:
                (length,) = _NAME_LENGTH.unpack(self._data[at : at + 2])
                names.append(check_name(self._data[at + 2 : at + 2 + length].decode("ascii")))
            except (struct.error, ValueError) as error:
                raise CorruptRecord(f"the keys of replaced packs cannot be read: {error}") from None
            at += 2 + length
        return tuple(names), at

    # traces

    def part(self, number: int) -> Part:
        """An entry of the trace table."""
        return Part(*self._entry(PART, self._parts_at + number * self._part_width))

    def parts(self) -> Iterator[Part]:
        """The trace table, read at once."""
        table = self._data[self._parts_at : self._blocks_at]
        if len(table) != self._blocks_at - self._parts_at:
            raise CorruptRecord("its tables end before they are read")
        return (Part(*PART.unpack_from(table, at)) for at in range(0, len(table), self._part_width))

    def parts_of(self, trace: bytes) -> list[Part]:
        """The parts of a trace, in order; none where it is not here."""
        found: list[Part] = []
        for number in range(self._bisect(trace), self.counts.parts):
            if self._trace(number) != trace:
                break
            found.append(self.part(number))
        return found

    def ids(self) -> Iterator[bytes]:
        """The traces, by id."""
        last = None
        for number in range(self.counts.parts):
            if (trace := self._trace(number)) != last:
                yield trace
            last = trace

    def find(self, prefix: str) -> list[bytes]:
        """The traces whose printed id begins with these hexadecimal digits, by id.

        Raises:
            InvalidId: they are not 1 to 32 of them.
        """
        wanted = check_trace_prefix(prefix)
        found: list[bytes] = []
        for number in range(self._bisect(bytes.fromhex(wanted.ljust(2 * TRACE_BYTES, "0"))), self.counts.parts):
            trace = self._trace(number)
            if not trace.hex().startswith(wanted):
                break
            if not found or found[-1] != trace:
                found.append(trace)
        return found

    def _trace(self, number: int) -> bytes:
        at = self._parts_at + number * self._part_width
        return self._data[at : at + TRACE_BYTES]

    def _bisect(self, trace: bytes) -> int:
        return bisect.bisect_left(range(self.counts.parts), trace, key=self._trace)

    # sections

    def block(self, number: int) -> Section:
        """An entry of the block table.

        Raises:
            CorruptRecord: there is no such block.
        """
        if number >= self.counts.blocks:
            raise CorruptRecord(f"a trace is in block {number} of {self.counts.blocks}")
        return Section(*self._entry(SECTION, self._blocks_at + number * self._block_width))

    def large(self, number: int) -> Large:
        """An entry of the table of large values."""
        return Large(*self._entry(LARGE, self._large_at + number * self._large_width))

    def larges(self) -> Iterator[Large]:
        """The table of large values."""
        return map(self.large, range(self.counts.large))

    def find_large(self, digest: bytes, scope: bytes) -> Large | None:
        """Where a large value is."""
        low, high = 0, self.counts.large
        while low < high:
            middle = (low + high) // 2
            entry = self.large(middle)
            if entry[:2] == (digest, scope):
                return entry
            if entry[:2] < (digest, scope):
                low = middle + 1
            else:
                high = middle
        return None

    def otel(self) -> Iterator[tuple[bytes, int]]:
        """(OpenTelemetry trace id, entry of the trace table), by id."""
        return map(self._otel, range(self.counts.otel))

    def find_otel(self, otel: bytes) -> Iterator[int]:
        """The entries of the trace table that OpenTelemetry knows by an id."""
        numbers = range(self.counts.otel)
        for number in numbers[bisect.bisect_left(numbers, otel, key=lambda number: self._otel(number)[0]) :]:
            found, entry = self._otel(number)
            if found != otel:
                return
            yield entry

    def _otel(self, number: int) -> tuple[bytes, int]:
        otel, entry = self._entry(OTEL, self._otel_at + number * self._otel_width)
        return otel, entry

    def _entry(self, layout: struct.Struct, at: int) -> tuple[Any, ...]:
        try:
            return layout.unpack(self._data[at : at + layout.size])
        except struct.error:  # it was cut after it was looked at
            raise CorruptRecord("its tables end before they are read") from None
