"""The packs of an hour become one, and at no moment is a trace missing, doubled or torn."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.app import main
from storage import keys
from storage.check import check
from storage.errors import StoreError
from storage.log import Log
from storage.merging import GRACE_SECONDS, Done, merge
from storage.objects.contract import ObjectStore, StoreUnavailable
from storage.objects.faulty import Fault, FaultyObjectStore
from storage.objects.folder import FolderObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.opening import Settings, open_store
from storage.pack.reader import PackReader
from storage.records import Kind
from storage.sealing import seal
from storage.store import Store
from tests.at_once import at_once
from tests.test_storage_log import WAIT, put_run
from tests.test_storage_store import plain

KEY = "5e" * 32
HOUR = 1_790_000_000 // 3600 * 3600
GRACE = dt.timedelta(seconds=GRACE_SECONDS + 1)


class Clocked(MemoryObjectStore):
    """Objects in memory, with a clock that is put on by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = dt.timedelta()

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(HOUR + 3 * 3600, dt.UTC) + self.ahead


def trace_of(number: int, *, hour: int = 0) -> bytes:
    return number.to_bytes(5, "big") + (HOUR + 3600 * hour + number % 3600).to_bytes(4, "big") + bytes(7)


def opened(objects: ObjectStore, spool: Path) -> Store:
    return open_store(objects, create=True, settings=Settings(key=KEY, spool=str(spool)))


def put(store: Store, *traces: bytes) -> None:
    """One process's worth of runs, sealed."""
    log = Log(store)
    for trace in traces:
        put_run(log, trace)
    assert log.close(WAIT)
    _, kept = seal(store, quiet_seconds=0)
    assert not kept


def say(store: Store, trace: bytes) -> None:
    """Feedback, from a process of its own."""
    log = Log(store)
    sink = log.begin(trace, late=True)
    log.append(sink, int(Kind.ANNOTATION), sink.next_id(), ("feedback", 5, b"\x81\xa4csat\x02"))
    assert log.close(WAIT)
    seal(store, quiet_seconds=0)


def contents(objects: ObjectStore, spool: Path) -> dict[str, Any]:
    """Every trace as a fresh reader finds it."""
    store = opened(objects, spool)
    traces = list(store.ids())
    assert len(traces) == len(set(traces)), "a trace is seen twice"
    found = {trace: store.load(trace) for trace in traces}
    assert {one.state for one in found.values()} <= {"whole"}, [one.damage for one in found.values()]
    return {trace.hex(): plain(one) for trace, one in found.items()}


def exchange(objects: ObjectStore, key: str, data: bytes) -> None:
    """Put other bytes in an object's place, as no store of ours does."""
    objects.delete(key)
    objects.put_new(key, data)


def packs(objects: ObjectStore) -> list[str]:
    return [info.key for info in objects.list(keys.HOT)]


@pytest.fixture
def objects() -> Clocked:
    return Clocked()


