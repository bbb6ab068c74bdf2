"""A folder of objects: every system call failing in turn, kills, power cuts, two processes, links."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.objects.contract import InvalidKey, ObjectNotFound, StoreRefused, StoreUnavailable, StoreUnsuitable
from storage.objects.folder import DRAFT_SECONDS, DRAFTS, FolderObjectStore
from storage.objects.folder_disk import OsFolderDisk
from tests.deadly_disks import die

ROOT = Path(__file__).parent.parent
DATA = os.urandom(100_000)


class TurnDisk(OsFolderDisk):
    """Does something else at its n-th call."""

    def __init__(self, number: int, instead: Callable[[], None], *, after: bool = False, shortest: int | None = None) -> None:
        self.left, self.instead, self.late, self.shortest = number, instead, after, shortest
        self.reached = ""

    def turn(self, name: str) -> bool:
        self.left -= 1
        if not self.left:
            self.reached = name
        return not self.left

    def create(self, path: str) -> int:
        if self.turn("create"):
            self.instead()
        return super().create(path)

    def write(self, descriptor: int, data: memoryview) -> int:
        data = data[: self.shortest]
        if self.turn("write"):
            super().write(descriptor, data[: len(data) // 2])  # torn
            self.instead()
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        if self.turn("sync"):
            self.instead()
        super().sync(descriptor)

    def sync_folder(self, path: str) -> None:
        if self.turn("sync_folder"):
            self.instead()
        super().sync_folder(path)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        if self.turn("close"):
            self.instead()

    def remove(self, path: str) -> None:
        hit = self.turn("remove")
        if hit and not self.late:
            self.instead()
        super().remove(path)
        if hit:
            self.instead()

    def make_folder(self, path: str) -> None:
        hit = self.turn("make_folder")
        if hit and not self.late:
            self.instead()
        super().make_folder(path)
        if hit:
            self.instead()

    def link(self, path: str, name: str) -> None:
        hit = self.turn("link")
        if hit and not self.late:
            self.instead()
        super().link(path, name)
        if hit:
            self.instead()


class PowerDisk(OsFolderDisk):
    """What was not synced is gone with a power cut, at the n-th call: bytes, names of files, folders and all in them."""

    def __init__(self, number: int, cut: Callable[[], None]) -> None:
        self.left, self.cut = number, cut
        self.bytes: dict[int, bytes] = {}
        self.names: list[tuple[Path, Path]] = []
        self.folders: list[Path] = []

    def reach(self) -> None:
        self.left -= 1
        if not self.left:
            for folder in self.folders:
                shutil.rmtree(folder)
            self.cut()

    def create(self, path: str) -> int:
        self.reach()
        descriptor = super().create(path)
        self.bytes[descriptor] = b""
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        self.reach()
        self.bytes[descriptor] += bytes(data)
        return len(data)

    def sync(self, descriptor: int) -> None:
        self.reach()
        os.write(descriptor, self.bytes.pop(descriptor))
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        self.reach()
        self.bytes.pop(descriptor, None)
        super().close(descriptor)

    def link(self, path: str, name: str) -> None:
        self.reach()
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        held = Path(f"{name}~unsynced")
        os.link(path, held)
        self.names.append((held, Path(name)))

    def remove(self, path: str) -> None:
        self.reach()
        super().remove(path)

    def make_folder(self, path: str) -> None:
        self.reach()
        super().make_folder(path)
        self.folders.append(Path(path))

    def sync_folder(self, path: str) -> None:
        self.reach()
        for held, name in [pair for pair in self.names if pair[1].parent == Path(path)]:
            held.rename(name)
            self.names.remove((held, name))
        self.folders = [folder for folder in self.folders if folder.parent != Path(path)]


def fails(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


def check_none_or_whole(path: Path) -> bool:
    """Whether the object is there. It is whole then, and may be put again in any case; nothing else is listed."""
    store = FolderObjectStore(path)
    listed = [(one.key, one.size) for one in store.list("")]
    try:
        assert store.get("a/b/c", len(DATA)) == DATA
    except ObjectNotFound:
        assert listed == []
        there = False
    else:
        assert listed == [("a/b/c", len(DATA))]
        there = True
    assert store.put_new("a/b/c", DATA) is True
    assert store.get("a/b/c", len(DATA)) == DATA
    assert store.put_new("a/b/c", b"other") is False
    return there


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EINTR])
@pytest.mark.parametrize("after", [False, True])
def test_every_system_call_failing_in_turn_leaves_no_object_or_the_whole(tmp_path: Path, code: int, *, after: bool) -> None:
    failed: list[str] = []
    said: set[tuple[str, str, int, str]] = set()
    for number in itertools.count(1):
        path = tmp_path / str(number)
        path.mkdir()
        disk = TurnDisk(number, fails(code), after=after, shortest=40_000)
        try:
            assert FolderObjectStore(path, disk=disk).put_new("a/b/c", DATA) is True
        except StoreUnavailable as error:
            said.add((error.operation, error.key, error.attempts, error.last.partition("] ")[2]))
            failed.append(disk.reached)
            check_none_or_whole(path)
        else:
            assert check_none_or_whole(path)
            if not disk.reached:
                break
            assert disk.reached == "remove"  # of the draft, which is then cleaned when it is old
    assert set(failed) == {"create", "write", "sync", "close", "link", "sync_folder", "make_folder"}
    assert len(failed) >= 12
    assert said == {("put_new", "a/b/c", 1, os.strerror(code))}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, code: int) -> None:
    store = FolderObjectStore(tmp_path, disk=TurnDisk(1, fails(code)))
    with pytest.raises(StoreRefused, match=os.strerror(code)):
        store.put_new("a", DATA)


def test_a_disk_that_takes_no_bytes(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path, disk=TurnDisk(0, fails(errno.EIO), shortest=0))
    with pytest.raises(StoreUnavailable, match="took no bytes"):
        store.put_new("a", DATA)


def test_a_file_system_without_hard_links_is_unsuitable(tmp_path: Path) -> None:
    for code in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):

        class NoLinks(OsFolderDisk):
            def link(self, path: str, name: str, code: int = code) -> None:
                raise OSError(code, os.strerror(code))

        store = FolderObjectStore(tmp_path, disk=NoLinks())
        with pytest.raises(StoreUnsuitable, match="no hard links") as refused:
            store.put_new("a", DATA)
        assert refused.value.missing == "put-if-absent"
        assert list(store.list("")) == []
        assert list((tmp_path / DRAFTS).iterdir()) == []


def test_a_removal_that_fails_is_told_and_may_be_done_again(tmp_path: Path) -> None:
    FolderObjectStore(tmp_path).put_new("a/b/c", DATA)
    for number in (1, 2):
        with pytest.raises(StoreUnavailable, match="delete of a/b/c"):
            FolderObjectStore(tmp_path, disk=TurnDisk(number, fails(errno.EIO))).delete("a/b/c")
    # Gone by now, and its going is still to be synced.
    disk = TurnDisk(2, fails(errno.EIO))
    with pytest.raises(StoreUnavailable):
        FolderObjectStore(tmp_path, disk=disk).delete("a/b/c")
    assert disk.reached == "sync_folder"
    FolderObjectStore(tmp_path).delete("a/b/c")


# processes that are killed


def sweep(kind: str, folder: str) -> None:
    """A process for each place to be killed at, until one reaches its end. Each tells what it was acknowledged."""
    for number in itertools.count(1):
        path = Path(folder, str(number))
        path.mkdir()
        pid = os.fork()
        if not pid:
            try:
                disk = (
                    PowerDisk(number, die) if kind == "power" else TurnDisk(number, die, after=kind == "after", shortest=40_000)
                )
                if FolderObjectStore(path, disk=disk).put_new("a/b/c", DATA):
                    os.write(1, f"{number} acknowledged\n".encode())
            except BaseException:
                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(1, f"{number} ended {code}\n".encode())
        if code != -signal.SIGKILL:
            return


@pytest.mark.parametrize("kind", ["before", "after", "power"])
def test_a_kill_at_any_call_leaves_no_object_or_the_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data").write_bytes(DATA)
    code = (
        "import sys; from pathlib import Path; import tests.test_objects_folder as t; "
        "t.DATA = Path(sys.argv[2], 'data').read_bytes(); t.sweep(*sys.argv[1:])"
    )
    command = [sys.executable, "-B", "-W", "ignore", "-c", code, kind, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=50).stdout.splitlines()
    ended = [line for line in told if "ended" in line]
    assert ended[-1].endswith("ended 0")
    assert len(ended) >= 14
    assert all(line.endswith(f"ended {-signal.SIGKILL}") for line in ended[:-1])
    seen: set[bool] = set()
    for line in ended:
        number = line.split()[0]
        there = check_none_or_whole(tmp_path / number)
        seen.add(there)
        assert there or f"{number} acknowledged" not in told
    assert seen == {True, False}


def test_a_disk_that_syncs_nothing_fails_the_power_cut(tmp_path: Path) -> None:
    """The harness can tell."""

    class Lying(PowerDisk):
        def sync(self, descriptor: int) -> None:
            pass

    store = FolderObjectStore(tmp_path, disk=Lying(0, die))
    assert store.put_new("a/b/c", DATA) is True
    with pytest.raises(AssertionError):
        check_none_or_whole(tmp_path)


RACES = """
import sys
from storage.objects.folder import FolderObjectStore
store = FolderObjectStore(sys.argv[1], create=True)
print("ready", flush=True)
sys.stdin.readline()
for number in range(300):
    if store.put_new(f"d{number // 10}/k{number}", (sys.argv[2] * 5000).encode()):
        print(number, flush=True)
