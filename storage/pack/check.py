"""Checking one pack: every byte of it belongs to something, and is what was written. Nothing is changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord, StorageError
from storage.frames import LEFT_OUT, Frame
from storage.ids import NO_TRACE
from storage.pack import block
from storage.pack.compression import decompress
from storage.pack.digest import SectionMac, SectionUse
from storage.pack.errors import CorruptPack
from storage.pack.footer import Footer
from storage.pack.layout import HAS_VECTORS, HEADER_BYTES, MINOR, Part, Section, unpack_header
from storage.pack.reader import PackReader
from storage.records import Kind

_ENDS: Final = 1 << 63


class Finding(NamedTuple):
    """One thing that is wrong. The offset is that of the section in the pack, in bytes."""

    section: str
    offset: int
    text: str


class _Stretch(NamedTuple):
    """Bytes of the pack that a table speaks of."""

    offset: int
    length: int
    check: int
    name: str
    use: SectionUse | None
    digest: bytes


def check(pack: bytes, mac: Mac | None = None, *, full: bool = False) -> list[Finding]:
    """What is wrong with a pack; nothing where all is well.

    Args:
        pack: the whole of it.
        mac: the store's digests; without them checksums are compared, and digests are not.
        full: also decompress all of it, make every record again, and hash every value again.

    Raises:
        ValueError: values cannot be hashed without the store's digests.
        StoreError: it is of a newer major version, needs a feature not known here, or was made with another key.
    """
    if full and mac is None:
        raise ValueError("a full check hashes every value again, and needs the store's key")
    found = list(_header(pack))
    try:
        reader = PackReader.of_bytes(pack, mac=mac)
    except CorruptPack as error:
        return [*found, _finding(error)]
    if not found:
        found += _same_header(pack, reader)
    found += _sections(pack, reader, mac)
    found += _tables(reader)
    if full and mac is not None:
        found += _records(reader, mac)
        found += _common(pack, reader, mac)
    return found


def _finding(error: CorruptPack) -> Finding:
    return Finding(error.section, error.offset, error.why)


def _header(pack: bytes) -> Iterator[Finding]:
    try:
        unpack_header(pack[:HEADER_BYTES])
    except StorageError as error:
        yield Finding("header", 0, str(error))


def _same_header(pack: bytes, reader: PackReader) -> Iterator[Finding]:
    said = reader.footer.header
    if unpack_header(pack[:HEADER_BYTES]) != said:
        yield Finding("header", 0, "it says something else than the footer does")
    if (reader.trailer.features, reader.trailer.minor) != (said.features, said.minor):
        yield Finding("trailer", reader.trailer.footer + reader.trailer.length, "it says something else than the footer does")


def _stretches(reader: PackReader) -> list[_Stretch]:
    footer, counts = reader.footer, reader.footer.counts

    def of(section: Section, name: str, use: SectionUse) -> _Stretch:
        return _Stretch(section.offset, section.length, section.check, name, use, section.digest)

    found = [of(footer.block(number), f"block {number}", "block") for number in range(counts.blocks)]
    found += (
        _Stretch(part.vectors, part.vectors_length, part.vectors_check, "vectors", None, b"")
        for part in map(footer.part, range(counts.parts)) if part.flags & HAS_VECTORS
    )  # fmt: skip
    found += (
        _Stretch(entry.offset, entry.length, entry.check, f"large value {entry.digest.hex()}", None, b"")
        for entry in footer.larges()
    )
    if footer.shared.length:
        found.append(of(footer.shared, "shared", "shared"))
    return sorted(found)


def _sections(pack: bytes, reader: PackReader, mac: Mac | None) -> Iterator[Finding]:
    """Checksums and digests, and that nothing lies between the sections."""
    section_mac = None if mac is None else SectionMac(mac)
    at = HEADER_BYTES
    for one in _stretches(reader):
        if one.offset != at:
            yield Finding(one.name, one.offset, f"what lies before it ends at {at}")
        stored = pack[one.offset : one.offset + one.length]
        at = one.offset + one.length
        if at > reader.trailer.footer:
            yield Finding(one.name, one.offset, f"its {one.length:,} bytes reach into the footer")
        elif zlib.crc32(stored) != one.check:
            yield Finding(one.name, one.offset, "its checksum differs")
        elif section_mac is not None and one.use is not None and section_mac(one.use, stored) != one.digest:
            yield Finding(one.name, one.offset, "its digest differs: it was not written with the store's key")
    if at != reader.trailer.footer:
        yield Finding("footer", reader.trailer.footer, f"what lies before it ends at {at}")
    if reader.trailer.shared != reader.footer.shared.offset:
        yield Finding("trailer", reader.size, "it gives another place of the shared section than the footer does")


def _tables(reader: PackReader) -> Iterator[Finding]:
    """That the tables are in order, fill what they speak of, and agree with their counts."""
    footer, counts, offset = reader.footer, reader.footer.counts, reader.trailer.footer
    parts = [footer.part(number) for number in range(counts.parts)]
    last = (NO_TRACE, -1)
    for part in parts:
        if part.trace < last[0] or part.number != (last[1] + 1 if part.trace == last[0] else 0):
            yield Finding("footer", offset, f"part {part.number} of trace {part.trace.hex()} is out of order")
        last = (part.trace, part.number)
    yield from _filled(footer, parts, offset)
    if len({part.trace for part in parts}) != counts.traces:
        yield Finding("footer", offset, f"it counts {counts.traces} traces and names {len({part.trace for part in parts})}")
    oldest, newest = min((part.began for part in parts), default=0), max((part.ended for part in parts), default=0)
    if (oldest, newest) != (counts.oldest, counts.newest):
        yield Finding("footer", offset, "its oldest and newest time are not those of its traces")
    large = [footer.large(number)[:2] for number in range(counts.large)]
    otel = list(footer.otel())
    if large != sorted(set(large)) or otel != sorted(set(otel)) or any(entry >= counts.parts for _, entry in otel):
        yield Finding("footer", offset, "a table of it is out of order")
    if footer.end != reader.trailer.length and footer.header.minor <= MINOR:
        yield Finding("footer", offset, f"its tables end at {footer.end} of {reader.trailer.length}")


def _filled(footer: Footer, parts: list[Part], offset: int) -> Iterator[Finding]:
    reached: dict[int, tuple[int, int]] = dict.fromkeys(range(footer.counts.blocks), (0, 0))
    for part in sorted(parts, key=lambda part: (part.block, part.offset)):
        at, pieces = reached.get(part.block, (_ENDS, 0))
        if part.offset != at:
            yield Finding("footer", offset, f"part {part.number} of trace {part.trace.hex()} does not begin where another ends")
        reached[part.block] = (part.offset + part.length, pieces + 1)
    for number in range(footer.counts.blocks):
        section = footer.block(number)
        if reached[number] != (section.size, section.pieces):
            yield Finding(f"block {number}", section.offset, "the trace table does not fill it")


def _records(reader: PackReader, mac: Mac) -> Iterator[Finding]:
    """Every record, made again, and every value, hashed again."""
    footer = reader.footer
    parts = sorted(map(footer.part, range(footer.counts.parts)), key=lambda part: (part.block, part.offset))
    count, damaged = 0, False
    for trace in dict.fromkeys(part.trace for part in parts):
        try:
            records = reader.frames(trace)
        except CorruptPack as error:
            damaged = True
            yield _finding(error)
            continue
        count += len(records)
        for number in _wrong(records, mac):
            home = footer.block(footer.parts_of(trace)[0].block)
            yield Finding("records", home.offset, f"value {number} of trace {trace.hex()} does not have its digest")
    if count != footer.counts.frames and not damaged:
        yield Finding("footer", reader.trailer.footer, f"it counts {footer.counts.frames} records of {count}")


def _common(pack: bytes, reader: PackReader, mac: Mac) -> Iterator[Finding]:
    """The values that belong to no trace."""
    footer, section = reader.footer, reader.footer.shared
    for entry in footer.larges():
        if entry.scope == NO_TRACE:
            try:
                reader.shared(entry.digest)
            except CorruptPack as error:
                yield _finding(error)
    if not section.length:
        return
    try:
        content = memoryview(decompress(pack[section.offset : section.offset + section.length], section.size))
        records = [one for one in block.read(content, 0, len(content)) if isinstance(one, Frame)]
    except CorruptRecord as error:
        yield Finding("shared", section.offset, str(error))
        return
    for number in _wrong(records, mac):
        yield Finding("shared", section.offset, f"value {number} does not have its digest")
    if len({one.body[:DIGEST_BYTES] for one in records}) != section.pieces:
        yield Finding("shared", section.offset, f"it has {len(records)} values, not {section.pieces}")


def _wrong(records: list[Frame], mac: Mac) -> Iterator[int]:
    for one in records:
        hashed = one.kind == Kind.VALUE and not one.flags & LEFT_OUT
        if hashed and mac("value", one.body[DIGEST_BYTES:]) != one.body[:DIGEST_BYTES]:
            yield one.record
