"""Several processes record into one store, and end as processes do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.opening import open_store
from storage.store import Store
from tests.test_storage_log import OTHER, TRACE, WAIT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


PREAMBLE = """
import os, sys, itertools
from pathlib import Path
from storage.ids import new_trace_id
from storage.log import Log
from storage.opening import open_store
from storage.store import Store
from tests.test_storage_log import put_run, put_header, put_end, put_intent
store = open_store(Path(sys.argv[1]), create=True)
log = Log(store)
"""


def script(text: str, *args: object) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-W", "ignore", "-c", PREAMBLE + text, *map(str, args)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_nothing_acknowledged_is_lost_to_a_kill(store: Store) -> None:
    endless = """
while True:
    trace = new_trace_id()
    put_run(log, trace)
    log.barrier().result()
    print(trace.hex(), flush=True)
"""
    with script(endless, store.place) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(40)]
        process.kill()
        told += process.stdout.read().split()
    whole = [trace for trace in told if len(trace) == 32]
    assert len(whole) >= 40
    for text in whole:
        assert store.load(store.resolve(text)).state == "whole"
    for trace in store.ids():
        assert store.load(trace).state in {"whole", "unfinished"}


def test_what_is_queued_is_written_at_exit(store: Store) -> None:
    with script("put_run(log, bytes.fromhex(sys.argv[2]))", store.place, TRACE.hex()) as process:
        assert process.wait(WAIT) == 0
    assert store.load(TRACE).state == "whole"


def test_a_forked_child_writes_files_of_its_own(store: Store) -> None:
    forks = """
mine, child = map(bytes.fromhex, sys.argv[2:])
sink = log.begin(mine)
put_header(log, sink)
log.flush(20)
put_intent(log, sink)
pid = os.fork()
if not pid:
    put_intent(log, sink)  # a run of the parent's: the child may not number its records
    put_run(log, child)
    assert not log.flush(20)
    assert (log.sent, log.stored, log.dropped) == (8, 7, 1), (log.sent, log.stored, log.dropped)
    log.close(20)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
put_end(log, sink)
assert log.flush(20)
"""
    with script(forks, store.place, TRACE.hex(), OTHER.hex()) as process:
        assert process.wait(WAIT) == 0
    assert store.load(TRACE).state == "whole"
    assert store.load(OTHER).state == "whole"
    assert len(list((Path(store.place) / "log").iterdir())) == 2


def test_processes_that_make_one_store_at_once_use_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store"
    processes = [script("print(store.id.hex(), store.mac.key_id.hex()); put_run(log, new_trace_id())", path) for _ in range(4)]
    told = {process.communicate(timeout=WAIT)[0] for process in processes}
    assert len(told) == 1
    found = open_store(path, create=False)
    assert [found.load(trace).state for trace in found.ids()] == ["whole"] * 4
