"""Record files become packs, and at no moment is a trace missing, doubled or torn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import runtime
from console.app import main
from storage.objects.folder import FolderObjectStore
from storage.objects.folder_disk import OS_FOLDER_DISK, FolderDisk, OsFolderDisk
from storage.opening import open_store
from storage.sealing import Kept, Sealed, seal
from storage.store import Store
from tests.left_behind import leave

ROOT = Path(__file__).parents[1]


@runtime.effect
async def ask(text: str) -> str:
    return text.upper() * 100


async def answer(text: str) -> str:
    return await ask(text)


graph = runtime.Graph("seal.bot", input=str)
agent = graph.build(graph.add(answer, graph.input))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    for text in ("a", "b"):  # two processes' worth: two record files
        kitchen = runtime.Runtime(folder)
        for number in range(3):
            kitchen.run(agent, f"{text}{number}")
        leave(kitchen)
    return folder


def contents(folder: Path) -> dict[str, str]:
    kitchen = runtime.Runtime(folder)
    return {line.trace_id: json.dumps(kitchen.open(line.trace_id).to_json()) for line in kitchen.list(limit=None)}


def sealed(folder: Path, disk: FolderDisk = OS_FOLDER_DISK) -> tuple[list[Sealed], list[Kept]]:
    store = open_store(folder, create=False)
    store.objects = FolderObjectStore(folder, disk=disk)
    return seal(store, quiet_seconds=0, disk=disk)


def test_sealed_traces_are_read_and_replayed_as_before(store: Path) -> None:
    before = contents(store)

    made, kept = sealed(store)

    assert not kept
    assert sum(one.traces for one in made) == len(before) == 6
    assert sum(one.bytes_after for one in made) < sum(one.bytes_before for one in made)
    assert not list((store / "log").iterdir())
    assert contents(store) == before
    with runtime.Runtime(store) as kitchen:
        kitchen.register(agent)
        for trace in before:
            assert kitchen.replay(trace).certificate.proved
        assert kitchen.check(full=True).ok
        kitchen.feedback(next(iter(before)), csat=1)
        assert kitchen.open(next(iter(before))).attributes == {"outcome.csat": 1}


def test_a_file_that_a_process_writes_is_left_to_it(store: Path) -> None:
    with runtime.Runtime(store) as kitchen:
        trace = kitchen.run(agent, "now").trace_id
        kitchen.open(trace)  # on disk by now

        made, kept = sealed(store)

        assert len(made) == 2
        assert [one.why for one in kept] == ["a process is writing it"]
        assert kitchen.open(trace).status == "ok"
        later = kitchen.run(agent, "later").trace_id
    assert set(contents(store)) >= {trace, later}


def test_a_file_that_a_killed_process_left_is_sealed(store: Path) -> None:
    code = (
        "import os, signal, sys, runtime\nfrom tests.test_sealing import agent\n"
        "kitchen = runtime.Runtime(sys.argv[1], durable='committed')\nprint(kitchen.run(agent, 'last').trace_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, store], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    trace = done.stdout.strip()

    made, kept = sealed(store)

    assert (len(made), kept) == (3, [])
    assert runtime.Runtime(store).open(trace).status == "ok"


def test_what_was_written_just_now_waits(store: Path) -> None:
    made, kept = seal(open_store(store, create=False))

    assert not made
    assert {one.why for one in kept} == {"it was written to just now"}


def test_a_damaged_file_stays_as_it_is(store: Path) -> None:
    file = min((store / "log").iterdir())
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)

    made, kept = sealed(store)

    assert len(made) == 1
    assert [one.file for one in kept] == [file.name]
    assert "damaged at offset" in kept[0].why
    assert file.read_bytes() == data


class Stop(Exception):
    pass


class StoppingDisk(OsFolderDisk):
    """Ends the sealing at its n-th call, before or after it is done."""

    def __init__(self, number: int, *, after: bool) -> None:
        self.left, self.after = number, after

    def reach(self, *, done: bool) -> None:
        if done == self.after:
            self.left -= 1
            if not self.left:
                raise Stop

    def create(self, path: str) -> int:
        self.reach(done=False)
        made = super().create(path)
        try:
            self.reach(done=True)
        except Stop:
            os.close(made)
            raise
        return made

    def write(self, descriptor: int, data: memoryview) -> int:
        self.reach(done=False)
        taken = super().write(descriptor, data[: max(1, len(data) // 2)])
        self.reach(done=True)
        return taken

    def sync(self, descriptor: int) -> None:
        self.reach(done=False)
        super().sync(descriptor)
        self.reach(done=True)

    def sync_folder(self, path: str) -> None:
        self.reach(done=False)
        super().sync_folder(path)
        self.reach(done=True)

    def remove(self, path: str) -> None:
        self.reach(done=False)
        super().remove(path)
        self.reach(done=True)

    def make_folder(self, path: str) -> None:
        self.reach(done=False)
        super().make_folder(path)
        self.reach(done=True)

    def link(self, path: str, name: str) -> None:
        self.reach(done=False)
        super().link(path, name)
        self.reach(done=True)


@pytest.mark.parametrize("after", [False, True])
def test_sealing_that_ends_at_any_call_loses_and_doubles_nothing(store: Path, tmp_path: Path, *, after: bool) -> None:
    before = contents(store)
    number = 0
    while True:
        number += 1
        copy = tmp_path / f"copy{number}"
        shutil.copytree(store, copy)
        try:
            sealed(copy, StoppingDisk(number, after=after))
        except Stop:
            assert contents(copy) == before, number
            _, kept = sealed(copy)
            assert not kept
        else:
            break
        assert contents(copy) == before
        assert not list((copy / "log").iterdir())
        assert not list((copy / "hot").rglob(".*"))
    assert number > 20


def test_a_reader_sees_every_trace_once_and_whole_while_files_are_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for number in range(12):
        kitchen = runtime.Runtime(folder)
        kitchen.run(agent, f"text {number}")
        leave(kitchen)
    before = contents(folder)
    reader = open_store(folder, create=False)
    wrong: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = list(reader.ids())
            if sorted(one.hex() for one in found) != sorted(before):
                wrong.append(f"{len(found)} traces")
            for trace in found:
                state = reader.load(trace).state
                if state != "whole":
                    wrong.append(f"{trace.hex()} is {state}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        store = open_store(folder, create=False)
        while sealed_one_by_one(store):
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()

    assert not wrong
    assert contents(folder) == before


def test_a_file_that_is_sealed_after_packs_were_listed_is_found_in_its_pack(store: Path) -> None:
    before = contents(store)
    reader = open_store(store, create=False)
    with reader.snapshot():
        traces = list(reader.ids())
        sealed(store)
        assert [reader.load(trace).state for trace in traces] == ["whole"] * 6
    with reader.snapshot():
        assert sorted(trace.hex() for trace in reader.ids()) == sorted(before)


def test_listing_while_files_are_sealed_shows_every_trace_whole(tmp_path: Path) -> None:
    stop = threading.Event()
    wrong: list[str] = []
    with runtime.Runtime(tmp_path / "store", seal_seconds=0.0) as kitchen:
        kitchen.run(agent, "first")

        def read() -> None:
            with runtime.Runtime(tmp_path / "store") as reader:
                while not stop.is_set():
                    wrong.extend(f"{line.status} {line.attributes}" for line in reader.list(limit=None) if line.status != "ok")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            runs = [kitchen.run(agent, f"text {number}").trace_id for number in range(60)]
        finally:
            stop.set()
            thread.join()
        # Those that ran while they were listed may have been unfinished.
        assert not [one for one in wrong if not one.startswith("unfinished")]
        assert {line.trace_id for line in kitchen.list(limit=None)} >= set(runs)


def sealed_one_by_one(store: Store) -> bool:
    made, _ = seal(store, quiet_seconds=0)
    return bool(made)


def test_another_pack_in_its_place_is_not_written_over(store: Path) -> None:
    copy = store.parent / "copy"
    shutil.copytree(store, copy)
    (first, *_), _ = sealed(copy)
    place = store / first.packs[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    file = store / "log" / first.file
    data = file.read_bytes()

    _, kept = sealed(store)

    assert [one.file for one in kept] == [first.file]
    assert "is there already" in kept[0].why
    assert place.read_bytes() == b"something else"
    assert file.read_bytes() == data


def test_a_damaged_pack_is_found_by_check(store: Path) -> None:
    (first, *_), _ = sealed(store)
    path = store / first.packs[0]
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])

    done = CliRunner().invoke(main, ["--store", str(store), "check"])

    assert done.exit_code == 1
    assert "is corrupt in its block 0" in " ".join(done.stdout.split())


def test_the_command_tells_what_it_did(store: Path) -> None:
    for file in (store / "log").iterdir():
        os.utime(file, (0, 0))

    done = CliRunner().invoke(main, ["--store", str(store), "seal"])
    again = CliRunner().invoke(main, ["--store", str(store), "seal", "--json"])

    assert "2 record files sealed: 6 traces" in done.stdout
    assert json.loads(again.stdout) == {"sealed": [], "kept": []}
