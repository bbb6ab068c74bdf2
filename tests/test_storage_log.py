"""What goes into a log is on disk, or is counted."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import codec
from storage.disk import OsDisk
from storage.errors import RecordsLost, ValueLeftOut
from storage.log import Log, Sink
from storage.opening import open_store
from storage.records import LATE, Annotation, End, Error, Header, Intent, Kind, Link, Outcome, Span
from storage.store import Store
from storage.stored import Stored

TRACE = bytes.fromhex("0102030405" + "65000000" + "0a0b0c0d0e0f10")
OTHER = bytes.fromhex("1102030405" + "65000001" + "0a0b0c0d0e0f10")
LARGE = codec.encode("large " * 90)
SMALL = codec.encode({"small": 1.5})
MANIFEST = codec.encode(["agent", b"f" * 16, [], {}, {}, -1])
ENVIRONMENT = codec.encode({"python": "3.11"})
FAILED = Error("builtins:ValueError", "no", codec.encode(["no"]), None, retryable=True)
WAIT = 20.0

KINDS = {
    Header: Kind.HEADER, Intent: Kind.INTENT, Outcome: Kind.OUTCOME, Span: Kind.SPAN,
    Annotation: Kind.ANNOTATION, Link: Kind.LINK, End: Kind.END,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def log(store: Store) -> Iterator[Log]:
    made = Log(store)
    yield made
    assert made.close(WAIT)
    assert made.sent == made.stored + made.dropped


def put(log: Log, sink: Sink, kind: Kind, *fields: Any) -> int:
    number = sink.next_id()
    log.append(sink, int(kind), number, fields)
    return number


def put_header(log: Log, sink: Sink, *, data: bytes = SMALL, otel: tuple[str, str, int] | None = None) -> int:
    manifest, environment = log.shared("m", lambda: MANIFEST), log.shared("e", lambda: ENVIRONMENT)
    return put(
        log, sink, Kind.HEADER, 0, 0, "agent", b"f" * 16, manifest, environment, 1_700_000_000_000_000_000,
        b"s" * 32, None, {"who": "me"}, otel, data, "run",
    )  # fmt: skip


def put_intent(log: Log, sink: Sink, data: bytes | tuple[bytes, bytes] | None = SMALL, nth: int = 0) -> int:
    return put(log, sink, Kind.INTENT, 0, 0, "ask", 1, "1.2", nth, nth, 7, data, 3, b"")


def put_end(log: Log, sink: Sink, data: bytes | None = SMALL) -> int:
    return put(log, sink, Kind.END, 0, 2, 3, 0, data, None, 0)


def put_run(log: Log, trace: bytes = TRACE) -> Sink:
    """One of every kind."""
    sink = log.begin(trace)
    put_header(log, sink, data=LARGE, otel=("ab" * 16, "cd" * 8, 1))
    span = sink.next_id()
    intent = put_intent(log, sink, LARGE)
    put(log, sink, Kind.OUTCOME, intent, 1, 9, 1, None, FAILED, {"cost": 1}, ["odd"])
    attempts = [(1, 2, 1, FAILED), (3, 4, 0, None)]
    log.append(
        sink, int(Kind.SPAN), span,
        (0, 0, b"spanspan", 1, 5, 0, LARGE, None, attempts, {"a": [1]}, {"": [("time", 12)]}, [["hi", {}]], None,
         b"p" * 16, 1, 11),
    )  # fmt: skip
    put(log, sink, Kind.ANNOTATION, "note", 12, codec.encode("fine"))
    put(log, sink, Kind.LINK, "replay.of", OTHER, None)
    put_end(log, sink, codec.encode("x" * 600))
    return sink


def stored(log: Log, store: Store, trace: bytes = TRACE) -> Stored:
    assert log.flush(WAIT)
    return store.load(trace)


def test_every_kind_comes_back(log: Log, store: Store) -> None:
    assert codec.holds_opaque(LARGE) is None
    sink = put_run(log)
    found = stored(log, store)
    assert (found.state, found.damage) == ("whole", [])
    assert found.header == Header(
        0, 0, "agent", b"f" * 16, store.mac("value", MANIFEST), store.mac("value", ENVIRONMENT),
        1_700_000_000_000_000_000, b"s" * 32, None, {"who": "me"}, ("ab" * 16, "cd" * 8, 1), found.header.input, "run",
    )  # fmt: skip
    assert found.value(found.header.input) == LARGE
    ((number, intent),) = found.intents.items()
    assert intent == Intent(0, 0, "ask", 1, "1.2", 0, 0, 7, found.header.input, 3, b"")
    assert found.outcomes == {number: Outcome(number, 1, 9, 1, None, FAILED, {"cost": 1}, ["odd"])}
    span = found.spans[2]
    assert span.attempts == [(1, 2, 1, FAILED), (3, 4, 0, None)]
    assert span.draws == {"": [("time", 12)]}
    assert (span.log, span.output) == ([["hi", {}]], found.header.input)
    assert found.annotations == [Annotation("note", 12, codec.encode("fine"))]
    assert found.links == [Link("replay.of", OTHER, None)]
    assert found.end is not None
    assert (found.end.records, found.end.lost) == (9, 0) == (sink.written, sink.lost)
    assert found.value(found.end.output) == codec.encode("x" * 600)
    assert (found.manifest, found.environment) == (MANIFEST, ENVIRONMENT)
    assert found.find(store.mac("value", codec.encode("fine"))) == codec.encode("fine")
    assert found.digest(found.annotations[0].value) == store.mac("value", codec.encode("fine"))
    assert found.find(bytes(16)) is None


def test_a_value_is_stored_once_in_its_trace_and_a_shared_one_once_in_its_file(log: Log, store: Store) -> None:
    for trace in (TRACE, OTHER):
        sink = log.begin(trace)
        put_header(log, sink)
        for nth in range(5):
            put_intent(log, sink, LARGE, nth)
    assert log.flush(WAIT)
    (file,) = (Path(store.place) / "log").iterdir()
    data = file.read_bytes()
    assert data.count(LARGE) == 2
    assert data.count(MANIFEST) == data.count(ENVIRONMENT) == 1


def test_a_value_of_another_trace_is_found_there_also_through_a_third(log: Log, store: Store) -> None:
    third = OTHER[:-1] + b"\0"
    digest = store.mac("value", LARGE)
    for trace, given in ((OTHER, LARGE), (third, (OTHER, digest)), (TRACE, (third, digest))):
        sink = log.begin(trace)
        put_header(log, sink)
        put_intent(log, sink, given)
        put_end(log, sink)
    found = stored(log, store)
    (intent,) = found.intents.values()
    assert intent.request == (third, digest)
    assert found.value(intent.request) == LARGE
    assert found.digest(intent.request) == digest
    assert found.find(digest) == LARGE


def test_a_value_over_the_limit_is_left_out(log: Log, store: Store) -> None:
    sink = log.begin(TRACE)
    sink.personal = True
    put_header(log, sink)
    huge = bytes(codec.MAX_VALUE_BYTES + 1)
    put_intent(log, sink, huge)
    put_end(log, sink)
    found = stored(log, store)
    assert found.state == "whole"
    (intent,) = found.intents.values()
    with pytest.raises(ValueLeftOut, match="67,108,865") as refused:
        found.value(intent.request)
    assert refused.value.size == len(huge)
    assert found.digest(intent.request) == store.mac("value", huge)


def test_what_is_said_after_the_end_does_not_hide_a_loss(log: Log, store: Store) -> None:
    sink = put_run(log)
    put(log, sink, Kind.ANNOTATION, "note", 13, LARGE)
    late = log.begin(TRACE, late=True)
    number = put(log, late, Kind.ANNOTATION, "score", 14, codec.encode("s" * 900))
    assert LATE <= number < 2**32
    found = stored(log, store)
    assert found.state == "whole"
    assert [note.kind for note in found.annotations] == ["note", "note", "score"]
    assert found.value(found.annotations[2].value) == codec.encode("s" * 900)
    assert found.end is not None
    assert found.end.records == 9


def test_files_are_private_and_rotate(log: Log, store: Store) -> None:
    sink = log.begin(TRACE)
    put_header(log, sink)
    for nth in range(6):
        put_intent(log, sink, codec.encode(os.urandom(2 * 2**20)), nth)
        assert log.flush(WAIT)
    put_end(log, sink)
    found = stored(log, store)
    assert found.state == "whole"
    files = sorted((Path(store.place) / "log").iterdir())
    assert [file.name[16:] for file in files] == ["-000000.log", "-000001.log"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


class FaultyDisk(OsDisk):
    """A disk that does what it is told to."""

    def __init__(self) -> None:
        self.refuse_create: int | None = None
        self.refuse_write: int | None = None
        self.refuse_sync: int | None = None
        self.room: int | None = None
        self.shortest: int | None = None
        self.hold = threading.Event()
        self.hold.set()

    def create(self, path: str) -> int:
        if self.refuse_create is not None:
            raise OSError(self.refuse_create, os.strerror(self.refuse_create))
        return super().create(path)

    def write(self, descriptor: int, data: memoryview) -> int:
        assert self.hold.wait(WAIT)
        if self.refuse_write is not None:
            raise OSError(self.refuse_write, os.strerror(self.refuse_write))
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        return super().write(descriptor, data[: self.shortest])

    def sync(self, descriptor: int) -> None:
        if self.refuse_sync is not None:
            raise OSError(self.refuse_sync, os.strerror(self.refuse_sync))
        super().sync(descriptor)


def test_a_full_disk_is_counted_and_told_and_what_comes_later_is_stored(store: Store) -> None:
    disk, told = FaultyDisk(), list[str]()
    log = Log(store, on_loss=told.append, disk=disk)
    first = log.begin(TRACE)
    put_header(log, first)
    assert log.flush(WAIT)
    disk.room = 300
    for nth in range(20):
        put_intent(log, first, LARGE, nth)
    failure = log.barrier().exception(WAIT)
    assert isinstance(failure, RecordsLost)
    assert isinstance(failure, OSError)
    assert "No space left" in str(failure)
    assert (log.sent, log.stored, log.dropped, first.lost) == (21, 1, 20, 20)
    disk.room = 0
    put_intent(log, first)
    assert not log.flush(WAIT)
    disk.room = None
    put_run(log, OTHER)
    put_intent(log, first, LARGE)
    put_end(log, first)
    assert log.flush(WAIT)
    assert store.load(OTHER).state == "whole"
    found = store.load(TRACE)
    assert found.state == "damaged"
    assert found.end is not None
    assert found.end.lost == 21
    assert "21 records were lost while it was recorded" in found.damage
    assert found.value(found.intents[max(found.intents)].request) == LARGE
    assert log.close(WAIT)
    assert (log.sent, log.stored, log.dropped) == (31, 10, 21)
    assert told
    assert "No space left" in told[0]
    assert all(file.stat().st_size > 64 for file in (Path(store.place) / "log").iterdir())


@pytest.mark.parametrize("where", ["create", "write", "sync"])
def test_a_failing_disk_never_ends_the_writer(store: Store, where: str) -> None:
    disk = FaultyDisk()
    log = Log(store, disk=disk)
    setattr(disk, f"refuse_{where}", errno.EIO)
    lost = put_run(log)
    failure = log.barrier().exception(WAIT)
    assert isinstance(failure, RecordsLost)
    assert isinstance(failure.__cause__, OSError)
    assert failure.__cause__.errno == errno.EIO
    setattr(disk, f"refuse_{where}", None)
    put_run(log, OTHER)
    assert log.flush(WAIT)
    assert store.load(OTHER).state == "whole"
    assert log.close(WAIT)
    assert (log.sent, log.stored, log.dropped, lost.lost) == (14, 7, 7, 7)


def test_short_writes_are_written_on(store: Store) -> None:
    disk = FaultyDisk()
    disk.shortest = 7
    log = Log(store, disk=disk)
    put_run(log)
    assert stored(log, store).state == "whole"
    assert log.close(WAIT)


def test_a_full_queue_drops_and_counts(store: Store) -> None:
    disk, told = FaultyDisk(), list[str]()
    log = Log(store, queue_bytes=64 * 1024, on_loss=told.append, disk=disk)
    disk.hold.clear()
    sink = log.begin(TRACE)
    put_header(log, sink)
    time.sleep(0.05)  # the writer is now inside a write
    for nth in range(500):
        put_intent(log, sink, SMALL if nth % 2 else LARGE, nth)
    assert 400 < sink.lost == log.dropped < 500
    waiting = log.barrier()
    disk.hold.set()
    failure = waiting.exception(WAIT)
    assert isinstance(failure, RecordsLost)
    assert "more was recorded than the disk took" in str(failure)
    put_end(log, sink)
    found = stored(log, store)
    assert found.end is not None
    assert (found.state, found.end.lost) == ("damaged", sink.lost)
    assert log.close(WAIT)
    assert log.sent == 502 == log.stored + log.dropped
    assert told


def test_nothing_that_is_appended_raises(log: Log, store: Store) -> None:
    sink = log.begin(TRACE)
    put_header(log, sink)
    log.append(sink, 250, 9, ())
    put(log, sink, Kind.ANNOTATION, "\ud800", 1, SMALL)
    assert isinstance(log.barrier().exception(WAIT), RecordsLost)
    put_end(log, sink)
    assert stored(log, store).state == "damaged"
    assert (log.sent, log.dropped, sink.lost) == (4, 2, 2)


def test_a_closed_log_drops_and_counts(store: Store) -> None:
    log = Log(store)
    sink = put_run(log)
    assert log.close(WAIT)
    assert log.close(WAIT)
    put_intent(log, sink)
    assert (log.sent, log.stored, log.dropped, sink.lost) == (8, 7, 1, 1)
    assert log.barrier().exception(WAIT) is not None


def test_many_threads_lose_nothing(log: Log, store: Store) -> None:
    sink = log.begin(TRACE)
    put_header(log, sink)

    def work() -> None:
        for nth in range(500):
            put_intent(log, sink, LARGE if nth % 50 == 0 else SMALL, nth)
            if nth % 100 == 0:
                assert log.flush(WAIT)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    put_end(log, sink)
    found = stored(log, store)
    assert (found.state, len(found.intents)) == ("whole", 2000)
    assert (log.sent, log.stored, log.dropped) == (2002, 2002, 0)


def test_what_is_written_is_synced_without_being_asked_for(log: Log, store: Store) -> None:
    put_run(log)
    deadline = time.monotonic() + WAIT
    while log.stored < 7:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert store.load(TRACE).state == "whole"
