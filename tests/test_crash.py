"""Processes that are killed and disks that fail: what was acknowledged is there, and nothing else passes for it."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

import runtime
from runtime import Graph, effect, step
from storage import codec
from storage.disk import OsDisk
from storage.log import Log
from storage.opening import open_store
from tests.deadly_disks import DeadlyDisk, ForgetfulDisk, TearingDisk, die
from tests.test_storage_log import FaultyDisk

ROOT = Path(__file__).parent.parent
WAIT = 50.0
ITEMS = ("one", "two", "three")


@effect
async def price(item: str) -> int:
    return len(item)


@effect(side_effect=True)
async def book(text: str, amount: int) -> str:
    if text.startswith("die "):
        die()
    return f"{amount} for {text}"


@effect(side_effect=True)
def book_sync(text: str, amount: int) -> str:
    if text.startswith("die "):
        die()
    return f"{amount} for {text}"


@step
async def describe(item: str) -> str:
    return f"{item} " * 150  # long enough to be stored as a record of its own


async def order(item: str) -> str:
    return await book(await describe(item), await price(item))


def order_sync(item: str) -> str:
    return book_sync(item, 1)


def receipt(text: str) -> list[str]:
    return text.split()


def make() -> runtime.Agent[str, list[str]]:
    graph = Graph("crash.order", input=str)
    return graph.build(graph.add(receipt, graph.add(order, graph.input)))


def make_sync() -> runtime.Agent[str, str]:
    graph = Graph("crash.sync", input=str)
    return graph.build(graph.add(order_sync, graph.input))


AGENT, SYNC_AGENT = make(), make_sync()


def wanted(item: str) -> list[str]:
    return [str(len(item)), "for", *[item] * 150]


def kitchen_on(
    path: Path, disk: OsDisk, *, backend: str = "asyncio", on_loss: Callable[[str], None] | None = None
) -> runtime.Runtime:
    """A runtime that waits for each run to be on this disk."""
    store = open_store(path, create=True)
    kitchen = runtime.Runtime(path, durable="committed", backend=backend)
    kitchen.list(limit=0)  # it opens the store, so that the log is all that it would make itself
    kitchen.log = Log(store, on_loss=on_loss, disk=disk)
    return kitchen


# the processes that are killed


def record(kitchen: runtime.Runtime, label: object) -> None:
    """Three runs, each told once it is acknowledged."""
    with kitchen:
        for item in ITEMS:
            run = kitchen.run(AGENT, item)
            if run.durable == "committed":
                os.write(1, f"{label} {item} {run.trace_id}\n".encode())


def forked(work: Callable[[], object]) -> int:
    """How a child ended that did this."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(folder: str, kind: str, backend: str) -> None:
    """A recording process for each place to be killed at, until one reaches its end."""
    anyio.run(anyio.lowlevel.checkpoint, backend=backend)  # what a loop imports is imported once
    disk: type[DeadlyDisk] = {"before": DeadlyDisk, "torn": TearingDisk, "power": ForgetfulDisk}[kind]
    for number in itertools.count(1):
        path = Path(folder, str(number))
        code = forked(lambda n=number, p=path: record(kitchen_on(p, disk(n), backend=backend), n))  # type: ignore[misc]
        os.write(1, f"{number} ended {code}\n".encode())
        if code != -signal.SIGKILL:
            return


def die_inside(folder: str, backend: str) -> None:
    """A run of each agent whose side effect kills the process."""
    for agent in (AGENT, SYNC_AGENT):
        path = Path(folder, agent.name)
        work = functools.partial(kitchen_on(path, ForgetfulDisk(), backend=backend).run, agent, "die now")
        assert forked(work) == -signal.SIGKILL


