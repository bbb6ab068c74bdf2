"""A pack from a stranger: whatever its checksums say, nothing expands without bound and no record is altered unseen."""

from __future__ import annotations

import functools
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.digest import Mac
from storage.errors import CorruptRecord, StorageError, StoreError
from storage.frames import PERSONAL, Frame
from storage.pack import block, compression, footer
from storage.pack.check import Finding, check
from storage.pack.errors import CorruptPack
from storage.pack.layout import HEADER_BYTES, TRAILER_BYTES, Section, pack_trailer, unpack_trailer
from storage.pack.reader import PackReader
from tests.test_pack_features import KEY, REPLACED, TINY, every, pack_of, stored_bytes, told, trace_id, value

PACK = pack_of(every(), TINY, REPLACED)
RIGHT = every()
TRAILER = unpack_trailer(PACK[-TRAILER_BYTES:])
READER = PackReader.of_bytes(PACK)
MEBIBYTE = 1024 * 1024


def reseal(body: bytes, table: bytes) -> bytes:
    """A pack of these bytes before the footer and of this footer, with checksums that are right and a digest that is not."""
    changed = TRAILER._replace(footer=len(body), length=len(table), check=zlib.crc32(table))
    return body + table + pack_trailer(changed)


def reblock(number: int, change: Callable[[bytes], bytes]) -> bytes:
    """The pack with the content of one block changed, and all checksums of sections right."""
    entry = READER.footer.block(number)
    content = change(compression.decompress(PACK[entry.offset : entry.offset + entry.length], entry.size))
    return restore_block(number, compression.compress(content), len(content))


def restore_block(number: int, stored: bytes, size: int) -> bytes:
    """The pack with other stored bytes of one block: put behind the rest, since nothing says where a block must lie."""
    body = PACK[: TRAILER.footer]
    entry = READER.footer.block(number)._replace(offset=len(body), length=len(stored), size=size, check=zlib.crc32(stored))
    table = PACK[TRAILER.footer : -TRAILER_BYTES]
    at = footer.HEAD_BYTES + 80 * READER.footer.counts.parts + 40 * number
    return reseal(body + stored, table[:at] + struct.pack("<QIIII16s", *entry) + table[at + 40 :])


def read_all(pack: bytes, mac: Mac | None = None) -> dict[bytes, list[Frame] | None]:
    """Every trace that is found; None for one that is named as damaged."""
    reader = PackReader.of_bytes(pack, mac=mac)
    found: dict[bytes, list[Frame] | None] = {}
    for trace in RIGHT:
        try:
            found[trace] = reader.frames(trace)
        except StorageError:
            found[trace] = None
    return found


def test_a_resealed_pack_without_a_change_is_whole_for_who_has_no_key() -> None:
    pack = reblock(0, lambda content: content)

    assert {trace: stored_bytes(found or []) for trace, found in read_all(pack).items()} == {
        trace: stored_bytes(frames) for trace, frames in RIGHT.items()
    }
    with pytest.raises(CorruptPack, match="digest differs"):
        PackReader.of_bytes(pack, mac=KEY)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_no_footer_makes_anything_but_an_error_that_is_named(data: st.DataObject) -> None:
    table = bytearray(PACK[TRAILER.footer : -TRAILER_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(table) - 1))
        new = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\xff" * 8])))
        table[at : at + len(new)] = new
    pack = reseal(PACK[: TRAILER.footer], bytes(table))
    originals = {one for frames in RIGHT.values() for one in told(frames)}

    try:
        found = read_all(pack)
    except StorageError:
        pass
    else:
        for frames in found.values():
            assert set(told(frames or [])) <= originals
        check(pack)
    assert bytes(table) == PACK[TRAILER.footer : -TRAILER_BYTES] or _refused(pack)


def _refused(pack: bytes) -> bool:
    with pytest.raises(StorageError):
        PackReader.of_bytes(pack, mac=KEY)
    return True


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_a_changed_block_gives_the_right_records_or_an_error(data: st.DataObject) -> None:
    def change(content: bytes) -> bytes:
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(min_size=1, max_size=6))
        return content[:at] + new + content[at + len(new) :]

    found = read_all(reblock(data.draw(st.integers(0, READER.footer.counts.blocks - 1)), change))

    for trace, frames in found.items():
        assert frames is None or told(frames) == told(RIGHT[trace])


