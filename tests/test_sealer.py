"""Record files are sealed by size, by age and at the end, whoever ends how, and every record is accounted for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

import runtime
from storage import keys
from storage.log import Log, Sink
from storage.objects.contract import ObjectStore
from storage.objects.faulty import Fault, FaultyObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.opening import Settings, open_store
from storage.sealer import Sealer
from storage.sealing import seal
from storage.spool import volatile
from storage.writer import Limits
from tests.buckets import AGENT, KEY, eventually
from tests.test_storage_log import FaultyDisk, put_run

ROOT = Path(__file__).parent.parent
WAIT = 50.0


def kitchen_on(objects: ObjectStore, spool: Path, **options: Any) -> runtime.Runtime:
    return runtime.Runtime(objects, key=KEY, spool=spool, **options)


def packs(objects: ObjectStore) -> list[str]:
    return [one.key for one in objects.list(keys.HOT) if keys.parse_pack(one.key)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


class Switch:
    """A plan that fails while it is told to, and only packs."""

    def __init__(self, fault: Fault = Fault.SERVER_ERROR) -> None:
        self.fault, self.on = fault, False

    def __call__(self, operation: str, key: str) -> Fault | None:
        return self.fault if self.on and operation == "put_new" and key.startswith(keys.HOT) else None


# when


def test_a_file_becomes_a_pack_once_it_is_large(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    with kitchen_on(objects, tmp_path, seal_bytes=20_000, durable="committed") as kitchen:
        runs = [kitchen.run(AGENT, f"text {number}") for number in range(60)]
        eventually(lambda: len(packs(objects)) >= 3)
        assert runs[0].durable == "stored"
        assert runs[-1].durable == "committed"
        assert len(kitchen.list(limit=None)) == 60
    assert {run.durable for run in runs} == {"stored"}
    assert not files(tmp_path)


def test_a_file_becomes_a_pack_once_its_first_run_ended_long_enough_ago(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    with kitchen_on(objects, tmp_path, seal_seconds=0.4) as kitchen:
        began = time.monotonic()
        runs = [kitchen.run(AGENT, "one")]
        while not packs(objects):
            runs.append(kitchen.run(AGENT, "more"))
            time.sleep(0.01)
            assert time.monotonic() < began + 20
        assert time.monotonic() - began >= 0.4
        eventually(lambda: runs[0].durable == "stored")
        time.sleep(0.5)
        before = len(packs(objects))
        time.sleep(1.0)
        assert len(packs(objects)) == before, "what holds nothing is not sealed"


def test_a_run_that_goes_on_does_not_keep_its_file_open_for_ever(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    done = anyio.Event()

    async def wait_for_it(text: str) -> str:
        await done.wait()
        return text

    graph = runtime.Graph("sealer.slow", input=str)
    slow = graph.build(graph.add(wait_for_it, graph.input))

    async def both(kitchen: runtime.Runtime) -> runtime.Run[str]:
        found: list[runtime.Run[str]] = []

        async def run() -> None:
            found.append(await kitchen.arun(slow, "slow"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(0.1)
            quick = await kitchen.arun(AGENT, "quick")
            with anyio.fail_after(20):
                while quick.durable != "stored":  # noqa: ASYNC110 - the sealer is a thread and tells no loop
                    await anyio.sleep(0.01)
            done.set()
        return found[0]

    with kitchen_on(objects, tmp_path, seal_seconds=0.1) as kitchen:
        run = anyio.run(both, kitchen)
        eventually(lambda: run.durable == "stored")
        assert len(packs(objects)) == 2, "the trace is in two packs"
        assert run.recording.status == "ok"
        assert kitchen.check(full=True).ok


ENDS = {
    "close": "kitchen.close()",
    "the end of the interpreter": "",
    "sys.exit": "sys.exit(0)",
    "an error": "sys.excepthook = lambda *_: None; raise ValueError",
    "sys.exit in a thread": "import threading; t = threading.Thread(target=lambda: (kitchen.run(AGENT, 'two'), sys.exit(1))); "
    "t.start(); t.join()",
    "SIGTERM that is handled": "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
    "os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
    "SIGINT": "import signal; sys.excepthook = lambda *_: None; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
    "a run at exit": "import atexit; atexit.register(lambda: kitchen.run(AGENT, 'late'))",
}
KILLS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL, "os._exit": None}
PREAMBLE = """
import os, sys, time
import runtime
from tests.buckets import AGENT
kitchen = runtime.Runtime(sys.argv[1])
print(kitchen.run(AGENT, "one").trace_id, flush=True)
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT)