def python(code: str, *args: object, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-B", "-c", f"import sys; from tests.test_crash import *; {code}", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=WAIT)


def acknowledged(lines: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for line in lines.splitlines():
        label, item, told = line.split()
        found[label][item] = told
    return found


# what must hold afterwards


def told(recording: runtime.Recording) -> list[Any]:
    """All that a recording says, times and ids aside."""
    calls = [(call.address, codec.decode_any(call.request), call.result and call.result.value) for call in recording.calls]
    spans = [(address, span.result.status, span.result.value) for address, span in recording.spans.items()]
    return [recording.agent, codec.decode_any(recording.input), recording.status, recording.output, calls, spans]


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, list[Any]]:
    """What undisturbed runs say, by input."""
    with runtime.Runtime(tmp_path / "reference") as kitchen:
        return {item: told(kitchen.run(AGENT, item).recording) for item in (*ITEMS, "after")}


def examine(path: Path, acks: dict[str, str], reference: dict[str, list[Any]]) -> set[str]:
    """The statuses of a store after a kill; a new process records into it, and nothing in it is wrong."""
    with runtime.Runtime(path, durable="committed") as kitchen:
        after = kitchen.run(AGENT, "after")
        assert (after.output, after.durable) == (wanted("after"), "committed")
        for item, trace in {**acks, "after": after.trace_id}.items():
            recording = kitchen.open(trace)
            assert told(recording) == reference[item]
            assert recording.output == wanted(item)
        statuses = set()
        listed = kitchen.list(limit=None)
        assert len(listed) <= len(ITEMS) + 1
        for line in listed:
            statuses.add(line.status)
            if line.status == "ok":
                recording = kitchen.open(line.trace_id)
                assert told(recording) == reference[codec.decode_any(recording.input)]
                continue
            assert line.status in {"unfinished", "damaged"}
            if line.agent == "?":
                with pytest.raises(runtime.CorruptRecord, match="has no header record"):
                    kitchen.open(line.trace_id)
                continue
            recording = kitchen.open(line.trace_id)
            assert recording.status == line.status
            assert recording.to_json()["trace.attributes"]["kitchenlog.status"] == line.status
            assert not kitchen.replay(line.trace_id, agent=AGENT).certificate.ok
        return statuses


@pytest.mark.parametrize(("kind", "backend"), [("before", "asyncio"), ("torn", "trio"), ("power", "asyncio")])
def test_a_kill_at_any_call_of_the_disk_loses_nothing_acknowledged(
    tmp_path: Path, reference: dict[str, list[Any]], kind: str, backend: str
) -> None:
    done = python("sweep(*sys.argv[1:])", tmp_path, kind, backend)
    assert done.returncode == 0
    found = acknowledged(done.stdout)
    ends = [int(acks.pop("ended")) for acks in found.values()]
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    assert len(ends) > 12
    assert list(found[str(len(ends))]) == list(ITEMS)
    statuses = [examine(tmp_path / number, acks, reference) for number, acks in found.items()]
    assert set[str]().union(*statuses) >= {"ok", "unfinished"}
    assert {len(acks) for acks in found.values()} == {0, 1, 2, 3}


PLACES = [("fdatasync", (1, 3, 6)), ("fsync", (1, 4, 6)), ("write", (2, 4, 6)), ("?link,linkat", (1, 2, 3))]


@pytest.mark.parametrize(("calls", "numbers"), PLACES, ids=[calls for calls, _ in PLACES])
def test_a_kill_at_a_system_call_loses_nothing_acknowledged(
    tmp_path: Path, reference: dict[str, list[Any]], calls: str, numbers: tuple[int, ...]
) -> None:
    if shutil.which("strace") is None:
        assert os.environ.get("CI") != "true", "strace is missing, and CI must have it"
        pytest.skip("strace is not installed")
    for number in numbers:
        path = tmp_path / str(number)
        inject = f"inject={calls}:signal=SIGKILL:when={number}"
        strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", inject)
        done = python("record(runtime.Runtime(sys.argv[1], durable='committed'), 'run')", path, before=strace)
        assert done.returncode == -signal.SIGKILL, f"nothing was killed at {calls} {number}: {done.stdout}"
        examine(path, acknowledged(done.stdout)["run"], reference)


def test_the_intent_of_a_side_effect_is_on_disk_before_it_runs(tmp_path: Path, backend: str) -> None:
    assert python("die_inside(*sys.argv[1:])", tmp_path, backend).returncode == 0
    for agent, request in ((AGENT, {"text": "die now " * 150, "amount": 7}), (SYNC_AGENT, {"text": "die now", "amount": 1})):
        with runtime.Runtime(tmp_path / agent.name) as kitchen:
            [line] = kitchen.list()
            recording = kitchen.open(line.trace_id)
            assert recording.status == "unfinished"
            [stored] = [intent for intent in recording.stored.intents.values() if intent.flags & 1]
            assert stored.name in {"book", "book_sync"}
            assert codec.decode_any(recording.stored.value(stored.request)) == request
            assert not recording.stored.outcomes.keys() & {
                number for number, intent in recording.stored.intents.items() if intent is stored
            }
            # Were the side effect repeated, this process would end here.
            assert not kitchen.replay(line.trace_id, agent=agent).certificate.ok


# full and failing disks


def full(room: int) -> FaultyDisk:
    disk = FaultyDisk()
    disk.room = room
    return disk


def lose(kitchen: runtime.Runtime) -> runtime.Run[list[str]]:
    """A run of which something is lost, whose result is what it was."""
    run = kitchen.run(AGENT, "one")
    assert run.output == wanted("one")
    assert run.durable.startswith("lost: ")
    log = kitchen.log
    assert log is not None
    assert log.dropped > 0
    assert log.sent == log.stored + log.dropped
    return run


def is_not_shown_as_whole(kitchen: runtime.Runtime, trace_id: str) -> bool:
    try:
        return kitchen.open(trace_id).status in {"damaged", "unfinished"}
    except (runtime.TraceNotFound, runtime.CorruptRecord):
        return True


@pytest.mark.parametrize("room", [0, 40, 64, 65, 1000, 4000])
def test_a_full_disk_changes_no_result_and_later_runs_are_kept(
    tmp_path: Path, reference: dict[str, list[Any]], backend: str, room: int
) -> None:
    disk, losses = full(room), list[str]()
    with kitchen_on(tmp_path / "store", disk, backend=backend, on_loss=losses.append) as kitchen:
        lost = lose(kitchen)
        assert lose(kitchen).trace_id != lost.trace_id
        assert is_not_shown_as_whole(kitchen, lost.trace_id)
        disk.room = None
        kept = kitchen.run(AGENT, "two")
        assert kept.durable == "committed"
        log = kitchen.log
        assert log is not None
    assert log.sent == log.stored + log.dropped
    assert losses
    assert "No space left on device" in losses[0]
    with runtime.Runtime(tmp_path / "store") as again:
        assert told(again.open(kept.trace_id)) == reference["two"]
        assert is_not_shown_as_whole(again, lost.trace_id)


def test_a_failed_sync_changes_no_result_and_later_runs_are_kept(tmp_path: Path, backend: str) -> None:
    disk, losses = FaultyDisk(), list[str]()
    with kitchen_on(tmp_path / "store", disk, backend=backend, on_loss=losses.append) as kitchen:
        before = kitchen.run(AGENT, "two")
        disk.refuse_sync = errno.EIO
        lose(kitchen)
        disk.refuse_sync = None
        after = kitchen.run(AGENT, "three")
        assert (before.durable, after.durable) == ("committed", "committed")
        for run in (before, after):
            assert run.recording.status == "ok"
            assert run.recording.output == run.output
    assert "Input/output error" in losses[0]


def test_a_run_that_was_lost_says_why(tmp_path: Path) -> None:
    with kitchen_on(tmp_path / "store", full(0), on_loss=lambda _: None) as kitchen:
        assert "No space left on device" in lose(kitchen).durable


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_that_is_really_full_changes_no_result(
    small_disk: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    filler = small_disk / "filler"
    with runtime.Runtime(small_disk / "store", durable="committed", backend=backend) as kitchen:
        first = kitchen.run(AGENT, "two")
        filler.write_bytes(bytes(200 * 1024))
        runs = [kitchen.run(AGENT, "one") for _ in range(40)]
        assert all(run.output == wanted("one") for run in runs)
        kept = [run for run in runs if run.durable == "committed"]
        lost = [run for run in runs if run.durable.startswith("lost: ")]
        assert lost
        assert len(kept) + len(lost) == len(runs)
        filler.unlink()
        last = kitchen.run(AGENT, "three")
        assert last.durable == "committed"
        for run in (first, *kept, last):
            assert (run.recording.status, run.recording.output) == ("ok", run.output)
        assert all(is_not_shown_as_whole(kitchen, run.trace_id) for run in lost)
    assert "No space left on device" in capfd.readouterr().err