@functools.cache
def bombs() -> dict[str, bytes]:
    level = zstandard.ZstdCompressor(level=19)
    silent = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(write_content_size=0))
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    return {
        "declares 256 MB": level.compress(bytes(256 * MEBIBYTE)),
        "says nothing of its 256 MB": silent.compress(bytes(256 * MEBIBYTE)),
        "declares a terabyte in 13 bytes": b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little"),
        "a window of 2 GB": b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x03\x00\x00x",
        "a window of 128 MB": zstandard.ZstdCompressor(compression_params=wide).compress(b"x" * 9000),
        "four thousand frames": silent.compress(bytes(MEBIBYTE)) * 4000,
        "cut": level.compress(random.Random(1).randbytes(5000))[:-100],
        "bytes behind it": level.compress(b"x" * 5000) + b"more",
        "no zstd": b"x" * 100,
        "nothing": b"",
    }


SIZES = (5000, MEBIBYTE, 64 * MEBIBYTE, 2**32 - 1)


@pytest.mark.parametrize("name", bombs())
@pytest.mark.parametrize("size", SIZES)
def test_a_block_that_expands_is_refused_within_what_its_stored_bytes_allow(name: str, size: int) -> None:
    bomb = bombs()[name]
    pack = restore_block(0, bomb, size)
    reader = PackReader.of_bytes(pack)
    victim = next(part.trace for part in map(reader.footer.part, range(reader.footer.counts.parts)) if part.block == 0)

    tracemalloc.start()
    try:
        with pytest.raises(CorruptPack) as caught:
            reader.frames(victim)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (caught.value.section, caught.value.offset) == ("block 0", TRAILER.footer)
    allowed = min(size, compression.MAX_SIZE, max(compression.FREE_SIZE, len(bomb) * compression.MAX_RATIO))
    assert most < allowed + 4 * MEBIBYTE


ODD_CONTENTS = [bytes(60 * MEBIBYTE), bytes(2 * MEBIBYTE), b"", b"x", random.Random(2).randbytes(300_000)]


@pytest.mark.parametrize("content", ODD_CONTENTS, ids=["zeros", "some zeros", "nothing", "one byte", "noise"])
def test_what_is_written_can_be_read_whatever_its_ratio(content: bytes) -> None:
    stored = compression.compress(content)

    assert compression.decompress(stored, len(content)) == content
    for size in {len(content) + 1, max(0, len(content) - 1)} - {len(content)}:
        with pytest.raises(CorruptRecord):
            compression.decompress(stored, size)