def test_merged_packs_are_read_as_before_and_removed_after_the_grace(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(6):
        put(store, trace_of(2 * number), trace_of(2 * number + 1))
    say(store, trace_of(3))
    before, old = contents(objects, tmp_path), packs(objects)

    done = merge(store)

    assert [len(one.replaces) for one in done.merged] == [7]
    assert done.merged[0].traces == len(before) == 12
    assert done.merged[0].bytes_after < done.merged[0].bytes_before
    assert (done.removed, done.left) == ((), ())
    assert len(packs(objects)) == 8
    assert contents(objects, tmp_path) == before
    assert [one.kind for one in store.load(trace_of(3)).annotations] == ["note", "feedback"]
    assert merge(store) == Done((), (), ()), "what is replaced is merged no more"
    objects.ahead = GRACE
    assert {one.pack for one in merge(store).removed} == set(old)
    assert packs(objects) == [done.merged[0].pack]
    assert contents(objects, tmp_path) == before
    assert merge(store) == Done((), (), ())


def test_an_hour_that_is_not_over_is_left_alone(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(2):
        put(store, trace_of(number, hour=2))
    objects.ahead = dt.timedelta(seconds=599)
    assert merge(store) == Done((), (), ())
    objects.ahead = dt.timedelta(seconds=600)
    assert len(merge(store).merged) == 1


def test_packs_of_two_hours_stay_apart(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(2):
        put(store, trace_of(number), trace_of(number, hour=1))
    assert len(packs(objects)) == 4, "one record file is a pack for each hour that its traces are of"

    done = merge(store)

    assert [one.traces for one in done.merged] == [2, 2]
    assert len({one.pack.split("/")[1] for one in done.merged}) == 2
    assert len(contents(objects, tmp_path)) == 4


def test_what_is_large_enough_is_left_and_batches_keep_to_their_size(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(9):
        put(store, trace_of(number))
    before = contents(objects, tmp_path)
    size = max(info.size for info in objects.list(keys.HOT))

    done = merge(store, target_bytes=3 * size)

    assert [len(one.replaces) for one in done.merged] == [3, 3, 3]
    assert contents(objects, tmp_path) == before
    assert merge(store, target_bytes=size) == Done((), (), ())


def test_a_grace_shorter_than_an_upload_is_refused(objects: Clocked, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 300"):
        merge(opened(objects, tmp_path), grace_seconds=10)


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.FAIL_AFTER])
def test_a_merge_that_ends_at_any_call_loses_and_doubles_nothing(fault: Fault, tmp_path: Path) -> None:
    calls = 0
    while True:
        objects = Clocked()
        store = opened(objects, tmp_path / str(calls))
        for number in range(3):
            put(store, trace_of(number))
        before = contents(objects, tmp_path)
        failed = False
        for ahead in (dt.timedelta(), GRACE):
            objects.ahead = ahead
            left = [calls]

            def plan(_: str, __: str, left: list[int] = left) -> Fault | None:
                left[0] -= 1
                return fault if left[0] == 0 else None

            store.objects = FaultyObjectStore(objects, plan)
            try:
                merge(store)
            except StoreUnavailable:
                failed = True
                assert contents(objects, tmp_path) == before
            store.objects = objects
            merge(store)
            assert contents(objects, tmp_path) == before
        objects.ahead = 2 * GRACE
        merge(store)
        assert len(packs(objects)) == 1
        assert contents(objects, tmp_path) == before
        if calls and not failed:
            break
        calls += 1
    assert calls > 12


def test_two_mergers_of_overlapping_packs_do_no_harm(tmp_path: Path) -> None:
    objects = Clocked()
    store = opened(objects, tmp_path)
    for number in range(4):
        put(store, trace_of(number))
    before, all_packs = contents(objects, tmp_path), packs(objects)
    for seen in (all_packs[:3], all_packs[1:]):  # what each of them saw as it listed
        view = Clocked()
        for key in ["store.json", *seen]:
            view.put_new(key, objects.get(key, 2**20))
        [made] = merge(opened(view, tmp_path)).merged
        objects.put_new(made.pack, view.get(made.pack, 2**20))
        assert contents(objects, tmp_path) == before

    assert len(merge(store).merged) == 1
    objects.ahead = GRACE
    merge(store)
    assert contents(objects, tmp_path) == before
    assert len(packs(objects)) == 1


def test_many_mergers_at_once_make_one_pack(objects: Clocked, tmp_path: Path) -> None:
    for number in range(8):
        put(opened(objects, tmp_path), trace_of(number))
    before = contents(objects, tmp_path)

    at_once(lambda: merge(opened(objects, tmp_path)), 6)

    assert contents(objects, tmp_path) == before
    objects.ahead = GRACE
    merge(opened(objects, tmp_path))
    objects.ahead = 2 * GRACE
    merge(opened(objects, tmp_path))
    objects.ahead = 3 * GRACE
    merge(opened(objects, tmp_path))
    assert len(packs(objects)) == 1
    assert contents(objects, tmp_path) == before


def test_a_pack_that_comes_back_after_it_was_replaced_is_passed_over_for_ever(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(2):
        put(store, trace_of(number))
    first = packs(objects)[0]
    data = objects.get(first, 2**20)
    merge(store)
    objects.ahead = GRACE
    merge(store)
    put(store, trace_of(2))
    merge(store)
    objects.ahead = 2 * GRACE
    merge(store)
    assert len(packs(objects)) == 1
    before = contents(objects, tmp_path)

    objects.put_new(first, data)  # by a process that stood still for as long

    reader = opened(objects, tmp_path)
    assert contents(objects, tmp_path) == before
    assert len([one for one in reader.packs() if one == first]) == 1
    merge(reader)
    objects.ahead = 4 * GRACE
    merge(reader)
    assert first not in packs(objects)
    assert contents(objects, tmp_path) == before


def test_a_damaged_pack_is_marked_and_the_others_are_merged(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(6):
        put(store, trace_of(number))
    bad = packs(objects)[2]
    data = bytearray(objects.get(bad, 2**20))
    data[100] ^= 1
    exchange(objects, bad, bytes(data))
    reader = PackReader.of_bytes(bytes(data))
    lost = set(reader.ids())

    done = merge(store)

    assert [len(one.replaces) for one in done.merged] == [5]
    assert [one.pack for one in done.left] == [bad]
    assert "corrupt in its block 0" in done.left[0].why
    assert objects.get(bad, 2**20) == bytes(data)
    told = check(opened(objects, tmp_path), full=True)
    assert told.quarantined == (bad,)
    assert told.damaged == len(lost) == 1
    assert told.whole == 5
    objects.ahead = GRACE
    again = merge(store)
    assert [one.why for one in again.left] == ["it is marked as damaged"]
    assert bad in packs(objects), "what is damaged is never deleted"


def test_check_marks_when_asked_to_and_only_then(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    for number in range(3):
        put(store, trace_of(number))
    bad = packs(objects)[0]
    data = objects.get(bad, 2**20)
    exchange(objects, bad, data[:-1])

    assert check(opened(objects, tmp_path), full=False).quarantined == ()
    assert check(opened(objects, tmp_path), full=False, quarantine=True).quarantined == (bad,)
    assert json.loads(objects.get(keys.quarantined(bad), 2**20))["pack"] == bad


def test_a_replaced_pack_that_is_not_held_by_its_successor_stays(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    put(store, trace_of(0))
    put(store, trace_of(1))
    [made] = merge(store).merged
    stranger = made.replaces[0]
    other = opened(Clocked(), tmp_path / "other")
    put(other, trace_of(7))
    [foreign] = packs(other.objects)
    exchange(objects, stranger, other.objects.get(foreign, 2**20))
    objects.ahead = GRACE

    removed = {one.pack for one in merge(store).removed}

    assert removed == set(made.replaces) - {stranger}
    assert stranger in packs(objects)


def test_a_newer_pack_is_left(objects: Clocked, tmp_path: Path) -> None:
    store = opened(objects, tmp_path)
    put(store, trace_of(0))
    put(store, trace_of(1))
    put(store, trace_of(2))
    newer = packs(objects)[0]
    data = objects.get(newer, 2**20)
    # A feature that a reader may pass over, in header, footer and trailer: made with the writer's own layout.
    made = with_feature(data, store, 1 << 20)
    exchange(objects, newer, made)
    assert len(contents(objects, tmp_path)) == 3

    done = merge(store)

    assert [(one.pack, one.why) for one in done.left] == [(newer, "it was written by a newer kitchenlog")]
    assert [len(one.replaces) for one in done.merged] == [2]


def with_feature(pack: bytes, store: Store, feature: int) -> bytes:
    from storage.pack import writer as pack_writer

    reader = PackReader.of_bytes(pack, mac=store.mac)
    header = reader.footer.header
    made = pack_writer.PackWriter(header.store_id, header.writer_id, store.mac)
    made._header = made._header._replace(features=feature)
    for trace in reader.ids():
        records = reader.frames(trace)
        made.add(records)
        stored = store.load(trace)
        made.share(stored.header.manifest, stored.manifest)
        made.share(stored.header.environment, stored.environment)
    return made.build()


def test_a_reader_sees_every_trace_once_and_whole_while_packs_are_merged_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    writer = open_store(folder, create=True)
    traces = [trace_of(number) for number in range(30)]
    for trace in traces:
        put(writer, trace)
    reader = open_store(folder, create=False)
    wrong: list[str] = []
    rounds = 0
    stop = threading.Event()

    def read() -> None:
        nonlocal rounds
        while not stop.is_set():
            try:
                found = list(reader.ids())
                if sorted(found) != sorted(traces):
                    wrong.append(f"{len(found)} traces")
                wrong.extend(f"{one.hex()} is {reader.load(one).state}" for one in found if reader.load(one).state != "whole")
            except Exception as error:
                wrong.append(repr(error))
                return
            rounds += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        size = max(info.size for info in writer.objects.list(keys.HOT))
        for factor in (3, 8, 40, 200):
            merge(writer, target_bytes=factor * size)
            for info in writer.objects.list(keys.HOT):  # as if they had been written long ago
                path = folder / info.key
                os.utime(path, (HOUR, HOUR))
            merge(writer, target_bytes=factor * size)
    finally:
        stop.set()
        thread.join()

    assert not wrong, wrong[:5]
    assert rounds > 1
    assert len(packs(FolderObjectStore(folder))) == 1


def test_the_command_merges_and_tells(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, create=True)
    for number in range(3):
        put(store, trace_of(number))

    done = CliRunner().invoke(main, ["--store", str(folder), "merge"])
    again = CliRunner().invoke(main, ["--store", str(folder), "merge", "--json"])

    assert "3 packs merged into 1" in done.stdout
    assert json.loads(again.stdout) == {"merged": [], "removed": [], "left": []}


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no recordings in"):
        open_store(tmp_path / "none", create=False)