@pytest.mark.parametrize("how", sorted(ENDS))
def test_a_process_that_ends_seals_what_it_recorded(tmp_path: Path, how: str) -> None:
    done = python(ENDS[how], tmp_path / "store")
    assert done.stderr == ""
    trace = done.stdout.split()[0]
    assert not files(tmp_path)
    with runtime.Runtime(tmp_path / "store") as kitchen:
        assert kitchen.open(trace).status == "ok"
        assert {line.status for line in kitchen.list()} == {"ok"}
        assert len(kitchen.list()) == 1 + ("thread" in how or "at exit" in how)
        assert kitchen.check(full=True).ok


@pytest.mark.parametrize("how", sorted(KILLS))
def test_a_process_that_is_killed_leaves_its_file_to_the_next_that_writes(tmp_path: Path, how: str) -> None:
    wanted = KILLS[how]
    end = "os._exit(1)" if wanted is None else f"os.kill(os.getpid(), {int(wanted)})"
    done = python(f"assert kitchen.log.flush(20); {end}", tmp_path / "store")
    assert done.returncode == (1 if wanted is None else -wanted)
    (left,) = files(tmp_path)
    with runtime.Runtime(tmp_path / "store") as reader:
        assert reader.open(done.stdout.strip()).status == "ok"
        assert reader.list()
    assert files(tmp_path) == [left], "who only reads seals nothing"
    os.utime(left, (1, 1))
    with runtime.Runtime(tmp_path / "store") as kitchen:
        kitchen.run(AGENT, "next")
        eventually(lambda: left not in files(tmp_path))
        assert kitchen.open(done.stdout.strip()).status == "ok"
    assert not files(tmp_path)


