"""What docs/reliability.md promises of each fault, where no test beside the code concerned says it already."""

from __future__ import annotations

import ast
import errno
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
from storage import frames, keys
from storage.check import check
from storage.disk import OsDisk
from storage.errors import CorruptRecord, InvalidId, StorageError
from storage.founding import Identity
from storage.frames import Frame, Gap
from storage.ids import NO_TRACE, check_trace_prefix
from storage.log import Log
from storage.objects.contract import InvalidKey, ObjectStore, StoreRefused, StoreUnsuitable
from storage.objects.folder import FolderObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.opening import Settings, open_store
from storage.pack.writer import PackWriter
from storage.sealer import Sealer
from storage.sealing import seal
from storage.store import Store
from tests.at_once import at_once
from tests.buckets import AGENT, KEY, Bucket, eventually
from tests.left_behind import leave
from tests.seaweed import PROFILES, Seaweed, seaweed_server
from tests.test_storage_log import OTHER, TRACE, put_end, put_header, put_intent, put_run
from tests.test_storage_store import plain

__all__ = ("seaweed_server",)

ROOT = Path(__file__).parent.parent
WAIT = 50.0


def python(code: str, *arguments: object, before: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-B", "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=WAIT
    )


def in_memory(folder: Path, objects: ObjectStore | None = None) -> Store:
    settings = Settings(key=KEY, spool=str(folder / "spool"))
    return open_store(MemoryObjectStore() if objects is None else objects, create=True, settings=settings)


def sealed(store: Store, *traces: bytes) -> str:
    """The key of the pack that these runs are in."""
    before = set(store.packs())
    log = Log(store, sealer=Sealer(store))
    for trace in traces:
        put_run(log, trace)
    assert log.close(WAIT)
    (key,) = set(store.packs()) - before
    return key


# 3: the disk, as the system itself tells of it


