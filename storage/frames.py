"""The bytes of record files: their header and their frames (docs/format.md, section 4)."""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from storage.codec import MAX_VALUE_BYTES
from storage.errors import StoreError

MAJOR: Final = 1
MINOR: Final = 0
FILE_HEADER_BYTES: Final = 64
FRAME_HEADER_BYTES: Final = 32
MAX_BODY_BYTES: Final = MAX_VALUE_BYTES + 4096

PERSONAL: Final = 1
"""Frame flag: the value belongs to the trace's subject."""
LEFT_OUT: Final = 2
"""Frame flag: size and digest are here, the content is not."""

_MAGIC: Final = b"KTCHNLOG"
_FILE: Final = struct.Struct("<8sHHI16s8sQ16s")
_FRAME: Final = struct.Struct("<BBHIII16s")
_CHECKED: Final = struct.Struct("<BBHII16s")
"""A frame's header without its checksum: what is checked, with the body behind it."""
_RECORD_VERSION: Final = 1
# Kind, version, flags: what may begin a frame, to find the next one after damage.
_CANDIDATE: Final = re.compile(rb"(?=[\x01-\x1f]\x01[\x00-\x03]\x00)", re.DOTALL)


class FileHeader(NamedTuple):
    """The first bytes of a record file."""

    major: int
    minor: int
    store_id: bytes
    writer: bytes
    created: int


class Frame(NamedTuple):
    """One whole frame. `offset` is where it begins in its file."""

    offset: int
    kind: int
    flags: int
    record: int
    trace: bytes
    body: bytes

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + FRAME_HEADER_BYTES + len(self.body)


class Gap(NamedTuple):
    """Bytes that are no whole frame, with a whole frame behind them."""

    offset: int
    end: int


def pack_file_header(store_id: bytes, writer: bytes) -> bytes:
    """The header of a new file."""
    created = time.time_ns()
    check = zlib.crc32(_FILE.pack(_MAGIC, MAJOR, MINOR, 0, store_id, writer, created, bytes(16)))
    return _FILE.pack(_MAGIC, MAJOR, MINOR, check, store_id, writer, created, bytes(16))


def unpack_file_header(data: bytes) -> FileHeader | None:
    """The header of a file, or None where it is damaged.

    Raises:
        StoreError: a whole header of a newer major version.
    """
    magic, major, minor, check, store_id, writer, created, _ = _FILE.unpack_from(data)
    if magic != _MAGIC or zlib.crc32(data[:12] + bytes(4) + data[16:FILE_HEADER_BYTES]) != check:
        return None
    if major > MAJOR:
        raise StoreError(
            f"it was written in version {major} of the format and this kitchenlog reads version {MAJOR}: install a newer one"
        )
    return FileHeader(major, minor, store_id, writer, created)


def pack_frame_header(kind: int, flags: int, record: int, trace: bytes, body: bytes) -> bytes:
    """The 32 bytes before a body."""
    length = len(body)
    check = zlib.crc32(body, zlib.crc32(_CHECKED.pack(kind, _RECORD_VERSION, flags, length, record, trace)))
    return _FRAME.pack(kind, _RECORD_VERSION, flags, length, check, record, trace)


def body_length(head: bytes) -> int:
    """How long the body is that this frame header claims."""
    return int.from_bytes(head[4:8], "little")


def unpack_frame(data: memoryview, at: int, base: int = 0) -> Frame | None:
    """The whole frame at a place, or None. `base` is where in its file the data begins."""
    body_at = at + FRAME_HEADER_BYTES
    if body_at > len(data):
        return None
    kind, _, flags, length, check, record, trace = _FRAME.unpack_from(data, at)
    end = body_at + length
    if length > MAX_BODY_BYTES or end > len(data):
        return None
    first = zlib.crc32(data[at : at + 8])
    if zlib.crc32(data[at + 12 : end], first) != check:
        return None
    return Frame(base + at, kind, flags, record, trace, bytes(data[body_at:end]))


def scan(data: bytes, base: int) -> Iterator[Frame | Gap]:
    """Every whole frame, and every gap that a whole frame follows; a torn tail ends it without a word."""
    view = memoryview(data)
    at = 0
    while at < len(data):
        frame = unpack_frame(view, at, base)
        if frame is None:
            found = _next_frame(data, view, at)
            if found is None:
                return
            yield Gap(base + at, base + found)
            at = found
            continue
        yield frame
        at = frame.end - base


def _next_frame(data: bytes, view: memoryview, at: int) -> int | None:
    # The claimed length first: a value may hold the bytes of a frame, and must not pass for one.
    if at + FRAME_HEADER_BYTES <= len(data):
        claimed = at + FRAME_HEADER_BYTES + body_length(data[at : at + 8])
        if claimed < len(data) and unpack_frame(view, claimed) is not None:
            return claimed
    for candidate in _CANDIDATE.finditer(data, at + 1):
        if unpack_frame(view, candidate.start()) is not None:
            return candidate.start()
    return None
