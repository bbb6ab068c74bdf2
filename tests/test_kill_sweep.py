"""A process that records and seals is killed at each of its system calls and requests, while another one reads."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import runtime
from storage.errors import CorruptRecord, StoreError
from storage.log import Log
from storage.objects.contract import ObjectStore
from storage.objects.faulty import FaultyObjectStore
from storage.objects.folder import FolderObjectStore
from storage.objects.folder_disk import OsFolderDisk
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings
from storage.opening import Settings, open_store
from storage.sealer import Sealer
from storage.store import Store
from tests.buckets import AGENT, KEY
from tests.deadly_disks import die
from tests.seaweed import BUCKET, Seaweed, seaweed_server
from tests.test_objects_folder import PowerDisk, TurnDisk

__all__ = ("seaweed_server",)

ROOT = Path(__file__).parent.parent
ITEMS = ("one", "two")


class Turns(TurnDisk):
    """For the two threads that record and seal."""

    lock = threading.Lock()

    def turn(self, name: str) -> bool:
        with self.lock:
            return super().turn(name)

    def make_folder(self, path: str) -> None:
        try:
            super().make_folder(path)
        except FileExistsError:
            self.missed()
            raise

    def link(self, path: str, name: str) -> None:
        try:
            super().link(path, name)
        except FileExistsError:
            self.missed()
            raise

    def missed(self) -> None:
        """Also after a call that failed."""
        if self.reached:
            die()


class PowerCuts(PowerDisk):
    """As above."""

    def __init__(self, number: int) -> None:
        super().__init__(number, die)
        self.bytes: dict[int, bytes] = defaultdict(bytes)
        self.lock = threading.Lock()

    def reach(self) -> None:
        with self.lock:
            super().reach()

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.bytes[descriptor] = b""


class Lying(PowerCuts):
    """Says that names are on disk, and they are not."""

    def sync_folder(self, path: str) -> None:
        self.reach()


DISKS: dict[str, Callable[[int], OsFolderDisk]] = {
    "before": lambda number: Turns(number, die),
    "after": lambda number: Turns(number, die, after=True),
    "power": PowerCuts,
    "lying": Lying,
}


class DeadlyObjects(FaultyObjectStore):
    """Kills the process at its n-th write of a pack."""

    def __init__(self, inner: ObjectStore, number: int, *, after: bool) -> None:
        super().__init__(inner)
        self.left, self.after = number, after

    def put_new(self, key: str, data: bytes) -> bool:
        self.left -= key.startswith("hot/")
        if not self.left and not self.after:
            die()
        written = super().put_new(key, data)
        if not self.left and self.after:
            die()
        return written


@attrs.frozen
class Place:
    """Where one process of a sweep records."""

    folder: Path
    url: str | None = None
    endpoint: str = ""

    def open(self, *, create: bool) -> Store:
        if self.url is None:
            return open_store(self.folder, create=create)
        reached = S3Settings(endpoint=self.endpoint, region="us-east-1", profile="cook", path_style=True)
        return open_store(self.url, create=create, settings=Settings(s3=reached, key=KEY, spool=str(self.folder)))

    def kitchen(self, **options: Any) -> runtime.Runtime:
        if self.url is None:
            return runtime.Runtime(self.folder, **options)
        s3 = {"endpoint": self.endpoint, "region": "us-east-1", "profile": "cook", "path_style": True}
        return runtime.Runtime(self.url, key=KEY, s3=s3, spool=self.folder, **options)


def record(place: Place, disk: OsFolderDisk, objects: Callable[[], ObjectStore], told: int) -> None:
    """Two runs, each told once it is stored."""
    kitchen = place.kitchen(durable="stored")
    store = place.open(create=True)
    store.objects = objects()
    kitchen._store = store
    kitchen.log = Log(store, disk=disk, sealer=Sealer(store, disk=disk))
    with kitchen:
        for item in ITEMS:
            run = kitchen.run(AGENT, item)
            if run.durable == "stored":
                os.write(told, f"{run.trace_id}\n".encode())


def look(place: Place, acknowledged: list[str]) -> None:
    """Whoever reads now finds what was acknowledged, once and whole, and nothing that passes for it."""
    try:
        store = place.open(create=False)
    except StoreError:
        assert not acknowledged
        return
    found = [trace.hex() for trace in store.ids()]
    assert len(found) == len(set(found)) <= len(ITEMS) + 1
    assert set(acknowledged) <= set(found)
    for trace in found:
        try:
            state = store.load(bytes.fromhex(trace)).state
        except CorruptRecord:  # a process that died before it wrote the header
            state = "damaged"
        assert state == "whole" or trace not in acknowledged, (trace, state)
    store.close()


def watch(place: Place, work: Callable[[int], None]) -> int:
    """How a process ended that worked; its store is read all the while, and then recorded to by the next process."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read)
            work(write)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    os.close(write)
    os.set_blocking(read, False)
    acknowledged, ended, status = b"", 0, 0
    while not ended:
        ended, status = os.waitpid(pid, os.WNOHANG)
        try:
            while more := os.read(read, 4096):
                acknowledged += more
        except BlockingIOError:
            pass
        look(place, acknowledged.decode().split())
    os.close(read)
    traces = acknowledged.decode().split()
    for file in place.folder.rglob("*.log"):
        os.utime(file, (1, 1))
    with place.kitchen(durable="stored") as kitchen:
        traces.append(kitchen.run(AGENT, "after").trace_id)
    look(place, traces)
    assert not list(place.folder.rglob("*.log")), "the next process seals what is left"
    with place.kitchen() as kitchen:
        assert kitchen.check(full=True).ok
    return os.waitstatus_to_exitcode(status)