def test_a_sync_that_fails_in_the_system_loses_that_run_and_no_other(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        assert os.environ.get("CI") != "true", "strace is missing, and CI must have it"
        pytest.skip("strace is not installed")
    code = (
        "import sys, runtime\nfrom tests.buckets import AGENT\n"
        "with runtime.Runtime(sys.argv[1], durable='committed') as kitchen:\n"
        "    for text in 'abcd':\n        run = kitchen.run(AGENT, text)\n"
        "        print(run.durable.partition(':')[0], run.trace_id)"
    )
    strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2")
    open_store(tmp_path / "store", create=True)
    done = python(code, tmp_path / "store", before=strace)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert [state for state, _ in told] == ["committed", "lost", "committed", "committed"]
    assert "Input/output error" in done.stderr
    with runtime.Runtime(tmp_path / "store") as kitchen:
        assert {kitchen.open(trace).status for state, trace in told if state == "committed"} == {"ok"}


def test_a_file_that_may_not_grow_loses_that_run_and_no_other(tmp_path: Path) -> None:
    code = (
        "import resource, sys, runtime\nfrom tests.buckets import AGENT\n"
        "with runtime.Runtime(sys.argv[1], durable='committed') as kitchen:\n"
        "    kitchen.run(AGENT, 'warm')\n"
        "    limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))\n"
        "    lost = kitchen.run(AGENT, 'x' * 200)\n    assert lost.output == ('X' * 200 + ' ') * 120\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "    kept = kitchen.run(AGENT, 'kept')\n    print(lost.durable)\n    print(kept.durable, kept.recording.status)"
    )
    done = python(code, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    lost, kept = done.stdout.splitlines()
    assert lost.startswith("lost: ")
    assert "File too large" in lost
    assert kept == "committed ok"


# 8: what is delivered more than once, and in any order


def split(folder: Path) -> tuple[list[Frame], list[Frame]]:
    """The records of the only record file: of traces, and of the file."""
    (file,) = folder.rglob("*.log")
    found = frames.scan(file.read_bytes()[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES)
    records = [one for one in found if not isinstance(one, Gap)]
    return [one for one in records if one.trace != NO_TRACE], [one for one in records if one.trace == NO_TRACE]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Frame], list[Frame], Any, Store]:
    folder = tmp_path_factory.mktemp("written")
    store = in_memory(folder)
    log = Log(store)
    put_run(log, TRACE)
    assert log.close(WAIT)
    return *split(folder), plain(store.load(TRACE)), store


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_records_that_come_twice_in_any_order_and_anywhere_are_the_same_trace(
    written: tuple[list[Frame], list[Frame], Any, Store], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records, of_file, wanted, origin = written
    folder = str(tmp_path_factory.mktemp("merged"))
    store = Store("merged", MemoryObjectStore(), Identity(origin.id, origin.mac.key_id), origin.mac, folder)
    copies = data.draw(st.lists(st.sampled_from(records), max_size=12)) + records
    order = data.draw(st.permutations(copies))
    places = data.draw(st.lists(st.integers(0, 3), min_size=len(order), max_size=len(order)))
    for place in range(4):
        some = [one for one, where in zip(order, places, strict=True) if where == place]
        writer = bytes([place]) * 8
        if place < 2:
            body = b"".join(
                frames.pack_frame_header(one.kind, one.flags, one.record, one.trace, one.body) + one.body
                for one in (*of_file, *some)
            )
            file = Path(store.log_folder, keys.log_file(writer, 0))
            file.write_bytes(frames.pack_file_header(store.id, writer) + body)
            continue
        made = PackWriter(store.id, writer, store.mac)
        for one in of_file:
            made.share(one.body[:16], one.body[16:])
        if some:
            made.add(some)
        assert store.objects.put_new(keys.pack(keys.hour_of(TRACE), writer, 0), made.build())
    found = store.load(TRACE)
    assert (found.state, found.damage) == ("whole", [])
    assert plain(found) == wanted
    assert list(store.ids()) == [TRACE]


# 9: two writers


def test_many_who_seal_the_same_files_make_each_pack_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    traces: set[str] = set()
    for number in range(12):
        kitchen = runtime.Runtime(folder)
        traces.add(kitchen.run(AGENT, f"text {number}").trace_id)
        leave(kitchen)
    made: list[str] = []

    def work() -> None:
        store = open_store(folder, create=False)
        for _ in range(3):
            made.extend(one.file for one in seal(store, quiet_seconds=0)[0])

    at_once(work, 6)
    assert len(made) == len(set(made)) == 12
    assert not list(folder.rglob("*.log"))
    with runtime.Runtime(folder) as kitchen:
        assert {line.trace_id: line.status for line in kitchen.list(limit=None)} == dict.fromkeys(traces, "ok")


# 10: clocks


def test_a_clock_that_goes_backwards_changes_no_order_and_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    began = time.time()
    back = itertools.count()
    monkeypatch.setattr(time, "time", lambda: began - 1700 * next(back))
    monkeypatch.setattr(time, "time_ns", lambda: int((began - 1700 * next(back)) * 1e9))
    with runtime.Runtime(MemoryObjectStore(), key=KEY, spool=tmp_path, backend=backend, durable="stored") as kitchen:
        runs = [kitchen.run(AGENT, f"text {number}") for number in range(4)]
        assert {run.durable for run in runs} == {"stored"}
        for run in runs:
            found = kitchen.open(run.trace_id)
            told = found.to_json()
            assert found.status == "ok"
            assert all(span["duration_ms"] >= 0 <= span["start_ms"] for span in told["spans"])
            assert kitchen.replay(run.trace_id).certificate.proved
        kitchen.feedback(runs[0].trace_id, csat=1)
        kitchen.feedback(runs[0].trace_id, note="x")
        assert kitchen.open(runs[0].trace_id).attributes == {"outcome.csat": 1, "outcome.note": "x"}
        assert len(kitchen.list(limit=None)) == 8
        assert kitchen.check(full=True).ok


# 13, 14 and 16: objects that are damaged, cut, or gone


def state_of(store: Store, trace: bytes, wanted: Any) -> str:
    try:
        found = store.load(trace)
    except StorageError as error:
        return type(error).__name__
    if found.state == "whole":
        assert plain(found) == wanted
    return found.state


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    for at in range(0, len(data), 3):
        yield f"flip {at}", data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
    for length in range(0, len(data), 9):
        yield f"cut {length}", data[:length]
    for junk in (b"\0", b"junk" * 20, data):
        yield f"{len(junk)} behind", data + junk


@pytest.mark.timeout(200)
def test_a_pack_that_is_damaged_anywhere_is_named_by_check_and_reaches_no_other(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    store = in_memory(tmp_path, objects)
    key, other = sealed(store, TRACE), sealed(store, OTHER)
    assert key.split("/")[1] == other.split("/")[1], "one hour"
    wanted, beside = plain(store.load(TRACE)), plain(store.load(OTHER))
    data, when = objects._objects[key]
    seen: dict[str, int] = {}
    for what, bad in damaged(data):
        objects._objects[key] = (bad, when)
        fresh = in_memory(tmp_path, objects)
        state = state_of(fresh, TRACE, wanted)
        seen[state] = seen.get(state, 0) + 1
        assert state_of(fresh, OTHER, beside) == "whole", what
        assert not is_sound(fresh), what
    assert set(seen) <= {"whole", "damaged", "CorruptRecord", "CorruptPack", "StoreError"}
    # Whole: where it was not read, which a check does all the same.
    assert seen["whole"] < sum(seen.values()) / 10, seen


def is_sound(store: Store) -> bool:
    try:
        return check(store, full=True).ok
    except StorageError:
        return False


def test_a_pack_that_is_gone_is_a_hole_and_never_a_shorter_trace(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    with runtime.Runtime(objects, key=KEY, spool=tmp_path, seal_bytes=1) as kitchen:
        log = kitchen._writing()
        whole = kitchen.run(AGENT, "whole").trace_id
        sink = log.begin(TRACE)
        put_header(log, sink)
        assert log.flush(WAIT)
        put_intent(log, sink)
        assert log.flush(WAIT)
        put_end(log, sink)
    held = dict(objects._objects)
    hour = [key for key in held if key.startswith(keys.hour_prefix(keys.hour_of(TRACE))) and keys.parse_pack(key)]
    assert len(hour) == 3
    states: set[str] = set()
    for key in hour:
        objects.delete(key)
        with runtime.Runtime(objects, key=KEY, spool=tmp_path) as reader:
            states.add(state_of(reader._reading(), TRACE, None))
            assert reader.open(whole).status == "ok"
            assert {line.status for line in reader.list()} - {"ok"} <= {"damaged", "unfinished"}
        objects._objects[key] = held[key]
    # The end says how many records there are; without it the trace is one that never ended.
    assert states == {"CorruptRecord", "damaged", "unfinished"}


# 19: memory


def test_memory_stays_within_its_bound_however_slow_the_disk_is(tmp_path: Path) -> None:
    code = """
import resource, sys, threading
from storage.disk import OsDisk
from storage.log import Log
from storage.opening import open_store
from tests.test_storage_log import put_end, put_header, put_intent
held = threading.Event()
class Slow(OsDisk):
    def write(self, descriptor, data):
        held.wait()
        return super().write(descriptor, data)
log = Log(open_store(sys.argv[1], create=True), disk=Slow(), queue_bytes=16 * 2**20)
sink = log.begin(bytes(range(16)))
put_header(log, sink)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(16_000):  # ten times what may wait
    put_intent(log, sink, number.to_bytes(4) * 2500)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
held.set()
put_end(log, sink)
assert log.close(40)
assert log.sent == 16_002 == log.stored + log.dropped, (log.sent, log.stored, log.dropped)
assert sink.lost == log.dropped > 12_000
print(grown)
"""
    done = python(code, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 64, "megabytes, for 160 of records and 16 that may wait"


# 20: whatever fails


class Broken(OsDisk):
    """One of its calls fails, always."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error, self.on = name, error, False

    def __getattribute__(self, name: str) -> Any:
        told = object.__getattribute__(self, "__dict__")
        if told.get("on") and name == told["name"]:
            raise told["error"]
        return object.__getattribute__(self, name)


class BrokenObjects(MemoryObjectStore):
    """As above."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.on = error, False

    def put_new(self, key: str, data: bytes) -> bool:
        if self.on:
            raise self.error
        return super().put_new(key, data)


@runtime.effect
async def refuse(text: str) -> str:
    raise LookupError(text)


async def fail(text: str) -> str:
    return await refuse(text)


failing = runtime.Graph("faults.failing", input=str)
FAILING = failing.build(failing.add(fail, failing.input))


def run_both(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(AGENT, "text")
    assert run.output == "TEXT " * 120
    with pytest.raises(LookupError) as raised:
        kitchen.run(FAILING, "text")
    assert (type(raised.value), raised.value.args) == (LookupError, ("text",))
    assert run.durable in {"batched", "committed", "stored"} or run.durable.startswith("lost: ")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("name", ["create", "write", "sync", "sync_folder", "close", "remove"])
def test_a_disk_that_fails_anywhere_changes_no_result(tmp_path: Path, name: str, code: int) -> None:
    disk = Broken(name, OSError(code, os.strerror(code)))
    store = open_store(tmp_path / "store", create=True)
    with runtime.Runtime(tmp_path / "store", durable="committed") as kitchen:
        kitchen.list()
        log = kitchen.log = Log(store, disk=disk, sealer=Sealer(store, disk=disk))
        run_both(kitchen)
        disk.on = True
        run_both(kitchen)
        run_both(kitchen)
        disk.on = False
        run_both(kitchen)
        assert kitchen.run(AGENT, "after").durable == "committed"
    assert log.sent == log.stored + log.dropped
    with runtime.Runtime(tmp_path / "store") as again:
        assert {line.status for line in again.list(limit=None)} <= {"ok", "error", "damaged", "unfinished"}
        assert len([line for line in again.list(limit=None) if line.status == "ok"]) >= 3


ODD = [
    StoreRefused("put_new", "k", "p", "no rights"),
    StoreUnsuitable("x", "p", "y"),
    ValueError("odd"),
    MemoryError(),
    CorruptRecord("?"),
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_a_store_that_fails_in_any_way_changes_no_result_and_loses_nothing(tmp_path: Path, error: Exception) -> None:
    objects = BrokenObjects(error)
    with runtime.Runtime(objects, key=KEY, spool=tmp_path, seal_seconds=0.01) as kitchen:
        run_both(kitchen)
        objects.on = True
        run_both(kitchen)
        time.sleep(0.1)
        run_both(kitchen)
        log = kitchen.log
        assert log is not None
    assert (log.sent, log.dropped) == (log.stored, 0)
    objects.on = False
    for file in tmp_path.rglob("*.log"):
        os.utime(file, (1, 1))
    with runtime.Runtime(objects, key=KEY, spool=tmp_path) as again:
        run_both(again)
        eventually(lambda: len(list(tmp_path.rglob("*.log"))) <= 1)
        assert sorted(line.status for line in again.list(limit=None)) == ["error"] * 4 + ["ok"] * 4


# 21: versions


def test_a_record_file_of_a_newer_version_keeps_no_other_from_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for text in ("one", "two", "three"):
        kitchen = runtime.Runtime(folder)
        kitchen.run(AGENT, text)
        leave(kitchen)
    first, *_ = sorted(folder.rglob("*.log"))
    data = bytearray(first.read_bytes())
    data[8] = 2
    data[12:16] = bytes(4)
    data[12:16] = zlib.crc32(data[: frames.FILE_HEADER_BYTES]).to_bytes(4, "little")
    first.write_bytes(data)
    made, kept = seal(open_store(folder, create=False), quiet_seconds=0)
    assert len(made) == 2
    assert [one.file for one in kept] == [first.name]
    assert "version 2 of the format" in kept[0].why
    assert first.read_bytes() == data


# 25 and 26: names and types

TEXTS = st.one_of(
    st.text(),
    st.text("./\\%2eE:~\0\n*?aé", max_size=12),
    st.lists(st.sampled_from(["..", ".", "a", "", "con", "%2e%2e"])).map("/".join),
)


@given(text=TEXTS)
def test_no_text_leads_out_of_the_folder(text: str) -> None:
    store = FolderObjectStore("/nowhere/store")
    try:
        path = store._path(text)
    except InvalidKey:
        return
    assert os.path.normpath(path) == path == f"/nowhere/store/{text}"
    assert len(os.fsencode(path)) < 600


@given(text=TEXTS)
def test_no_text_but_digits_is_an_id(text: str) -> None:
    try:
        checked = check_trace_prefix(text)
    except InvalidId:
        return
    assert set(checked) <= set("0123456789abcdef")
    assert 1 <= len(checked) <= 32


def test_nothing_that_is_read_becomes_code() -> None:
    """What ruff refuses is refused here too, and `import_module` where it is not the user that names the module."""
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle", "code", "codeop"}
    importing: set[str] = set()
    for folder in ("runtime", "replay", "storage", "steps", "console"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    assert not banned & {one.name.partition(".")[0] for one in node.names}, file
                elif isinstance(node, ast.ImportFrom):
                    assert (node.module or "").partition(".")[0] not in banned, file
                elif isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    assert not (isinstance(node.func, ast.Name) and called in {"eval", "exec", "__import__"}), file
                    if called in {"import_module", "__import__"}:
                        importing.add(file.relative_to(ROOT).as_posix())
    # The command imports what its arguments and the configuration name; the steps, an installed extra; a process that replays for
    # another one, what that one had in hand.
    assert importing == {"console/session.py", "steps/installed.py", "replay/spelling.py"}


# 32: secrets


def test_no_credential_and_no_variable_is_in_anything_that_is_kept(seaweed: Seaweed, tmp_path: Path) -> None:
    bucket = Bucket(seaweed, tmp_path)
    canaries = [f"canary-{random.Random(seed).getrandbits(64):x}" for seed in range(4)]
    code = """
import json, os, sys
import runtime
from tests.buckets import AGENT
from tests.test_faults import FAILING
url, options = json.loads(sys.argv[1])
with runtime.Runtime(url, **options) as kitchen:
    run = kitchen.run(AGENT, "text", attributes={"who": "me"})
    try:
        kitchen.run(FAILING, "text")
    except LookupError:
        pass
    kitchen.feedback(run.trace_id, csat=1)
    print(json.dumps(kitchen.open(run.trace_id).to_json()), kitchen.check(full=True), kitchen._store.objects, vars(kitchen))
"""
    key, secret = PROFILES["cook"]
    told = {"s3": {**bucket.s3, "profile": None}, "spool": str(tmp_path / "one"), "seal_bytes": 2**30}
    done = python(
        code, json.dumps([bucket.url, told]), canaries[0], KITCHENLOG_KEY=KEY, AWS_ACCESS_KEY_ID=key,
        AWS_SECRET_ACCESS_KEY=secret, OPENAI_API_KEY=canaries[1], CANARY=canaries[2], HTTP_PROXY_PASSWORD=canaries[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = [done.stdout.encode(), done.stderr.encode()]
    store = open_store(
        bucket.url, create=False, settings=Settings(s3=seaweed.settings(), key=KEY, spool=str(tmp_path / "two"))
    )  # fmt: skip
    kept += [one.key.encode() + store.objects.get(one.key, 2**26) for one in store.objects.list("")]
    expanded = 0
    for name in store.packs():
        reader = store._packs.reader(name)
        for trace in reader.ids():
            for frame in reader.frames(trace):
                kept.append(frame.body)
                expanded += 1
            loaded = store.load(trace)
            kept += [loaded.manifest, loaded.environment]
    store.close()
    kept += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and "seaweed" not in str(file)]
    assert expanded > 10
    assert any(b"csat" in one for one in kept)
    for canary in (*(text.encode() for text in (*canaries, KEY, key, secret)), bytes.fromhex(KEY)):
        assert not [one[:80] for one in kept if canary in one], canary


# 35: a store of a stranger


WATCHED = """
import json, os, sys
import runtime
from console.app import main
root = os.path.realpath(sys.argv[1])
with runtime.Runtime(root) as kitchen:  # what a reader imports is imported
    json.dumps([kitchen.open(line.trace_id).to_json() for line in kitchen.list(limit=None)])
    kitchen.check(full=True)
libraries = [os.path.realpath(one) for one in (sys.prefix, sys.base_prefix, *sys.path) if one]
seen = []
CODE = {"import", "exec", "compile"}
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.fork")) or event in CODE:
        if event == "import" and arguments[0] in sys.modules:
            return
        seen.append((event, str(arguments)[:200]))
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path, flags = os.path.realpath(os.fsdecode(arguments[0])), arguments[2] or 0
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = path == root or path.startswith(root + os.sep)
        if writes or not (inside or any(path.startswith(one) for one in libraries) or path.startswith("/proc/")):
            seen.append((event, path, flags))
    if event in {"os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.rmdir", "os.truncate", "shutil.rmtree"}:
        seen.append((event, str(arguments)))
sys.addaudithook(watch)
with runtime.Runtime(root) as kitchen:
    for line in kitchen.list(limit=None):
        try:
            json.dumps(kitchen.open(line.trace_id).to_json())
            kitchen.open(line.trace_id).show()
        except runtime.CorruptRecord:
            pass
    kitchen.check(full=True)
print(json.dumps(seen))
"""


def test_reading_the_store_of_a_stranger_runs_fetches_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with runtime.Runtime(folder) as kitchen:
        hostile = [
            "__import__('os').system('touch /tmp/x')",
            "os.system",
            "{0.__class__}",
            "../../etc/passwd",
            "http://127.0.0.1/x",
        ]
        for text in hostile:
            kitchen.run(AGENT, text, attributes={"type": text})
    kitchen = runtime.Runtime(folder)
    with pytest.raises(LookupError):
        kitchen.run(FAILING, "os.system")
    leave(kitchen)
    (folder / "hot" / "20200101-00").mkdir()
    (folder / "hot" / "20200101-00" / "link.pack").symlink_to("/etc/passwd")
    (folder / "log" / f"{'ab' * 8}-000000.log").write_bytes(b"not a record file" * 30)
    before = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    done = python(WATCHED, folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