@pytest.mark.parametrize("size", [0, 1, 100, 256, 257, 1024, 1025, 6150, 8191, 8192, 8193, 16_384, 16_385])
def test_a_compressor_that_was_used_before_makes_the_same_of_it(size: int) -> None:
    import zstandard

    compression.compress(random.Random(3).randbytes(size // 2 + 1) * 2)
    content = (random.Random(size).randbytes(size // 2 + 1) * 2)[:size]
    parameters = zstandard.ZstdCompressionParameters.from_level(compression.LEVEL, source_size=size)
    fresh = zstandard.ZstdCompressor(compression_params=parameters).compress(content)

    assert compression.compress(content) == (fresh if len(fresh) < size else content)


def stub_of(frame: Frame, place: int, target: int = 0) -> bytes:
    return block.stub_bytes(block.head_bytes(frame), frame.body, place, target)


def test_a_value_of_a_subject_is_not_taken_from_where_others_are() -> None:
    for place in (block.IN_BLOCK, block.IN_SHARED):
        stub = stub_of(value(trace_id(1), 1, b"x" * 600, PERSONAL), place)
        with pytest.raises(CorruptRecord, match="kept with others"):
            list(block.read(memoryview(stub), 0, len(stub)))


@pytest.mark.parametrize("place", [0x0300, 0x0F00, 0x0C00])
def test_a_stub_has_one_place(place: int) -> None:
    stub = stub_of(value(trace_id(1), 1, b"x" * 600), place)
    with pytest.raises(CorruptRecord, match="no stub"):
        list(block.read(memoryview(stub), 0, len(stub)))


def test_stubs_do_not_lead_to_stubs() -> None:
    one = value(trace_id(1), 1, b"x" * 600)
    content = memoryview(stub_of(one, block.IN_BLOCK, 36) + stub_of(one, block.IN_BLOCK, 0))
    for stub in block.read(content, 0, len(content)):
        assert isinstance(stub, block.Stub)
        with pytest.raises(CorruptRecord, match="no shared value"):
            block.target_content(content, stub)


def with_version(major: int, minor: int, features: int = 0) -> bytes:
    trailer = bytearray(PACK[-TRAILER_BYTES:])
    struct.pack_into("<IHH", trailer, 44, features, major, minor)
    struct.pack_into("<I", trailer, 52, 0)
    struct.pack_into("<I", trailer, 52, zlib.crc32(trailer))
    return PACK[:-TRAILER_BYTES] + bytes(trailer)


def test_a_newer_major_and_an_unknown_feature_are_refused_in_a_sentence_and_a_newer_minor_is_read() -> None:
    with pytest.raises(StoreError, match=r"hot/x\.pack cannot be read: it was written in version 2 of the pack format"):
        PackReader.of_bytes(with_version(2, 0), name="hot/x.pack")
    with pytest.raises(StoreError, match="uses features 0x0001 of the pack format"):
        PackReader.of_bytes(with_version(1, 0, 1))
    with pytest.raises(StoreError, match="version 2"):
        check(with_version(2, 0))
    for pack in (with_version(1, 9), with_version(1, 0, 0x10000)):
        assert told(PackReader.of_bytes(pack, mac=KEY).frames(trace_id(1))) == told(RIGHT[trace_id(1)])


def test_a_newer_minor_may_widen_every_entry_and_add_a_table() -> None:
    table = PACK[TRAILER.footer : -TRAILER_BYTES]
    counts = READER.footer.counts
    widths, at = [136, 80, 40, 52, 20], 136
    made = struct.pack("<5H", *(width + 4 for width in widths)) + table[10:136] + b"more"
    for width, count in zip(widths[1:], (counts.parts, counts.blocks, counts.large, counts.otel), strict=True):
        for _ in range(count):
            made += table[at : at + width] + b"more"
            at += width
    reader = PackReader.of_bytes(reseal(PACK[: TRAILER.footer], made + table[at:] + b"a table of later"))

    assert (reader.footer.replaces, list(reader.ids())) == (REPLACED, sorted(RIGHT))
    for trace, frames in RIGHT.items():
        assert told(reader.frames(trace)) == told(frames)


@pytest.mark.parametrize("mac", [None, KEY])
def test_checking_names_every_byte_that_is_flipped_cut_or_added(mac: Mac | None) -> None:
    pack = pack_of({trace: RIGHT[trace] for trace in list(RIGHT)[:3]}, TINY._replace(large=900))
    assert check(pack, mac) == []
    step = 1 if mac is None else 7
    for at in range(0, len(pack), step):
        assert check(pack[:at] + bytes([pack[at] ^ 0x40]) + pack[at + 1 :], mac), at
        assert check(pack[:at], mac), at
    assert check(pack + b"\0", mac)
    assert check(b"\0" + pack, mac)


def test_checking_says_where() -> None:
    at = READER.footer.block(1).offset
    bad = PACK[:at] + b"!" + PACK[at + 1 :]

    assert check(bad, KEY) == [Finding("block 1", at, "its checksum differs")]
    assert {one.section for one in check(bad, KEY, full=True)} == {"block 1"}
    assert check(b"x" * 10 + PACK[10:])[0].section == "header"
    assert check(b"")[-1].section == "trailer"
    with pytest.raises(ValueError, match="needs the store's key"):
        check(PACK, full=True)


def test_a_full_check_sees_a_value_that_its_checksums_do_not() -> None:
    frame = RIGHT[trace_id(1)][1]
    swapped = frame._replace(body=frame.body[:16] + b"!" + frame.body[17:])
    pack = pack_of({trace_id(1): [RIGHT[trace_id(1)][0], swapped]})

    assert check(pack, KEY) == []
    assert [one.section for one in check(pack, KEY, full=True)] == ["records"]


def test_no_byte_of_a_pack_is_unaccounted_for() -> None:
    gap = PACK[: TRAILER.footer] + b"hidden"
    pack = reseal(gap, PACK[TRAILER.footer : -TRAILER_BYTES])

    assert [one.section for one in check(pack)] == ["footer"]
    assert isinstance(READER.footer.shared, Section)
    assert READER.footer.block(0).offset == HEADER_BYTES
