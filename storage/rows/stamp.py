"""What a rows object says of itself, and whether it is what was written (docs/pack.md, section 8).

Parquet has no checksum that is compared: a flipped bit in it is another number. So every byte of a rows object is covered by a
keyed digest, which lies in a stretch between the columns and Parquet's own footer, where readers of Parquet do not look.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec

from storage.digest import DIGEST_BYTES, Mac
from storage.rows.columns import VERSION, Type

_MARK: Final = b"KTCHROWS"
_PARQUET: Final = b"PAR1"
_END: Final = struct.Struct("<I4s")
"""Of a Parquet file: the length of its footer, and its mark."""
_STAMP: Final = struct.Struct(f"<I{DIGEST_BYTES}s8s")
"""After the head: its length, the digest of all else, the mark."""


class Head(msgspec.Struct, frozen=True):
    """What a rows object says of itself."""

    version: int
    replaces: tuple[str, ...] = ()
    """Keys of the packs that its pack stands for."""
    own: dict[str, tuple[Type, ...]] = {}
    """The types of each of the user's own attributes in it."""


class _Version(msgspec.Struct):
    """What a head of any version says."""

    version: int


class RowsMac:
    """Keyed digests of rows objects.

    Args:
        mac: the store's digests.
    """

    def __init__(self, mac: Mac) -> None:
        self._state = hashlib.blake2b(key=mac("keyid", b"rows"), digest_size=DIGEST_BYTES, person=b"rows")

    def __call__(self, *pieces: bytes | memoryview) -> bytes:
        """The digest of pieces as one."""
        state = self._state.copy()
        for piece in pieces:
            state.update(piece)
        return state.digest()


def stamp(parquet: bytes, head: Head, mac: RowsMac) -> bytes:
    """A Parquet file with its stamp.

    Args:
        parquet: as it was written.
        head: what it says of itself.
        mac: the digests.
    """
    length, _ = _END.unpack(parquet[-_END.size :])
    cut = len(parquet) - _END.size - length
    told = msgspec.json.encode(head)
    told += len(told).to_bytes(4, "little")
    digest = mac(parquet[:cut], told, parquet[cut:])
    return b"".join((parquet[:cut], told, digest, _MARK, parquet[cut:]))


def read(data: bytes, mac: RowsMac) -> Head | None:
    """What a rows object says of itself, of any other version just that; None where it is not what was written."""
    view = memoryview(data)
    if len(data) < _END.size:
        return None
    length, mark = _END.unpack(view[-_END.size :])
    end = len(data) - _END.size - length
    begin = end - _STAMP.size
    if mark != _PARQUET or begin < 0:
        return None
    size, digest, own_mark = _STAMP.unpack(view[begin:end])
    if own_mark != _MARK or size > begin or mac(view[: begin + 4], view[end:]) != digest:
        return None
    told = view[begin - size : begin]
    version = msgspec.json.decode(told, type=_Version).version
    return Head(version) if version != VERSION else msgspec.json.decode(told, type=Head)
