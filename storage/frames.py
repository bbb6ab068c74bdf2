"""Record files: a header and checksummed frames (docs/format.md, section 4)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from storage.errors import CorruptRecord, StoreError

MAGIC: Final = b"KTCHNLOG"
MAJOR: Final = 1
FILE_HEADER: Final = struct.Struct("<8sHHI16s8sQ16x")
FRAME: Final = struct.Struct("<BBHIII16s")
RECORD_VERSION: Final = 1
PERSONAL, LEFT_OUT = 1, 2
MAX_BODY: Final = 65 * 1024 * 1024
"""A value of 64 MB and its digest fit; a length above this is damage, whatever a checksum says."""


class Frame(NamedTuple):
    """One record as it lies in a file."""

    kind: int
    flags: int
    record: int
    trace: bytes
    body: bytes
    offset: int


class Damage(NamedTuple):
    """Bytes of a file that are no record."""

    offset: int
    length: int


def file_header(store: bytes, writer: bytes, created: int) -> bytes:
    """The first 64 bytes of a file."""
    blank = FILE_HEADER.pack(MAGIC, MAJOR, 0, 0, store, writer, created)
    return FILE_HEADER.pack(MAGIC, MAJOR, 0, zlib.crc32(blank), store, writer, created)


def check_file_header(data: bytes, name: str) -> bytes:
    """The store id of a file.

    Raises:
        CorruptRecord: it is no file of records.
        StoreError: a later version wrote it.
    """
    if len(data) < FILE_HEADER.size:
        raise CorruptRecord(f"{name} ends inside its header")
    magic, major, minor, crc, store, writer, created = FILE_HEADER.unpack_from(data)
    blank = FILE_HEADER.pack(magic, major, minor, 0, store, writer, created)
    if magic != MAGIC or zlib.crc32(blank) != crc or data[48 : FILE_HEADER.size] != bytes(16):
        raise CorruptRecord(f"{name} has a damaged header")
    if major > MAJOR:
        raise StoreError(f"{name} is of format {major}; this version reads format {MAJOR}: update kitchenlog")
    found: bytes = store
    return found


def pack(kind: int, flags: int, record: int, trace: bytes, body: bytes) -> bytes:
    """A record as it is written."""
    size = len(body)
    head = FRAME.pack(kind, RECORD_VERSION, flags, size, 0, record, trace)
    crc = zlib.crc32(body, zlib.crc32(head[12:], zlib.crc32(head[:8])))
    return FRAME.pack(kind, RECORD_VERSION, flags, size, crc, record, trace) + body


def parse(data: bytes, start: int, end: int) -> Frame | None:
    """The frame at an offset, or None where none is whole."""
    if end - start < FRAME.size:
        return None
    kind, version, flags, size, crc, record, trace = FRAME.unpack_from(data, start)
    stop = start + FRAME.size + size
    if size > MAX_BODY or stop > end or version < 1:
        return None
    view = memoryview(data)
    head = zlib.crc32(view[start + 12 : start + FRAME.size], zlib.crc32(view[start : start + 8]))
    if zlib.crc32(view[start + FRAME.size : stop], head) != crc:
        return None
    return Frame(kind, flags, record, trace, data[start + FRAME.size : stop], start)


def scan(data: bytes, start: int) -> Iterator[Frame | Damage]:
    """The frames from an offset on. What lies between whole frames is damage; what follows the last one may be a torn tail."""
    end = len(data)
    at = start
    while at < end:
        found = parse(data, at, end)
        if found is not None:
            yield found
            at += FRAME.size + len(found.body)
            continue
        resumed = next(
            (place for place in range(at + 1, end - FRAME.size + 1) if _may_start(data, place, end)), None
        )
        if resumed is None:
            return
        yield Damage(at, resumed - at)
        at = resumed


def _may_start(data: bytes, place: int, end: int) -> bool:
    # Nearly every offset fails here, without a checksum.
    return (
        data[place] in range(1, 10)
        and data[place + 1] == RECORD_VERSION
        and data[place + 3] == 0
        and parse(data, place, end) is not None
    )
