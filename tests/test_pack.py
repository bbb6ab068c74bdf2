"""Packs give back, byte for byte, what was put in, or name what is wrong (docs/pack.md)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
from benchmarks import workload
from runtime import Vector
from storage.digest import Mac
from storage.errors import CorruptRecord, StorageError, TraceNotFound
from storage.frames import PERSONAL, Frame
from storage.opening import open_store
from storage.pack import compression, layout
from storage.pack.errors import CorruptPack
from storage.pack.plan import Limits
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.record_files import RecordFiles
from storage.records import Kind
from storage.store import Store
from tests.left_behind import leave

GOLDEN = Path(__file__).parent / "golden" / "v1"
KEY = Mac(bytes(range(32)))
STORE, WRITER = b"s" * 16, b"w" * 8
SMALL = Limits(parts=3, compressed=2000, content=20_000, large=3000)

Told = list[tuple[int, int, int, bytes, bytes]]


def told(frames: Iterable[Frame]) -> Told:
    return [(one.kind, one.flags, one.record, one.trace, one.body) for one in frames]


def frames_of(store: Store) -> tuple[dict[bytes, list[Frame]], dict[bytes, bytes]]:
    index = RecordFiles(store.log_folder, store.id)
    index.refresh()
    found: dict[bytes, list[Frame]] = {}
    shared: dict[bytes, bytes] = {}
    assert index.traces
    for trace, entry in index.traces.items():
        read = [frame for _, _, frame in index.frames_of(entry)]
        found[trace] = [frame for frame in read if isinstance(frame, Frame)]
        header = store.load(trace).header
        for digest in (header.manifest, header.environment):
            data = index.shared(digest)
            assert data is not None
            shared[digest] = data
    return found, shared


def pack_of(traces: dict[bytes, list[Frame]], shared: dict[bytes, bytes], mac: Mac = KEY, limits: Limits | None = None) -> bytes:
    writer = PackWriter(STORE, WRITER, mac, limits=limits)
    for digest, data in shared.items():
        writer.share(digest, data)
    for records in traces.values():
        writer.add(records)
    return writer.build()


def value(trace: bytes, record: int, content: bytes, flags: int = 0) -> Frame:
    return Frame(0, int(Kind.VALUE), flags, record, trace, KEY("value", content) + content)


@runtime.effect
async def embed(text: str) -> Vector:
    return Vector.of([float(len(text))] * 400)


async def think(text: str) -> str:
    vector = await embed(text)
    return f"{text} {len(vector)} " + "a long text that several traces share. " * 40


graph = runtime.Graph("pack.bot", input=str)
agent = graph.build(graph.add(think, graph.input))


def record(folder: Path, count: int) -> Store:
    kitchen = runtime.Runtime(folder)
    runs = [kitchen.run(agent, f"text {number}", subject="anna" if number % 3 == 0 else None) for number in range(count)]
    kitchen.feedback(runs[-1].trace_id, csat=3)
    kitchen.replay(runs[-1].trace_id)
    leave(kitchen)
    return open_store(folder, create=False)


@pytest.mark.parametrize("limits", [None, SMALL])
def test_recordings_come_back_byte_for_byte(tmp_path: Path, limits: Limits | None) -> None:
    store = record(tmp_path / "store", 12)
    traces, shared = frames_of(store)

    pack = pack_of(traces, shared, store.mac, limits)
    reader = PackReader.of_bytes(pack, mac=store.mac)

    assert list(reader.ids()) == sorted(traces)
    for trace, records in traces.items():
        assert told(reader.frames(trace)) == told(records)
        assert trace in reader.find(trace.hex()[:5])
    for digest, data in shared.items():
        assert reader.shared(digest) == data
    with pytest.raises(TraceNotFound):
        reader.frames(b"\xff" * 16)
    assert pack == pack_of(dict(reversed(traces.items())), shared, store.mac, limits), "the order of adding does not matter"


@st.composite
def many_frames(draw: st.DrawFn) -> dict[bytes, list[Frame]]:
    contents = st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"shared " * 100, b"other " * 200, b"\xc0" * 4000, bytes(7000)]),
        st.integers(1, 600).map(stored_vector),
    )
    made: dict[bytes, list[Frame]] = {}
    for number in range(draw(st.integers(1, 9))):
        trace = bytes([number + 1]) * 16
        made[trace] = []
        for place in range(draw(st.integers(1, 6))):
            if draw(st.booleans()):
                made[trace].append(value(trace, place, draw(contents), draw(st.sampled_from([0, 0, PERSONAL]))))
            else:
                kind = draw(st.sampled_from([2, 3, 4, 6, 30]))
                made[trace].append(Frame(0, kind, 0, place, trace, draw(st.binary(max_size=60))))
    return made


def stored_vector(size: int) -> bytes:
    from storage.codec import encode

    return encode(Vector.of([1.5] * size))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(many_frames(), st.sampled_from([None, SMALL]))
def test_any_frames_come_back(traces: dict[bytes, list[Frame]], limits: Limits | None) -> None:
    reader = PackReader.of_bytes(pack_of(traces, {}, limits=limits), mac=KEY)

    for trace, records in traces.items():
        assert told(reader.frames(trace)) == told(records)


def small_pack() -> tuple[bytes, dict[bytes, list[Frame]]]:
    traces = {
        bytes([number]) * 16: [
            value(bytes([number]) * 16, 1, b"a value that all three blocks use " * 8),
            value(bytes([number]) * 16, 2, b"of a subject", PERSONAL),
            value(bytes([number]) * 16, 3, stored_vector(40 + number)),
            value(bytes([number]) * 16, 4, bytes([number]) * 3500),
            Frame(0, 2, 0, 5, bytes([number]) * 16, b"an intent"),
        ]
        for number in range(1, 5)
    }
    return pack_of(traces, {}, limits=Limits(parts=1, compressed=2000, content=20_000, large=3000)), traces


def read_all(pack: bytes) -> dict[bytes, Told]:
    reader = PackReader.of_bytes(pack, mac=KEY)
    return {trace: told(reader.frames(trace)) for trace in reader.ids()}


def test_every_flipped_byte_is_named_and_no_record_is_wrong() -> None:
    pack, traces = small_pack()
    right = {trace: told(records) for trace, records in traces.items()}
    assert read_all(pack) == right
    unnoticed = 0

    for at in range(len(pack)):
        bad = pack[:at] + bytes([pack[at] ^ 0x20]) + pack[at + 1 :]
        try:
            found = read_all(bad)
        except StorageError:
            continue
        assert found == right
        unnoticed += 1

    assert unnoticed <= layout.HEADER_BYTES, "only the header is not needed to read a trace"


def test_every_truncation_is_named() -> None:
    pack, _ = small_pack()

    for end in range(len(pack)):
        with pytest.raises(StorageError):
            read_all(pack[:end])


def test_packs_of_version_1_stay_readable() -> None:
    _, traces = small_pack()

    assert read_all((GOLDEN / "small.pack").read_bytes()) == {trace: told(records) for trace, records in traces.items()}


def test_without_its_key_a_pack_is_read_and_with_another_refused() -> None:
    pack, traces = small_pack()
    trace = next(iter(traces))

    assert told(PackReader.of_bytes(pack).frames(trace)) == told(traces[trace])
    with pytest.raises(StorageError, match="was made with key"):
        PackReader.of_bytes(pack, mac=Mac(bytes(32)))


def test_a_value_of_a_subject_lies_in_its_own_trace_only() -> None:
    private = b"what a subject said " * 50
    traces = {bytes([number]) * 16: [value(bytes([number]) * 16, 1, private, PERSONAL)] for number in range(1, 6)}
    reader = PackReader.of_bytes(pack_of(traces, {}, limits=Limits(parts=1)), mac=KEY)

    assert reader.footer.shared.pieces == 0
    assert reader.shared(KEY("value", private)) is None


def test_bombs_are_refused_before_they_expand() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(256 * 2**20))
    for size in (10, 1000, 2**20, 2**28, 2**40):
        with pytest.raises(CorruptRecord):
            compression.decompress(bomb, size)


def test_a_damaged_pack_says_where() -> None:
    pack, traces = small_pack()
    bad = bytearray(pack)
    bad[layout.HEADER_BYTES + 3] ^= 1

    with pytest.raises(CorruptPack, match=r"corrupt in its block 0 at offset 64"):
        PackReader.of_bytes(bytes(bad), mac=KEY).frames(next(iter(traces)))


def test_one_trace_of_a_thousand_takes_two_reads_and_few_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refund trace of the benchmarks: texts that compress as prose does, and vectors that do not compress."""
    bench = workload.make()
    kitchen = runtime.Runtime(tmp_path / "store", seal_bytes=2**30)
    for number in range(1000):
        kitchen.run(bench, workload.turn(number))
    leave(kitchen)
    store = open_store(tmp_path / "store", create=False)
    traces, shared = frames_of(store)
    pack = pack_of(traces, shared, store.mac)
    reads: list[tuple[int, int]] = []
    for wanted in sorted(traces)[::50]:
        reader = PackReader.of_bytes(pack, mac=store.mac)
        without = reader.frames(wanted, vectors=False)
        few = reader.reads
        assert len(without) == len(traces[wanted])
        assert told(reader.frames(wanted)) == told(traces[wanted])
        reads.append((few, reader.reads))
    footer = PackReader.of_bytes(pack, mac=store.mac).footer
    vectors = sum(footer.part(number).vectors_length for number in range(footer.counts.parts))
    without_vector, whole = (len(pack) - vectors) / len(traces), len(pack) / len(traces)
    with capsys.disabled():
        print(f"\nin a pack: {without_vector:,.0f} bytes a trace without the vector, {whole:,.0f} with it")  # noqa: T201 - to be seen

    assert max(few for few, _ in reads) == 2, "the tail and the block"
    assert max(every for _, every in reads) <= 3, "and the vectors"
    assert without_vector < 1700
    assert whole < 7500
