"""zstd with ceilings: nothing expands past the size it was declared with (docs/pack.md, section 4).

`ZstdDecompressor.decompress(data, max_output_size=n)` is not used: where the frame declares its own size it allocates that,
whatever `n` is, so 8 KB become 256 MB.
"""

from __future__ import annotations

import threading
from typing import Final

import zstandard

from storage.errors import CorruptRecord
from storage.frames import FRAME_HEADER_BYTES, MAX_BODY_BYTES

LEVEL: Final = 3
WINDOW_LOG: Final = 23
MAX_SIZE: Final = FRAME_HEADER_BYTES + MAX_BODY_BYTES
"""Bytes of the largest section before compression: a block of one frame."""
MAX_RATIO: Final = 1024
FREE_SIZE: Final = 1024 * 1024
"""Up to this many bytes a section may be of any ratio."""
_KEPT_SIZE: Final = 16 * 1024
_LONG_SIZE: Final = 128 * 1024
# Long-distance matches shorter than this cost more than they save beside those that level 3 finds by itself.
_LONG_MATCH: Final = 128
_STEP: Final = 1024 * 1024


def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)


class _Kept(threading.local):
    """What packs and unpacks the vectors of one trace: making one takes twice as long as using it. None is for many threads."""

    def __init__(self) -> None:
        self.by_bits: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = _decompressor()


_kept: Final = _Kept()


def _compressor(size: int) -> zstandard.ZstdCompressor:
    # zstd chooses by the power of two that a size is up to: of these few, each is made once in a thread.
    if size > _KEPT_SIZE:
        return _made(size)
    bits = max(size - 1, 0).bit_length()
    found = _kept.by_bits.get(bits)
    if found is None:
        found = _kept.by_bits[bits] = _made(1 << bits)
    return found


def _made(size: int) -> zstandard.ZstdCompressor:
    # The tables of long mode are half a megabyte to clear: too dear for the vectors of one trace.
    if size <= _LONG_SIZE:
        parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, source_size=size)
    else:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, source_size=size, window_log=WINDOW_LOG, enable_ldm=True, ldm_min_match=_LONG_MATCH
        )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _is_bomb(stored_length: int, size: int) -> bool:
    return size > max(FREE_SIZE, stored_length * MAX_RATIO)


def compress(data: bytes) -> bytes:
    """The stored bytes of a section: `data` itself where compressing does not help or `decompress` would refuse it."""
    made = _compressor(len(data)).compress(data)
    return data if len(made) >= len(data) or _is_bomb(len(made), len(data)) else made


def decompress(stored: bytes, size: int) -> bytes:
    """The bytes of a section.

    Args:
        stored: as they lie in the pack.
        size: how many bytes they have to become.

    Raises:
        CorruptRecord: they become more, fewer, or nothing at all, or the size is past a ceiling.
    """
    if len(stored) == size:
        return stored
    if size > MAX_SIZE:
        raise CorruptRecord(f"its size, {size:,} bytes, is over the limit of {MAX_SIZE:,}")
    if _is_bomb(len(stored), size):
        raise CorruptRecord(f"{len(stored):,} stored bytes are to become {size:,}, over the limit of {MAX_RATIO} to one")
    # One that has unpacked much keeps a window of 8 MB.
    decompressor = _kept.decompressor if size <= _KEPT_SIZE else _decompressor()
    taken: list[bytes] = []
    left = size + 1
    try:
        # Across frames, so that bytes behind the frame are seen.
        with decompressor.stream_reader(stored, read_across_frames=True) as stream:
            while left and (some := stream.read(min(left, _STEP))):
                taken.append(some)
                left -= len(some)
    except zstandard.ZstdError as error:
        raise CorruptRecord(f"it does not decompress: {error}") from error
    if left != 1:
        found = "more" if left == 0 else f"{size + 1 - left:,}"
        raise CorruptRecord(f"it is to have {size:,} bytes and has {found}")
    return b"".join(taken)


class Gauge:
    """About how many bytes a content that grows would be compressed to. Behind by at most 128 KB of content.

    Without long mode, which is half the work and takes off a few hundredths more.

    Args:
        size: about how much will come.
    """

    def __init__(self, size: int) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, source_size=size, window_log=WINDOW_LOG)
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self.compressed = 0

    def add(self, data: bytes) -> None:
        """Take in what is added to the content."""
        self.compressed += len(self._stream.compress(data))