"""


def test_processes_that_race_for_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACES, str(tmp_path / "new")]
    racers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "xyz"
    ]
    for one in racers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in racers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    won = {name: {int(line) for line in one.communicate(timeout=50)[0].split()} for name, one in zip("xyz", racers, strict=True)}
    assert [one.returncode for one in racers] == [0, 0, 0]
    assert sorted(itertools.chain(*won.values())) == list(range(300))
    store = FolderObjectStore(tmp_path / "new")
    for name, numbers in won.items():
        for number in numbers:
            assert store.get(f"d{number // 10}/k{number}", 5000) == name.encode() * 5000
    assert len(list(store.list(""))) == 300
    assert list((tmp_path / "new" / DRAFTS).iterdir()) == []


# what else lies in a folder


def test_what_a_killed_writer_left_is_no_object_and_goes_when_it_is_old(tmp_path: Path) -> None:
    drafts = tmp_path / DRAFTS
    drafts.mkdir()
    for name, age in (("young", DRAFT_SECONDS - 60), ("old", DRAFT_SECONDS + 60)):
        (drafts / name).write_bytes(b"half")
        os.utime(drafts / name, (time.time() - age, time.time() - age))
    store = FolderObjectStore(tmp_path)
    assert list(store.list("")) == []
    store.put_new("a", b"x")
    assert [path.name for path in drafts.iterdir()] == ["young"]
    assert [one.key for one in store.list("")] == ["a"]


def test_what_is_not_ours_is_not_listed(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    store.put_new("hot/a", b"x")
    for name in (".gitignore", "hot/Upper", "hot/.hidden", "hot/with space"):
        (tmp_path / name).write_text("x")
    (tmp_path / "Other").mkdir()
    (tmp_path / "Other" / "a").write_text("x")
    os.mkfifo(tmp_path / "hot" / "fifo")
    assert [one.key for one in store.list("")] == ["hot/a"]
    with pytest.raises(ObjectNotFound):
        store.get("hot/fifo", 10)


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    store = FolderObjectStore(inside, create=True)
    store.put_new("real/a", b"x")
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    assert [one.key for one in store.list("")] == ["real/a"]
    for call in (
        lambda: store.get("folder/secret", 10), lambda: store.get("file", 10), lambda: store.put_new("folder/new", b""),
        lambda: store.put_new("folder/deep/new", b""), lambda: store.delete("folder/secret"), lambda: store.list("folder/"),
        lambda: store.put_new("file", b"s"),
    ):  # fmt: skip
        with pytest.raises(StoreRefused):
            call()
    store.delete("file")
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_store_that_is_itself_linked_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = FolderObjectStore(tmp_path / "link")
    assert store.put_new("a/b", b"x")
    assert FolderObjectStore(tmp_path / "real").get("a/b", 1) == b"x"


def test_no_key_is_the_folder_of_another(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    store.put_new("a/b", b"x")
    with pytest.raises(InvalidKey, match="folder of other objects"):
        store.put_new("a", b"x")
    for key in ("a/b/c", "a/b/c/d"):
        with pytest.raises(InvalidKey, match="a/b is an object"):
            store.put_new(key, b"x")
    store.delete("a")
    store.delete("a/b/c")
    assert [one.key for one in store.list("")] == ["a/b"]


def test_a_folder_that_is_removed_in_between_is_made_again(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    store.put_new("a/b", b"x")
    store.delete("a/b")
    (tmp_path / "a").rmdir()
    (tmp_path / DRAFTS).rmdir()
    assert store.put_new("a/b", b"y") is True


def test_objects_are_private(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path / "new", create=True)
    store.put_new("a/b", b"x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"new": 0o700, DRAFTS: 0o700, "a": 0o700, "b": 0o600}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreRefused, match="cannot be made"):
        FolderObjectStore(tmp_path / "file" / "store", create=True)