def test_a_file_that_a_live_process_holds_is_never_touched(tmp_path: Path) -> None:
    code = "assert kitchen.log.flush(20); print('ready', flush=True); sys.stdin.read(); print(kitchen.run(AGENT, 'two').trace_id)"
    command = [sys.executable, "-W", "ignore", "-c", PREAMBLE + code, str(tmp_path / "store")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        assert process.stdout.readline() == "ready\n"
        (held,) = files(tmp_path)
        before = held.read_bytes()
        os.utime(held, (1, 1))
        store = open_store(tmp_path / "store", create=True)
        sealer = Sealer(store, recover_seconds=0.05)
        sealer.start()
        time.sleep(0.5)
        assert sealer.close(WAIT)
        assert seal(store)[1][0].why == "a process is writing it"
        assert held.read_bytes() == before
        told, _ = process.communicate()
    assert process.returncode == 0
    with runtime.Runtime(tmp_path / "store") as kitchen:
        assert {line.trace_id for line in kitchen.list()} == {first, told.strip()}
    assert not files(tmp_path)


def test_a_file_from_the_future_is_sealed(tmp_path: Path) -> None:
    done = python("assert kitchen.log.flush(20); os._exit(1)", tmp_path / "store")
    (left,) = files(tmp_path)
    later = time.time() + 10**6
    os.utime(left, (later, later))  # as where a clock was set back since
    made, kept = seal(open_store(tmp_path / "store", create=False))
    assert (len(made), kept) == (1, [])
    assert runtime.Runtime(tmp_path / "store").open(done.stdout.strip()).status == "ok"


# processes and threads

FORKS = """
import fcntl
from storage.objects.faulty import FaultyObjectStore
from storage.objects.folder import FolderObjectStore
kitchen.close()
class Slow(FolderObjectStore):
    def put_new(self, key, data):
        if key.startswith("hot/"):
            os.write(2, b".")
            time.sleep(0.3)
        return super().put_new(key, data)
kitchen = runtime.Runtime(sys.argv[1], seal_bytes=10_000, durable='committed')
kitchen.run(AGENT, "warm")
kitchen._store.objects = Slow(sys.argv[1])
mine = [kitchen.run(AGENT, f"parent {n}").trace_id for n in range(20)]
sealer = kitchen.log._sealer
assert sealer.busy
pids = []
for number in range(3):
    pid = os.fork()
    if not pid:
        before = set(os.listdir(os.path.join(sys.argv[1], "log")))
        assert not kitchen.log._sealer.busy
        for link in os.listdir("/proc/self/fd"):
            try:
                assert not os.readlink(f"/proc/self/fd/{link}").endswith(".log"), "a descriptor of the parent's"
            except FileNotFoundError:
                pass
        traces = [kitchen.run(AGENT, f"child {number} {n}").trace_id for n in range(5)]
        assert kitchen.open(mine[0]).status == "ok"
        kitchen.close()
        print(*traces, flush=True)
        os._exit(0)
    pids.append(pid)
    mine.append(kitchen.run(AGENT, f"parent between {number}").trace_id)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
log = kitchen.log
kitchen.close()
assert log.sent == log.stored + log.dropped and not log.dropped
print(*mine, flush=True)
"""


def test_a_fork_while_files_are_sealed_keeps_parent_and_child_apart(tmp_path: Path) -> None:
    done = python(FORKS, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert not files(tmp_path)
    traces = done.stdout.split()
    assert len(traces) == len(set(traces)) == 1 + 15 + 23
    with runtime.Runtime(tmp_path / "store") as kitchen:
        there = {line.trace_id: line.status for line in kitchen.list(limit=None)}
        assert {there[trace] for trace in traces} == {"ok"}
        assert len(there) == len(traces) + 1
        assert kitchen.check(full=True).ok


LIVES_ON = """
import signal, threading
from storage.disk import OsDisk
from storage.log import Log, Sink
from storage.opening import open_store
kitchen.close()
begun = threading.Event()
class SlowToBegin(OsDisk):
    def create(self, path):
        made = super().create(path)
        begun.set()
        return made
    def sync_folder(self, path):
        time.sleep(0.5)
        super().sync_folder(path)
kitchen = runtime.Runtime(sys.argv[1])
kitchen.list()
kitchen.log = Log(open_store(sys.argv[1], create=True), disk=SlowToBegin())
thread = threading.Thread(target=kitchen.run, args=(AGENT, "begins"))
thread.start()
assert begun.wait(20)
child = os.fork()  # while the file is there and nobody knows of it yet
if not child:
    signal.pause()
thread.join()
assert kitchen.log.flush(20)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_that_lives_on_does_not_keep_the_file_of_a_parent_that_died(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PREAMBLE + LIVES_ON, str(tmp_path / "store")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    child = int(process.stdout.readline())
    try:
        assert process.wait(WAIT) == -signal.SIGKILL
        (left,) = files(tmp_path)
        os.utime(left, (1, 1))
        made, kept = seal(open_store(tmp_path / "store", create=False))
        assert (len(made), kept) == (1, [])
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


READS = """
import threading
from storage.objects.folder import FolderObjectStore
reading = threading.Event()
class Slow(FolderObjectStore):
    def list(self, prefix):
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            time.sleep(2)
        return super().list(prefix)
trace = kitchen.list()[0].trace_id
store = kitchen._store
store.objects = store._packs._objects = Slow(sys.argv[1])
thread = threading.Thread(target=kitchen.open, args=(trace,))
thread.start()
assert reading.wait(20)
pid = os.fork()
if not pid:
    import faulthandler
    faulthandler.dump_traceback_later(15, exit=True)
    assert kitchen.open(trace).status == "ok"
    assert kitchen.open(kitchen.run(AGENT, "child").trace_id).status == "ok"
    kitchen.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
thread.join()
assert len(kitchen.list()) == 2
"""


def test_a_fork_while_a_thread_reads_leaves_the_child_able_to(tmp_path: Path) -> None:
    done = python(READS, tmp_path / "store")
    assert done.returncode == 0, done.stderr


SPAWNS = """
import multiprocessing
def work(path, number):
    with runtime.Runtime(path) as mine:
        for n in range(5):
            mine.run(AGENT, f"spawned {number} {n}")
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    made = [context.Process(target=work, args=(sys.argv[1], number)) for number in range(3)]
    for one in made: one.start()
    for one in made: one.join()
    assert [one.exitcode for one in made] == [0, 0, 0]
"""


def test_spawned_processes_record_into_one_store(tmp_path: Path) -> None:
    program = tmp_path / "spawns.py"
    program.write_text(PREAMBLE.replace("print(", "0 and print(") + SPAWNS)
    command = [sys.executable, "-W", "ignore", str(program), str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert not files(tmp_path)
    with runtime.Runtime(tmp_path / "store") as kitchen:
        assert [line.status for line in kitchen.list(limit=None)] == ["ok"] * 15


def test_many_loops_in_many_threads_wait_for_one_store(tmp_path: Path) -> None:
    objects = FaultyObjectStore(MemoryObjectStore())
    runs: list[runtime.Run[str]] = []
    with kitchen_on(objects, tmp_path, durable="stored") as kitchen:
        kitchen.run(AGENT, "warm")

        def work(number: int) -> None:
            async def some() -> None:
                async with anyio.create_task_group() as tasks:
                    for nth in range(5):
                        tasks.start_soon(one, nth)

            async def one(nth: int) -> None:
                runs.append(await kitchen.arun(AGENT, f"text {number} {nth}"))

            for _ in range(2):
                anyio.run(some, backend=("asyncio", "trio")[number % 2])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = kitchen.log
        assert log is not None
    assert len(runs) == 60
    assert {run.durable for run in runs} == {"stored"}
    assert len(packs(objects)) < 50
    assert (log.sent, log.dropped) == (log.stored, 0)
    with kitchen_on(objects, tmp_path) as again:
        assert len(again.list(limit=None)) == 61


# a store that fails

FAULTS = [Fault.FAIL_BEFORE, Fault.FAIL_AFTER, Fault.SERVER_ERROR]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_is_back_gets_what_waited_and_every_record_is_counted(tmp_path: Path, fault: Fault) -> None:
    switch = Switch(fault)
    objects = FaultyObjectStore(MemoryObjectStore(), switch)
    told: list[str] = []
    store = open_store(objects, create=True, settings=Settings(key=KEY, spool=str(tmp_path)))
    log = Log(store, limits=Limits(seal_bytes=20_000), sealer=Sealer(store, on_trouble=told.append))
    traces = [put_run(log, number.to_bytes(16)) for number in range(1, 40)]
    switch.on = True
    traces += [put_run(log, number.to_bytes(16)) for number in range(40, 80)]
    assert log.flush(WAIT)
    assert len(list(store.ids())) == 79
    waiting = log.stored_barrier()
    eventually(lambda: told)
    assert not waiting.done()
    assert not log.is_stored(traces[-1])
    assert "waits in" in told[0]
    switch.on = False
    waiting.result(WAIT)
    assert all(log.is_stored(trace) for trace in traces)
    assert log.close(WAIT)
    assert log.sent == log.stored == 79 * 7
    assert not files(tmp_path)
    assert [store.load(trace).state for trace in store.ids()] == ["whole"] * 79


def test_a_log_that_closes_while_the_store_is_gone_leaves_the_files_to_the_next(tmp_path: Path) -> None:
    switch = Switch()
    objects = FaultyObjectStore(MemoryObjectStore(), switch)
    with kitchen_on(objects, tmp_path) as kitchen:
        kitchen.run(AGENT, "one")
        switch.on = True
        log = kitchen.log
        assert log is not None
        began = time.monotonic()
        assert not log.close(20)
        assert time.monotonic() - began < 10
    assert log.sent == log.stored
    assert len(files(tmp_path)) == 1
    assert not packs(objects)
    switch.on = False
    os.utime(files(tmp_path)[0], (1, 1))
    with kitchen_on(objects, tmp_path, durable="stored") as kitchen:
        kitchen.run(AGENT, "two")
        eventually(lambda: len(packs(objects)) == 2)
    assert not files(tmp_path)


def test_what_may_wait_for_the_store_is_bounded_counted_and_taken_up_again(tmp_path: Path) -> None:
    switch, told = Switch(), list[str]()
    objects = FaultyObjectStore(MemoryObjectStore(), switch)
    store = open_store(objects, create=True, settings=Settings(key=KEY, spool=str(tmp_path)))
    switch.on = True

    def record(first: int) -> Log:
        limits = Limits(seal_bytes=20_000, spool_bytes=60_000)
        log = Log(store, limits=limits, sealer=Sealer(store, recover_seconds=0.2), on_loss=told.append)
        sinks: list[Sink] = []
        for number in range(first, first + 100):
            sinks.append(put_run(log, number.to_bytes(16)))
            log.flush(WAIT)
        assert log.sent == 700 == log.stored + log.dropped
        assert log.dropped == sum(sink.lost for sink in sinks) > 0
        assert sum(file.stat().st_size for file in files(tmp_path)) < 60_000 + 25_000
        return log

    before = record(1000)
    assert before.stored > 0
    assert not before.close(WAIT)
    log = record(2000)
    assert log.stored == 0, "what a process before it left was counted"
    assert "bytes of record files wait for their store, and spool_bytes is 60,000" in told[-1]
    switch.on = False
    for file in files(tmp_path):
        os.utime(file, (1, 1))
    eventually(lambda: not files(tmp_path))
    put_run(log, (9000).to_bytes(16))
    assert log.flush(WAIT)
    assert log.close(WAIT)
    assert store.load((9000).to_bytes(16)).state == "whole"
    assert log.sent == log.stored + log.dropped


def test_runs_are_held_back_for_a_store_that_is_slow_and_not_for_one_that_is_away(tmp_path: Path) -> None:
    switch = Switch(Fault.SLOW)
    objects = FaultyObjectStore(MemoryObjectStore(), switch, slow_seconds=0.05)
    store = open_store(objects, create=True, settings=Settings(key=KEY, spool=str(tmp_path)))
    switch.on = True
    log = Log(store, limits=Limits(seal_bytes=4_000, spool_bytes=200_000), sealer=Sealer(store))
    number = 0
    while not log.crowded:
        number += 1
        put_run(log, number.to_bytes(16))
        assert log.flush(WAIT)
        assert number < 500, "the store is behind, and nobody is told"
    assert log.dropped == 0
    eventually(lambda: not log.crowded)
    switch.fault = Fault.SERVER_ERROR
    while number < 500 and not log.dropped:
        number += 1
        put_run(log, number.to_bytes(16))
        log.flush(WAIT)
    assert log.dropped
    eventually(lambda: not log.crowded)  # waiting would help nobody
    switch.on = False
    log.close(WAIT)
    assert log.sent == log.stored + log.dropped


@pytest.mark.parametrize("when_full", ["wait", "drop"])
def test_a_slow_disk_holds_new_runs_back_or_drops_and_counts(tmp_path: Path, when_full: Any) -> None:
    disk = FaultyDisk()
    with runtime.Runtime(tmp_path / "store", when_full=when_full, queue_bytes=64 * 1024) as kitchen:
        kitchen._writing()
        former = kitchen.log
        assert former is not None
        former.close(WAIT)
        log = kitchen.log = Log(open_store(tmp_path / "store", create=True), queue_bytes=64 * 1024, disk=disk)
        kitchen.run(AGENT, "before")
        assert log.flush(WAIT)
        disk.hold.clear()
        try:
            kitchen.run(AGENT, "fills")
            time.sleep(0.1)  # the writer is inside a write now
            while not log.crowded:
                kitchen.run(AGENT, "fills")
            began = time.monotonic()
            held = kitchen.run(AGENT, "text")
            took = time.monotonic() - began
            assert held.output == "TEXT " * 120
            many = [kitchen.run(AGENT, "text") for _ in range(40)] if when_full == "drop" else []
        finally:
            disk.hold.set()
        assert (took > 0.9) == (when_full == "wait")
        assert log.flush(WAIT) == (when_full == "wait")
        assert log.sent == log.stored + log.dropped
        if when_full == "drop":
            assert log.dropped > 0
            assert {run.durable.partition(":")[0] for run in many[-20:]} == {"lost"}
            assert {run.output for run in many} == {"TEXT " * 120}
        assert kitchen.run(AGENT, "after").recording.status == "ok"


def test_a_run_that_was_lost_is_never_called_stored(tmp_path: Path) -> None:
    disk = FaultyDisk()
    objects = MemoryObjectStore()
    with kitchen_on(objects, tmp_path, durable="stored") as kitchen:
        good = kitchen.run(AGENT, "good")
        former, store = kitchen.log, kitchen._store
        assert former is not None
        assert store is not None
        former.close(WAIT)
        kitchen.log = Log(store, disk=disk, sealer=Sealer(store))
        disk.room = 2000
        lost = kitchen.run(AGENT, "x" * 3000)
        disk.room = None
        later = kitchen.run(AGENT, "later")
    assert (good.durable, later.durable) == ("stored", "stored")
    assert lost.durable.startswith("lost: ")
    assert "No space left on device" in lost.durable
    with kitchen_on(objects, tmp_path) as again:
        assert again.open(later.trace_id).status == "ok"
        for line in again.list():
            assert line.status == "ok" or line.trace_id == lost.trace_id


def test_a_pack_that_cannot_be_made_keeps_its_file_and_no_other(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    told: list[str] = []
    store = open_store(objects, create=True, settings=Settings(key=KEY, spool=str(tmp_path)))
    log = Log(store, sealer=Sealer(store, on_trouble=told.append))
    put_run(log, (1).to_bytes(16))
    assert log.flush(WAIT)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    assert log.stored_barrier().exception(WAIT) is not None
    put_run(log, (2).to_bytes(16))
    log.stored_barrier().exception(WAIT)
    assert len(packs(objects)) == 1
    assert not log.close(WAIT)
    assert files(tmp_path) == [file]
    assert "damaged at offset" in told[0]
    assert store.load((2).to_bytes(16)).state == "whole"


def test_waiting_runs_are_told_when_the_log_closes_first(tmp_path: Path) -> None:
    switch = Switch()
    objects = FaultyObjectStore(MemoryObjectStore(), switch)
    store = open_store(objects, create=True, settings=Settings(key=KEY, spool=str(tmp_path)))
    log = Log(store, sealer=Sealer(store))
    switch.on = True
    put_run(log, (1).to_bytes(16))
    waiting = [log.stored_barrier() for _ in range(3)]
    assert not log.close(WAIT)
    for one in waiting:
        assert "they are on disk" in str(one.exception(WAIT))
    assert "closed" in str(log.stored_barrier().exception(WAIT))


NO_THREADS = """
import threading
with runtime.Runtime(sys.argv[1]) as other:
    other._writing()
    threading.stack_size(1 << 46)  # no thread can be started any more
    print(other.run(AGENT, "two").trace_id)
"""


def test_where_no_thread_can_be_started_files_are_sealed_at_the_end(tmp_path: Path) -> None:
    done = python(NO_THREADS, tmp_path / "store")
    assert (done.returncode, done.stderr) == (0, "")
    assert not files(tmp_path)
    with runtime.Runtime(tmp_path / "store") as kitchen:
        assert [kitchen.open(trace).status for trace in done.stdout.split()] == ["ok", "ok"]


# where files wait

MOUNTS = """\
22 1 0:20 / / rw,relatime - {root} root rw
23 22 0:21 / /dev rw - devtmpfs devtmpfs rw
30 22 0:30 / {point} rw shared:1 - {kind} none rw
"""


@pytest.mark.parametrize(
    ("root", "kind", "said"),
    [
        ("ext4", "ext4", None),
        ("overlay", "ext4", None),
        ("ext4", "tmpfs", "on tmpfs: in memory, and gone when the machine restarts"),
        ("ext4", "overlay", "on overlay: the writable layer of a container, and gone with it"),
        ("ext4", "ramfs", "on ramfs"),
    ],
)
def test_a_spool_that_may_vanish_is_warned_of(tmp_path: Path, root: str, kind: str, said: str | None) -> None:
    spool = tmp_path / "with space" / "spool"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(root=root, kind=kind, point=str(spool).replace(" ", "\\040")))
    store = open_store(MemoryObjectStore(), create=True, settings=Settings(key=KEY, spool=str(spool)))
    warning = volatile(store, str(mounts))
    assert (warning is None) == (said is None)
    assert (said or "") in (warning or "")
    assert warning is None or "spool=..." in warning
    assert volatile(store, str(tmp_path / "none")) is None


def test_a_folder_of_recordings_is_warned_of_nowhere(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(root="tmpfs", kind="tmpfs", point=tmp_path))
    assert volatile(open_store(tmp_path / "store", create=True), str(mounts)) is None
