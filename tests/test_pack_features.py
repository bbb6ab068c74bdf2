"""Everything a pack can hold, the rules of where it lies, and how many reads that takes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from runtime import Vector
from storage import codec
from storage.digest import Mac
from storage.frames import LEFT_OUT, PERSONAL, Frame
from storage.ids import NO_TRACE
from storage.pack import block
from storage.pack.check import check
from storage.pack.layout import HAS_END, HAS_HEADER, HAS_LARGE, HAS_VECTORS, PERSONAL_VALUES, REPLAY, TAIL_BYTES, USES_SHARED
from storage.pack.plan import Limits
from storage.pack.reader import PackReader
from storage.pack.vectors import is_vector
from storage.pack.writer import PackWriter
from storage.records import Kind

GOLDEN = Path(__file__).parent / "golden" / "v1"
KEY = Mac(bytes(range(32)))
STORE, WRITER = b"s" * 16, b"w" * 8
TINY = Limits(parts=2, compressed=4000, content=12_000, large=3000)
OTEL = "ab" * 16
SECOND = 1_700_000_000
MANIFEST, ENVIRONMENT = codec.encode(["agent", "its manifest " * 9]), codec.encode({"python": "3.11"})
WIDELY_USED = codec.encode("a policy that every block quotes " * 20)
REPLACED = ("hot/20231114T22/0123456789abcdef-000000.pack", "hot/20231114T22/0123456789abcdef-000001.pack")


def trace_id(number: int) -> bytes:
    return bytes([number * 7]) * 5 + (SECOND + number).to_bytes(4, "big") + bytes([number]) * 7


def value(trace: bytes, record: int, content: bytes, flags: int = 0) -> Frame:
    return Frame(0, int(Kind.VALUE), flags, record, trace, KEY("value", content) + content)


def header(trace: bytes, number: int, kind: str = "run") -> Frame:
    otel = (OTEL, "cd" * 8, 1) if number == 1 else None
    subject = KEY("subject", b"anna") if number == 2 else None
    fields = (
        0, 0, "agent", b"f" * 16, KEY("value", MANIFEST), KEY("value", ENVIRONMENT), (SECOND + number) * 10**9,
        b"s" * 32, subject, {"n": number}, otel, None, kind,
    )  # fmt: skip
    return Frame(0, int(Kind.HEADER), 0, 1, trace, codec.encode(fields))


def end(trace: bytes, number: int) -> Frame:
    return Frame(0, int(Kind.END), 0, 90, trace, codec.encode((0, (SECOND + number) * 10**9 + 5, 5, 9, None, None, 0)))


def every() -> dict[bytes, list[Frame]]:
    """Nine traces that have between them all that a pack can hold. A golden file was made of these: they never change."""
    traces: dict[bytes, list[Frame]] = {}
    for number in range(1, 8):
        trace = trace_id(number)
        traces[trace] = [header(trace, number), value(trace, 2, WIDELY_USED), value(trace, 3, b"of two traces " * 40)]
    one, two, three, four, five, six, seven = traces
    vectors = [codec.encode(Vector.of([0.5 + place] * 300)) for place in range(3)]
    traces[one] += [value(one, 10 + place, content) for place, content in enumerate(vectors)]
    traces[one] += [value(one, 20, codec.encode({"vector": Vector.of([2.5] * 300), "model": "m"}))]
    traces[two] += [value(two, 10, b"what anna said " * 40, PERSONAL), value(two, 11, vectors[0], PERSONAL)]
    traces[two] += [value(two, 12, b"long of anna " * 400, PERSONAL)]
    traces[three] += [value(three, 10, b"long of nobody " * 400), value(three, 11, codec.encode(Vector.of([1.5] * 1200)))]
    traces[four] += [value(four, 10, b"long of nobody " * 400), Frame(0, int(Kind.VALUE), LEFT_OUT, 11, four, bytes(24))]
    traces[five] += [value(five, 10 + place, bytes([place]) * 2500) for place in range(12)]
    traces[six] += [Frame(0, int(Kind.SPAN), 0, 10, six, b"no record of this format"), Frame(0, 30, 0, 11, six, b"a newer kind")]
    traces[six] += [traces[six][-1], Frame(0, 30, 0, 11, six, b"the same id again")]
    traces[seven][0] = header(seven, 7, "replay")
    for number, trace in enumerate(traces, 1):
        traces[trace].append(end(trace, number))
    late = trace_id(8)
    feedback = codec.encode(("feedback", 1_800_000_000 * 10**9, b"\xc0"))
    traces[late] = [Frame(0, int(Kind.ANNOTATION), 0, 0x8000_0001, late, feedback)]
    unfinished = trace_id(9)
    traces[unfinished] = [header(unfinished, 9)]
    return traces


def pack_of(traces: dict[bytes, list[Frame]], limits: Limits | None = None, replaces: Iterable[str] = ()) -> bytes:
    writer = PackWriter(STORE, WRITER, KEY, limits=limits, replaces=tuple(replaces))
    for content in (MANIFEST, ENVIRONMENT):
        writer.share(KEY("value", content), content)
    for records in traces.values():
        writer.add(records)
    return writer.build()


def told(frames: Iterable[Frame]) -> list[tuple[int, int, int, bytes, bytes]]:
    return [(one.kind, one.flags, one.record, one.trace, one.body) for one in frames]


def stored_bytes(frames: Iterable[Frame]) -> bytes:
    return b"".join(block.head_bytes(frame) + frame.body for frame in frames)


def assert_holds_every(pack: bytes) -> None:
    reader = PackReader.of_bytes(pack, mac=KEY)
    traces = every()
    assert check(pack, KEY, full=True) == []
    assert list(reader.ids()) == sorted(traces)
    for trace, records in traces.items():
        assert stored_bytes(reader.frames(trace)) == stored_bytes(records)
    assert reader.shared(KEY("value", MANIFEST)) == MANIFEST
    assert reader.footer.replaces == REPLACED
    assert [(otel.hex(), reader.footer.part(entry).trace) for otel, entry in reader.footer.otel()] == [(OTEL, trace_id(1))]


def test_everything_comes_back_of_a_pack_of_today_and_of_version_1() -> None:
    assert_holds_every(pack_of(every(), TINY, REPLACED))
    assert_holds_every((GOLDEN / "every.pack").read_bytes())


def test_the_table_tells_what_a_trace_is() -> None:
    reader = PackReader.of_bytes(pack_of(every(), TINY, REPLACED), mac=KEY)
    one, two, late, unfinished = (reader.footer.parts_of(trace_id(number))[0] for number in (1, 2, 8, 9))
    said = [part.flags for part in reader.footer.parts_of(trace_id(3))]

    assert one.flags == HAS_HEADER | HAS_END | USES_SHARED | HAS_VECTORS
    assert two.flags & (PERSONAL_VALUES | HAS_LARGE) == PERSONAL_VALUES | HAS_LARGE
    assert two.subject == KEY("subject", b"anna")
    assert said[0] & HAS_LARGE
    assert reader.footer.parts_of(trace_id(7))[0].flags & REPLAY
    assert (one.began, one.ended) == ((SECOND + 1) * 10**9, (SECOND + 1) * 10**9 + 5)
    assert (late.began, late.ended, late.flags) == ((SECOND + 8) * 10**9, 1_800_000_000 * 10**9, 0)
    assert (unfinished.began, unfinished.flags & HAS_END) == (unfinished.ended, 0)
    assert (reader.footer.counts.oldest, reader.footer.counts.newest) == (one.began, late.ended)
    assert (reader.footer.counts.traces, reader.footer.counts.frames) == (9, sum(map(len, every().values())))


def test_a_long_trace_is_cut_into_parts_that_come_back_in_order() -> None:
    reader = PackReader.of_bytes(pack_of(every(), TINY), mac=KEY)
    parts = reader.footer.parts_of(trace_id(5))

    assert [part.number for part in parts] == list(range(len(parts)))
    assert len(parts) > 2
    assert len({part.block for part in parts}) > 1
    assert [part.flags & HAS_HEADER for part in parts] == [1] + [0] * (len(parts) - 1)


def test_what_is_not_asked_for_is_told_by_digest_and_size() -> None:
    reader = PackReader.of_bytes(pack_of(every(), TINY), mac=KEY)
    without = {one.record: one for one in reader.frames(trace_id(3), vectors=False, large=False)}
    wanted = {one.record: one for one in every()[trace_id(3)]}

    assert without[10].flags == without[11].flags == block.IN_LARGE
    assert without[10].body == wanted[10].body[:16] + (len(wanted[10].body) - 16).to_bytes(8, "little")
    assert {one.flags for one in reader.frames(trace_id(1), vectors=False)} == {0, block.IN_VECTORS}
    with pytest.raises(ValueError, match="was not read from its pack"):
        PackWriter(STORE, WRITER, KEY).add(without.values())


def spread(content: bytes, flags: int, blocks: int) -> PackReader:
    """Two traces a block, each with this value."""
    traces = {trace_id(number): [value(trace_id(number), 1, content, flags)] for number in range(1, 2 * blocks + 1)}
    return PackReader.of_bytes(pack_of(traces, Limits(parts=2)), mac=KEY)


def test_a_value_is_shared_by_three_blocks_within_one_by_two_traces_and_of_a_subject_never() -> None:
    content = random.Random(1).randbytes(2000)
    digest = KEY("value", content)
    sizes = {(blocks, flags): spread(content, flags, blocks).footer.block(0).size for blocks in (2, 3) for flags in (0, PERSONAL)}

    assert spread(content, 0, 3).shared(digest) == content
    assert spread(content, 0, 2).shared(digest) is spread(content, PERSONAL, 3).shared(digest) is None
    assert sizes[3, 0] < 2000 < sizes[2, 0] < 4000 < sizes[2, PERSONAL] == sizes[3, PERSONAL]


def test_what_the_shared_section_has_no_room_for_does_not_keep_smaller_ones_out() -> None:
    rng = random.Random(8)
    manifests = {KEY("value", content): content for content in (rng.randbytes(size) for size in (900, 900, 300, 300))}
    used = [rng.randbytes(900), rng.randbytes(300)]
    writer = PackWriter(STORE, WRITER, KEY, limits=Limits(parts=1, content=2000))
    for digest, content in manifests.items():
        writer.share(digest, content)
    traces: dict[bytes, list[Frame]] = {}
    for number in range(1, 5):
        trace = trace_id(number)
        traces[trace] = [
            value(trace, record, content) for record, content in enumerate((*manifests.values(), *used)) if record > 2
        ]
        writer.add(traces[trace])
    pack = writer.build()
    reader = PackReader.of_bytes(pack, mac=KEY)

    assert check(pack, KEY, full=True) == []
    assert all(reader.shared(digest) == content for digest, content in manifests.items())
    assert all(told(reader.frames(trace)) == told(records) for trace, records in traces.items())
    assert reader.footer.counts.large == 1, "the second manifest of 900 bytes"
    assert reader.shared(KEY("value", used[0])) is None, "it stays in its blocks"
    assert reader.shared(KEY("value", used[1])) == used[1], "which is behind it, and fits"
    assert reader.footer.shared.size == 900 + 3 * 300 + 4 * (32 + 16)


def test_a_large_value_of_a_subject_lies_once_for_each_trace_and_any_other_once() -> None:
    content = random.Random(2).randbytes(5000)
    traces = {trace_id(number): [value(trace_id(number), 1, content, PERSONAL * (number < 3))] for number in range(1, 6)}
    reader = PackReader.of_bytes(pack_of(traces, TINY), mac=KEY)

    scopes = [reader.footer.large(number).scope for number in range(reader.footer.counts.large)]
    assert scopes == [NO_TRACE, trace_id(1), trace_id(2)]


def test_one_vector_of_two_subjects_is_in_both_traces() -> None:
    content = codec.encode(Vector.of([random.Random(3).random() for _ in range(400)]))
    traces = {trace_id(number): [value(trace_id(number), 1, content, PERSONAL)] for number in (1, 2)}
    reader = PackReader.of_bytes(pack_of(traces), mac=KEY)

    places = {reader.footer.parts_of(trace)[0].vectors for trace in traces}
    assert len(places) == 2


def test_a_value_without_its_digest_stays_where_it_was() -> None:
    wrong = [Frame(0, int(Kind.VALUE), 0, 1, trace_id(number), bytes(16) + b"a" * 9000) for number in range(1, 5)]
    pack = pack_of({one.trace: [one] for one in wrong}, Limits(parts=1, large=3000))
    reader = PackReader.of_bytes(pack, mac=KEY)

    assert (reader.footer.counts.large, reader.shared(bytes(16))) == (0, None)
    for one in wrong:
        assert told(reader.frames(one.trace)) == told([one])
    assert len(check(pack, KEY, full=True)) == 4


def test_what_is_mostly_vectors_is_a_vector() -> None:
    vector = Vector.of([0.5] * 200)

    assert is_vector(codec.encode(vector))
    assert is_vector(codec.encode([vector, {"more": vector}]))
    assert not is_vector(codec.encode([vector, "x" * 900]))
    assert not is_vector(codec.encode("x" * 900))
    assert not is_vector(b"\xc8\xff" * 400)
    assert not is_vector(b"\x91" * 100_000 + codec.encode(vector))


def test_the_start_of_an_id_finds_what_comparing_finds() -> None:
    rng = random.Random(4)
    ids = [bytes([rng.choice([0, 1, 0x10, 0xAB, 0xFF])]) * 2 + rng.randbytes(14) for _ in range(200)] + [b"\xff" * 16]
    reader = PackReader.of_bytes(pack_of({trace: [value(trace, 1, b"x")] for trace in ids}), mac=KEY)

    prefixes = ["0", "00", "000", "01", "1", "ab", "AB", "ABA", "f", "ff", "fff", "7", "f" * 31, ids[0].hex(), ids[7].hex()[:9]]
    for prefix in prefixes:
        assert reader.find(prefix) == sorted(trace for trace in set(ids) if trace.hex().startswith(prefix.lower()))


def test_a_pack_without_traces_is_one() -> None:
    pack = PackWriter(STORE, WRITER, KEY).build()

    assert list(PackReader.of_bytes(pack, mac=KEY).ids()) == []
    assert check(pack, KEY, full=True) == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../b", ".hidden", "a//b", "a\0", "é", "a" * 201])
def test_only_keys_of_packs_are_replaced(key: str) -> None:
    with pytest.raises(ValueError, match="no key of a pack"):
        PackWriter(STORE, WRITER, KEY, replaces=[key])


class Range:
    """A pack that counts what is read of it."""

    def __init__(self, pack: bytes) -> None:
        self.pack = pack
        self.lengths: list[int] = []

    def tail(self, count: int) -> tuple[bytes, int]:
        self.lengths.append(min(count, len(self.pack)))
        return self.pack[-count:], len(self.pack)

    def range(self, offset: int, length: int) -> bytes:
        self.lengths.append(length)
        return self.pack[offset : offset + length]


def test_a_tail_that_does_not_fit_costs_one_read_more() -> None:
    rng = random.Random(5)
    common = [value(trace_id(1), 100 + number, rng.randbytes(3000)) for number in range(40)]
    traces: dict[bytes, list[Frame]] = {}
    for _ in range(4000):
        trace = rng.randbytes(16)
        traces[trace] = [value(trace, 1, rng.randbytes(70)), common[0]._replace(trace=trace)]
    for trace in list(traces)[:1500]:
        traces[trace] += [one._replace(trace=trace) for one in common]
    served = Range(pack_of(traces))
    reader = PackReader(served.tail, served.range, mac=KEY)
    wanted = next(iter(traces))

    assert reader.footer.counts.blocks > 3
    assert reader.trailer.length > TAIL_BYTES
    assert told(reader.frames(wanted)) == told(traces[wanted])
    assert reader.reads == len(served.lengths) == 3