def sweep_folder(kind: str, folder: str) -> None:
    for number in itertools.count(1):
        place = Place(Path(folder, str(number)))
        open_store(place.folder, create=True)
        disk = DISKS[kind](number)
        objects = functools.partial(FolderObjectStore, place.folder, disk=disk)
        code = watch(place, functools.partial(record, place, disk, objects))
        print(code, flush=True)  # noqa: T201 - read by the test
        if code != -signal.SIGKILL:
            return


def sweep_bucket(kind: str, folder: str, endpoint: str) -> None:
    for number in itertools.count(1):
        prefix = f"sweep/{os.getpid()}-{number}"
        place = Place(Path(folder, str(number)), f"s3://{BUCKET}/{prefix}", endpoint)
        place.open(create=True).close()
        reached = S3Settings(endpoint=endpoint, region="us-east-1", profile="cook", path_style=True)

        def objects(prefix: str = prefix, number: int = number, reached: S3Settings = reached) -> ObjectStore:
            return DeadlyObjects(S3ObjectStore(BUCKET, prefix, reached), number, after=kind == "after")

        code = watch(place, functools.partial(record, place, OsFolderDisk(), objects))
        print(code, flush=True)  # noqa: T201 - as above
        if code != -signal.SIGKILL:
            return


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from tests.test_kill_sweep import sweep_bucket, sweep_folder; {code}"
    command = [sys.executable, "-B", "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def ends(code: str, *arguments: object) -> list[int]:
    done = python(code, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(line) for line in done.stdout.split()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["after", "before", "power"])
def test_a_kill_at_any_call_of_the_disk_while_it_is_read(tmp_path: Path, kind: str) -> None:
    codes = ends("sweep_folder(*sys.argv[1:])", kind, tmp_path)
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0]
    assert len(codes) > 30


@pytest.mark.timeout(300)
def test_the_sweep_can_tell(tmp_path: Path) -> None:
    done = python("sweep_folder(*sys.argv[1:])", "lying", tmp_path)
    assert done.returncode == 1
    # Between listing and reading, or before.
    assert "TraceNotFound" in done.stderr or "assert set(acknowledged) <= set(found)" in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["before", "after"])
def test_a_kill_at_any_write_to_a_bucket_while_it_is_read(seaweed: Seaweed, tmp_path: Path, kind: str) -> None:
    codes = ends("sweep_bucket(*sys.argv[1:])", kind, tmp_path, seaweed.endpoint)
    assert codes == [-signal.SIGKILL] * 2 + [0]
