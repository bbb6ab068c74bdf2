"""The fixed layouts of a pack: its header, its trailer and the entries of its tables (docs/pack.md, sections 2 and 6)."""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from storage.errors import CorruptRecord, StoreError

MAJOR: Final = 1
MINOR: Final = 0
HEADER_BYTES: Final = 64
TRAILER_BYTES: Final = 64
TAIL_BYTES: Final = 256 * 1024
"""What a reader asks for first."""
KNOWN_FEATURES: Final = 0
_REQUIRED: Final = 0xFFFF
"""The feature bits that a reader has to know."""

HAS_HEADER: Final = 1
HAS_END: Final = 2
PERSONAL_VALUES: Final = 4
USES_SHARED: Final = 8
HAS_VECTORS: Final = 16
HAS_LARGE: Final = 32
REPLAY: Final = 64

_MAGIC: Final = b"KTCHPACK"
_END_MAGIC: Final = b"KTCHPEND"
_HEADER: Final = struct.Struct("<8sHHI16s8s8sI12s")
_TRAILER: Final = struct.Struct("<QQQ16sIIHHI8s")

PART: Final = struct.Struct("<16sIIIHHQIIQQ16s")
SECTION: Final = struct.Struct("<QIIII16s")
LARGE: Final = struct.Struct("<16s16sQIII")
OTEL: Final = struct.Struct("<16sI")


class Header(NamedTuple):
    """The first bytes of a pack."""

    minor: int
    store_id: bytes
    writer_id: bytes
    key_id: bytes
    features: int


class Trailer(NamedTuple):
    """The last bytes of a pack."""

    footer: int
    length: int
    shared: int
    """Where the shared section begins: what to read from where the footer does not fit."""
    digest: bytes
    check: int
    features: int
    minor: int = MINOR


class Part(NamedTuple):
    """An entry of the trace table. Offset and length are in the content of the block; times are unix nanoseconds."""

    trace: bytes
    block: int
    offset: int
    length: int
    flags: int
    number: int
    vectors: int
    vectors_length: int
    vectors_check: int
    began: int
    ended: int
    subject: bytes


class Section(NamedTuple):
    """An entry of the block table, and the shared section."""

    offset: int
    length: int
    size: int
    check: int
    pieces: int
    """Parts, or values."""
    digest: bytes


class Large(NamedTuple):
    """An entry of the table of large values. The scope is a trace id, or zero for a value of any trace."""

    digest: bytes
    scope: bytes
    offset: int
    length: int
    size: int
    check: int


def pack_header(header: Header) -> bytes:
    """The 64 bytes at the beginning."""
    minor, store_id, writer_id, key_id, features = header

    def made(check: int) -> bytes:
        return _HEADER.pack(_MAGIC, MAJOR, minor, check, store_id, writer_id, key_id, features, bytes(12))

    return made(zlib.crc32(made(0)))


def unpack_header(data: bytes) -> Header:
    """The header of a pack.

    Raises:
        CorruptRecord: it is not one.
        StoreError: it is of a newer major version, or needs a feature that is not known here.
    """
    if len(data) != HEADER_BYTES:
        raise CorruptRecord(f"it has {len(data)} bytes, not {HEADER_BYTES}")
    magic, major, minor, check, store_id, writer_id, key_id, features, _ = _HEADER.unpack(data)
    if magic != _MAGIC:
        raise CorruptRecord("it is not marked as a pack")
    if zlib.crc32(data[:12] + bytes(4) + data[16:]) != check:
        raise CorruptRecord("its checksum differs")
    _refuse(major, features)
    return Header(minor, store_id, writer_id, key_id, features)


def pack_trailer(trailer: Trailer) -> bytes:
    """The 64 bytes at the end."""
    footer, length, shared, digest, footer_check, features, minor = trailer

    def made(check: int) -> bytes:
        return _TRAILER.pack(footer, length, shared, digest, footer_check, features, MAJOR, minor, check, _END_MAGIC)

    return made(zlib.crc32(made(0)))


def unpack_trailer(data: bytes) -> Trailer:
    """The trailer of a pack.

    Raises:
        CorruptRecord: it is not one.
        StoreError: it is of a newer major version, or needs a feature that is not known here.
    """
    if len(data) != TRAILER_BYTES:
        raise CorruptRecord(f"it has {len(data)} bytes, not {TRAILER_BYTES}: this is no whole pack")
    footer, length, shared, digest, footer_check, features, major, minor, check, magic = _TRAILER.unpack(data)
    if magic != _END_MAGIC:
        raise CorruptRecord("the last bytes are not those of a pack: it is cut, or something else")
    if zlib.crc32(data[:52] + bytes(4) + data[56:]) != check:
        raise CorruptRecord("its checksum differs")
    _refuse(major, features)
    return Trailer(footer, length, shared, digest, footer_check, features, minor)


def _refuse(major: int, features: int) -> None:
    if major > MAJOR:
        raise StoreError(
            f"it was written in version {major} of the pack format and this kitchenlog reads version {MAJOR}: install a newer one"
        )
    unknown = features & _REQUIRED & ~KNOWN_FEATURES
    if unknown:
        raise StoreError(
            f"it uses features {unknown:#06x} of the pack format, which this kitchenlog does not know: install a newer one"
        )
