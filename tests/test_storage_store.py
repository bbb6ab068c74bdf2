"""A store says what it holds, and never takes damage for a recording."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage import frames
from storage.errors import AmbiguousTrace, CorruptRecord, InvalidId, StorageError, StoreError, TraceNotFound
from storage.log import Log
from storage.opening import open_store
from storage.records import Kind
from storage.store import Store
from storage.stored import Stored
from tests.test_storage_log import OTHER, SMALL, TRACE, WAIT, put_end, put_header, put_intent, put_run

GOLDEN = Path(__file__).parent / "golden" / "v1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def record(store: Store, *traces: bytes) -> Path:
    """The one file that these runs were written to."""
    log = Log(store)
    for trace in traces:
        put_run(log, trace)
    assert log.close(WAIT)
    (file,) = (Path(store.place) / "log").iterdir()
    return file


def again(store: Store) -> Store:
    return open_store(store.place, create=False)


def plain(stored: Stored) -> Any:
    """All that a trace says, with its values in place of references."""
    records = [
        stored.header, *stored.intents.values(), *stored.outcomes.values(), *stored.spans.values(),
        *stored.annotations, *stored.links, stored.end,
    ]  # fmt: skip
    refs = [
        stored.header.input, *(one.request for one in stored.intents.values()),
        *(one.output for one in stored.spans.values()), *(one.value for one in stored.annotations),
        None if stored.end is None else stored.end.output,
    ]  # fmt: skip
    values = [stored.value(ref) for ref in refs if ref is not None]
    return json.loads(msgspec.json.encode([records, values, stored.manifest, stored.environment]))


def judge(store: Store, wanted: Any) -> str:
    """The state of the one trace, which is whole only where it is what was written."""
    found = again(store)
    try:
        stored = found.load(TRACE)
    except StorageError as error:
        return type(error).__name__
    if stored.state == "whole":
        assert plain(stored) == wanted
        assert stored.damage == []
    elif stored.state == "damaged":
        assert stored.damage
    return stored.state


def test_a_file_that_ends_anywhere_is_never_a_different_trace(store: Store) -> None:
    file = record(store, TRACE)
    wanted = plain(store.load(TRACE))
    data = file.read_bytes()
    seen = set()
    for length in reversed(range(len(data))):
        os.truncate(file, length)
        seen.add(judge(store, wanted))
    # CorruptRecord: a value of the header is there before the header is.
    assert seen == {"TraceNotFound", "CorruptRecord", "unfinished"}


def test_a_byte_that_changes_anywhere_never_makes_a_different_trace(store: Store) -> None:
    file = record(store, TRACE)
    wanted = plain(store.load(TRACE))
    states: dict[str, int] = {}
    with file.open("r+b", buffering=0) as opened:
        for offset, byte in enumerate(file.read_bytes()):
            for written in (byte ^ 0xFF, byte):
                opened.seek(offset)
                opened.write(bytes([written]))
                if written != byte:
                    state = judge(store, wanted)
                    states[state] = states.get(state, 0) + 1
    # Whole: the file's own header says nothing of the trace. Unfinished: the last frame is a torn tail.
    assert states["whole"] == frames.FILE_HEADER_BYTES
    assert set(states) == {"whole", "damaged", "unfinished", "CorruptRecord"}


def test_damage_reaches_only_the_traces_that_it_leaves_incomplete(store: Store) -> None:
    file = record(store, TRACE, OTHER)
    data = bytearray(file.read_bytes())
    at = data.index(b"spanspan", data.index(b"spanspan") + 1)
    data[at] ^= 1
    file.write_bytes(data)
    fresh = again(store)
    assert fresh.load(TRACE).state == "whole"
    other = fresh.load(OTHER)
    assert other.state == "damaged"
    assert other.damage[0].startswith(f"{file.name} is damaged at offset ")
    assert "1 of its 9 records are missing" in other.damage
    assert fresh.damage == other.damage[:1]


def test_a_lost_header_is_named(store: Store) -> None:
    file = record(store, TRACE)
    data = bytearray(file.read_bytes())
    data[data.index(b"abababab")] ^= 1
    file.write_bytes(data)
    fresh = again(store)
    assert list(fresh.ids()) == [TRACE]
    with pytest.raises(CorruptRecord, match=f"{TRACE.hex()} has no header record.*{file.name} is damaged at offset"):
        fresh.load(TRACE)


def test_a_lost_manifest_is_named(store: Store) -> None:
    file = record(store, TRACE)
    data = bytearray(file.read_bytes())
    data[data.index(b"agent")] ^= 1
    file.write_bytes(data)
    stored = again(store).load(TRACE)
    assert stored.state == "damaged"
    assert any(text.startswith("its manifest") for text in stored.damage)
    with pytest.raises(CorruptRecord, match="the manifest of trace"):
        _ = stored.manifest


def frame(record: int, kind: int, body: bytes, trace: bytes = TRACE) -> bytes:
    return frames.pack_frame_header(kind, 0, record, trace, body) + body


def test_a_copied_file_changes_nothing_and_a_record_that_differs_is_damage(store: Store) -> None:
    file = record(store, TRACE)
    wanted = plain(store.load(TRACE))
    twin = file.with_name("0" * 16 + "-000000.log")
    shutil.copy(file, twin)
    assert judge(store, wanted) == "whole"
    with twin.open("ab") as opened:
        opened.write(frame(1, Kind.VALUE, b"d" * 16 + b"different"))
    stored = again(store).load(TRACE)
    assert stored.state == "damaged"
    assert "record 1 is there twice and differs" in stored.damage[0]


def test_a_value_without_its_digest_is_refused(store: Store) -> None:
    file = record(store, TRACE)
    with file.open("ab") as opened:
        opened.write(frame(900, Kind.VALUE, b"d" * 16 + SMALL))
    stored = again(store).load(TRACE)
    with pytest.raises(CorruptRecord, match=r"value 900 .* does not have its digest"):
        stored.value(900)
    with pytest.raises(CorruptRecord, match=r"value 901 .* is missing"):
        stored.value(901)
    with pytest.raises(CorruptRecord, match="has no value"):
        stored.value(None)


def test_kinds_and_fields_of_a_newer_minor_version_are_read(store: Store) -> None:
    file = record(store, TRACE)
    note = msgspec.msgpack.encode(["note", 1, SMALL, "a field that version 1.0 does not know"])
    with file.open("ab") as opened:
        opened.write(frame(900, 17, b"whatever") + frame(901, Kind.ANNOTATION, note))
    stored = again(store).load(TRACE)
    assert stored.state == "whole"
    assert stored.annotations[-1].value == SMALL


def test_a_newer_major_version_is_refused_in_words(store: Store) -> None:
    file = record(store, TRACE)
    data = bytearray(file.read_bytes())
    data[8:10] = (2).to_bytes(2, "little")
    import zlib

    data[12:16] = bytes(4)
    data[12:16] = zlib.crc32(data[:64]).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(StoreError, match="was written in version 2 of the format and this kitchenlog reads version 1"):
        list(again(store).ids())


def test_a_value_of_a_trace_that_is_not_here_is_named(store: Store) -> None:
    log = Log(store)
    sink = log.begin(TRACE)
    put_header(log, sink)
    put_intent(log, sink, (OTHER, b"d" * 16))
    put_intent(log, sink, (TRACE, b"d" * 16))
    put_end(log, sink)
    assert log.close(WAIT)
    stored = store.load(TRACE)
    away, circle = (intent.request for intent in stored.intents.values())
    with pytest.raises(TraceNotFound, match=OTHER.hex()):
        stored.value(away)
    with pytest.raises(CorruptRecord, match="refers back to it"):
        stored.value(circle)
    put_run(log := Log(store), OTHER)
    assert log.close(WAIT)
    with pytest.raises(CorruptRecord, match="which does not hold it"):
        stored.value(away)


def test_traces_are_found_by_prefix_and_by_their_foreign_id(store: Store) -> None:
    assert (list(store.ids()), store.count) == ([], 0)
    near = TRACE[:-1] + b"\xff"
    log = Log(store)
    put_run(log, TRACE)
    put_header(log, log.begin(OTHER))
    put_header(log, log.begin(near))
    assert log.close(WAIT)
    assert list(store.ids()) == [OTHER, near, TRACE]
    assert store.count == 3
    assert store.resolve("11") == OTHER
    assert store.resolve(f" {TRACE.hex().upper()} ") == TRACE
    assert store.resolve("ab" * 16) == TRACE
    with pytest.raises(AmbiguousTrace, match="2 traces") as refused:
        store.resolve("010")
    assert refused.value.newest == (near.hex(), TRACE.hex())
    with pytest.raises(TraceNotFound, match="holds 3 traces"):
        store.resolve("99")
    with pytest.raises(TraceNotFound):
        store.load(bytes(16))
    with pytest.raises(InvalidId):
        store.resolve("xyz")
    assert store.load(OTHER).state == "unfinished"


def test_a_reader_follows_a_writer(store: Store) -> None:
    log = Log(store)
    reader = again(store)
    sink = log.begin(TRACE)
    put_header(log, sink)
    for nth in range(20):
        put_intent(log, sink, SMALL, nth)
        assert log.flush(WAIT)
        assert len(reader.load(TRACE).intents) == nth + 1
    put_end(log, sink)
    assert log.close(WAIT)
    assert reader.load(TRACE).state == "whole"
    for file in (Path(store.place) / "log").iterdir():
        file.unlink()
    assert list(reader.ids()) == []


def test_files_of_another_store_are_left_alone(store: Store, tmp_path: Path) -> None:
    file = record(store, TRACE)
    other = open_store(tmp_path / "other", create=True)
    shutil.copy(file, Path(other.place) / "log")
    assert list(other.ids()) == []
    assert f"belongs to store {store.id.hex()}" in other.damage[0]


def test_a_store_is_private_and_opened_with_its_key_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store"
    with pytest.raises(StoreError, match="no recordings in"):
        open_store(path, create=False)
    made = open_store(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "key").stat().st_mode & 0o777 == 0o600
    assert (path / ".gitignore").read_text() == "*\n"
    assert sorted(one.name for one in path.iterdir()) == [".gitignore", "key", "log", "probe", "store.json", "~drafts"]
    assert open_store(path, create=True).id == made.id
    key = (path / "key").read_text()
    (path / "key").write_text("00" * 32)
    with pytest.raises(StoreError, match="was made with"):
        open_store(path, create=True)
    (path / "key").write_text("short")
    with pytest.raises(StoreError, match="is no key"):
        open_store(path, create=False)
    (path / "key").unlink()
    with pytest.raises(StoreError, match="key is missing"):
        open_store(path, create=True)
    (path / "key").write_text(key)
    told = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps({**told, "format": 2}))
    with pytest.raises(StoreError, match="is of format 2; this kitchenlog reads 1"):
        open_store(path, create=False)
    (path / "store.json").write_text("[]")
    with pytest.raises(StoreError, match="does not describe a store"):
        open_store(path, create=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(tmp_path / "file", create=True)
    with pytest.raises(StoreError, match="no recordings in"):
        open_store(tmp_path / "file", create=False)


def test_the_first_version_is_read_for_ever() -> None:
    store = open_store(GOLDEN / "store", create=False)
    assert store.id.hex() == "00112233445566778899aabbccddeeff"
    assert list(store.ids()) == [OTHER, TRACE]
    wanted = json.loads((GOLDEN / "expected.json").read_text())
    for trace in store.ids():
        stored = store.load(trace)
        assert [stored.state, plain(stored)] == wanted[trace.hex()]
