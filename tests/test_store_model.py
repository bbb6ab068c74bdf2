"""Anything may happen to a store, in any order: what was acknowledged is there, once and whole, as in a perfect memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from storage import codec
from storage.check import check
from storage.errors import CorruptRecord, TraceNotFound
from storage.log import Log
from storage.merging import GRACE_SECONDS, merge
from storage.objects.contract import StoreUnavailable
from storage.objects.faulty import Fault, FaultyObjectStore
from storage.opening import Settings, open_store
from storage.records import Kind
from storage.sealing import seal
from storage.store import Store
from storage.stored import Stored
from tests.buckets import KEY
from tests.test_merging import Clocked, trace_of
from tests.test_storage_log import WAIT, put_run
from tests.test_storage_store import plain

FAULTS = st.sampled_from([None, *(fault for fault in Fault if fault not in {Fault.IGNORE_CONDITION, Fault.SLOW})])


class Trouble:
    """What goes wrong with the next calls, whatever they are."""

    def __init__(self) -> None:
        self.next: list[Fault | None] = []

    def __call__(self, operation: str, key: str) -> Fault | None:
        return self.next.pop(0) if self.next else None


class StoreModel(RuleBasedStateMachine):
    """One machine's spool and one object store; a process at a time records, and others seal, merge and read.

    The model is what was acknowledged: traces, and what was said of each later.
    """

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.memory, self.trouble = Clocked(), Trouble()
        self.objects = FaultyObjectStore(self.memory, self.trouble)
        self.count = 0
        self.kept: dict[bytes, Counter[int]] = {}
        self.in_store: set[bytes] = set()
        """Traces of which all that was acknowledged was sealed."""
        self.given: dict[bytes, Counter[int]] = {}
        """What was recorded and not acknowledged yet."""
        self.unsure: dict[bytes, Counter[int]] = {}
        """What may be there too: its process died before it was told."""
        self.start()
        pristine = self.open(self.folder / "pristine")
        pristine.objects = Clocked()
        log = Log(pristine)
        put_run(log, trace_of(0))
        assert log.close(WAIT)
        self.wanted = without_feedback(pristine.load(trace_of(0)))[0]

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close(WAIT)
            shutil.rmtree(self.folder)

    def open(self, spool: Path) -> Store:
        return open_store(self.memory, create=True, settings=Settings(key=KEY, spool=str(spool)))

    def start(self) -> None:
        self.store = self.open(self.folder / "spool")
        self.store.objects = self.objects
        self.log = Log(self.store)
        self.safe = {file: file.stat().st_size for file in self.files()}

    def files(self) -> list[Path]:
        return sorted(Path(self.store.log_folder).glob("*.log"))

    # what happens

    @rule(hour=st.integers(0, 2), number=st.integers(1, 3), told=st.sampled_from([True, True, False]))
    def record(self, hour: int, number: int, told: bool) -> None:
        for _ in range(number):
            self.count += 1
            trace = trace_of(self.count, hour=hour)
            put_run(self.log, trace)
            self.given[trace] = Counter()
        if told:
            self.acknowledge()

    @rule(pick=st.randoms(use_true_random=False), score=st.integers(0, 5), told=st.booleans())
    def feedback(self, pick: Any, score: int, told: bool) -> None:
        known = sorted({*self.kept, *self.given})
        if not known:
            return
        trace = pick.choice(known)
        sink = self.log.begin(trace, late=True)
        self.log.append(sink, int(Kind.ANNOTATION), sink.next_id(), ("feedback", 5, codec.encode({"csat": score})))
        self.given.setdefault(trace, Counter())[score] += 1
        if told:
            self.acknowledge()

    @rule()
    def acknowledge(self) -> None:
        assert self.log.flush(WAIT)
        self.keep()
        self.safe = {file: file.stat().st_size for file in self.files()}

    def keep(self) -> None:
        for trace, scores in self.given.items():
            self.kept.setdefault(trace, Counter()).update(scores)
            self.in_store.discard(trace)
        self.given.clear()

    @rule()
    def end(self) -> None:
        """The process ends as it should, and the next one begins."""
        assert self.log.close(WAIT)
        self.keep()
        self.start()

    @rule(lost=st.floats(0, 1))
    def crash(self, lost: float) -> None:
        """The process is killed, and of what it was not told about, some is gone: of the last file, any number of bytes."""
        self.log._end(WAIT)
        for file in self.files():
            size, safe = file.stat().st_size, self.safe.get(file, 0)
            if safe < size and self.given:
                os.truncate(file, safe + int((size - safe) * (1 - lost)))
        for trace, scores in self.given.items():
            self.unsure.setdefault(trace, Counter()).update(scores)
        self.given.clear()
        self.start()

    @rule(faults=st.lists(FAULTS, max_size=6), killed=st.sampled_from([True, True, False]))
    def seal(self, faults: list[Fault | None], killed: bool) -> None:
        """Another process seals what this one is not writing, or not any more; the store fails meanwhile."""
        if killed:
            self.crash(0.5)
        self.trouble.next = faults
        try:
            _, kept = seal(self.store, quiet_seconds=0)
        except StoreUnavailable:
            return
        finally:
            self.trouble.next = []
        assert {one.why for one in kept} <= {"a process is writing it"}
        if not self.files():
            self.in_store |= set(self.kept)

    @rule(faults=st.lists(FAULTS, max_size=30), later=st.booleans(), sealed=st.booleans())
    def merge(self, faults: list[Fault | None], later: bool, sealed: bool) -> None:
        if sealed:
            self.seal([], killed=True)
        if later:
            self.memory.ahead += dt.timedelta(seconds=GRACE_SECONDS + 1)
        self.trouble.next = [None if fault is Fault.CUT else fault for fault in faults]
        with contextlib.suppress(StoreUnavailable):
            merge(self.store)
        self.trouble.next = []

    @rule(faults=st.lists(FAULTS, min_size=1, max_size=6))
    @precondition(lambda self: self.kept)
    def read_in_trouble(self, faults: list[Fault | None]) -> None:
        """A reader of a store that fails is right, or says that it failed."""
        reader = self.open(self.folder / "spool")
        reader.objects = self.objects
        reader._packs._objects = self.objects
        self.trouble.next = faults
        for trace in sorted(self.kept)[:4]:
            with contextlib.suppress(StoreUnavailable, CorruptRecord):
                try:
                    found = reader.load(trace)
                except TraceNotFound as error:
                    raise AssertionError("what fails is not absent") from error
                if found.state == "whole":
                    assert without_feedback(found)[0] == self.wanted
        self.trouble.next = []

    # what holds

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if not hasattr(self, "log"):
            return
        self.log.flush(WAIT)
        reader = self.open(self.folder / "spool")
        found = list(reader.ids())
        assert len(found) == len(set(found))
        assert set(self.kept) <= set(found) <= {*self.kept, *self.given, *self.unsure}
        for trace in self.kept:
            if trace not in self.given and trace not in self.unsure:
                stored = reader.load(trace)
                assert (stored.state, stored.damage) == ("whole", [])
            self.compare(trace, reader.load(trace))
        for trace in set(found) - set(self.kept) - set(self.given):
            with contextlib.suppress(CorruptRecord):  # what is there of it may not be its beginning
                if (stored := reader.load(trace)).state == "whole":
                    self.compare(trace, stored)
        elsewhere = self.open(self.folder / "elsewhere")
        assert self.in_store <= set(elsewhere.ids())

    def compare(self, trace: bytes, stored: Stored) -> None:
        told, scores = without_feedback(stored)
        if stored.state == "whole":
            assert told == self.wanted
        most = self.kept.get(trace, Counter()) + self.given.get(trace, Counter()) + self.unsure.get(trace, Counter())
        assert self.kept.get(trace, Counter()) <= scores <= most

    @rule()
    def all_is_well_at_last(self) -> None:
        """Once the store answers, everything comes to be in it, and a check finds nothing."""
        self.end()
        self.seal([], killed=False)
        self.merge([], later=True, sealed=False)
        self.merge([], later=True, sealed=False)
        assert not self.files()
        elsewhere = self.open(self.folder / "elsewhere")
        assert set(self.kept) <= set(elsewhere.ids())
        for trace, scores in self.kept.items():
            stored = elsewhere.load(trace)
            assert without_feedback(stored)[1] >= scores
            assert stored.state == "whole" or trace in self.unsure
        report = check(elsewhere, full=True)
        assert report.ok or self.unsure
        assert report.damaged == 0 or self.unsure


def without_feedback(stored: Stored) -> tuple[Any, Counter[int]]:
    """All that a trace said when it ended, and the scores that it was given later."""
    notes, stored.annotations = stored.annotations, [one for one in stored.annotations if one.kind != "feedback"]
    told = None
    if stored.state == "whole":
        # Without the records themselves: which numbers their values get, the two threads of a log decide between them.
        records, *values = plain(stored)
        told = [len(records), values]
    stored.annotations = notes
    scores = [codec.decode_any(stored.value(one.value))["csat"] for one in notes if one.kind == "feedback"]
    return told, Counter(scores)


def test_whatever_happens_a_store_holds_what_was_acknowledged() -> None:
    run_state_machine_as_test(
        StoreModel,
        settings=settings(
            max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )  # fmt: skip
