"""Replays in a process of their own, and the kernel's filter."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import runtime
from replay import seccomp
from replay.transcript import issued
from storage.objects.memory import MemoryObjectStore
from tests import isolated_agents
from tests.loopback import Loopback, says, serving
from tests.one_step import only

LINUX: Final = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}
needs_filter = pytest.mark.skipif(not LINUX, reason="the kernel's filter is for Linux")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as made:
        made.script = [says({"answer": 1}) for _ in range(20)]
        yield made


@pytest.fixture
def both(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    with runtime.Runtime(tmp_path / "store", backend=backend) as made:
        yield made


@needs_filter
def test_an_isolated_replay_is_one_like_any_other(both: runtime.Runtime) -> None:
    run = both.run(isolated_agents.asking, "a")
    here = both.replay(run.trace_id)
    there = both.replay(run.trace_id, isolated=True)

    assert there.certificate == issued(here.certificate, run.recording, isolated_agents.asking, there.trace_id)
    assert there.certificate.proved
    assert there.output == "A"
    assert there.ran == here.ran
    recorded = both.open(there.trace_id)  # it is a trace of its own
    assert recorded.original == run.trace_id
    assert not there.diff().spans
    assert there.trace_id != here.trace_id


@needs_filter
def test_swaps_go_along_and_what_is_blocked_comes_back(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(isolated_agents.asking, "a")
    louder = kitchen.replay(run.trace_id, swap={"asks": isolated_agents.louder}, isolated=True)
    assert louder.output == "A!"
    assert louder.certificate["asks"].status == "swapped"
    assert [one.address for one in louder.diff().spans] == ["asks"]

    here = kitchen.replay(run.trace_id, swap={"asks": isolated_agents.asks_otherwise})
    there = kitchen.replay(run.trace_id, swap={"asks": isolated_agents.asks_otherwise}, isolated=True)
    assert there.blocked == here.blocked
    assert there.next_call == here.next_call
    assert list(there.certificate) == list(here.certificate)

    looked = kitchen.run(isolated_agents.looking, "a")
    swap = {"looks_up": isolated_agents.looks_up_otherwise}
    assert kitchen.replay(looked.trace_id, swap=swap, isolated=True).blocked == kitchen.replay(looked.trace_id, swap=swap).blocked


@needs_filter
def test_what_c_code_does_reaches_the_server_from_a_plain_replay_and_not_from_an_isolated_one(
    kitchen: runtime.Runtime, server: Loopback
) -> None:
    run = kitchen.run(isolated_agents.calling_c, server.server_address[1])
    assert run.output == 0
    assert len(server.seen) == 1

    plain = kitchen.replay(run.trace_id)
    assert len(server.seen) == 2  # Python's guard cannot see it: docs/replay.md says so
    assert plain.certificate.proved

    isolated = kitchen.replay(run.trace_id, isolated=True)
    assert len(server.seen) == 2
    assert isolated.certificate["by_c"].status == "diverged"
    assert isolated.certificate["by_c"].reason == "value: 0 -> -1"


@needs_filter
def test_a_process_that_c_code_starts(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(isolated_agents.starting_c, 1)
    assert run.output == 0
    assert kitchen.replay(run.trace_id).certificate.proved
    assert kitchen.replay(run.trace_id, isolated=True).certificate["by_c_process"].status == "diverged"


@needs_filter
def test_the_guard_in_python_is_there_too_and_names_the_step(kitchen: runtime.Runtime, server: Loopback) -> None:
    run = kitchen.run(isolated_agents.calling_urllib, server.server_address[1])
    isolated = kitchen.replay(run.trace_id, isolated=True)
    assert len(server.seen) == 1
    assert "by_urllib tried to resolve 127.0.0.1" in isolated.certificate["by_urllib"].reason


@needs_filter
def test_what_cannot_be_sent_is_said(kitchen: runtime.Runtime) -> None:
    async def local(number: int) -> int:
        return number

    async def other(text: str) -> str:
        return text

    run = kitchen.run(only(local), 1)
    with pytest.raises(runtime.RuntimeMisuse, match="the agent only has to be imported by another process"):
        kitchen.replay(run.trace_id, isolated=True)
    asked = kitchen.run(isolated_agents.asking, "a")
    with pytest.raises(runtime.RuntimeMisuse, match="the step for asks has to be imported"):
        kitchen.replay(asked.trace_id, swap={"asks": other}, isolated=True)
    for options in ({"live": "needed"}, {"override": {"asks": "x"}}, {"pace": "recorded"}):
        with pytest.raises(runtime.RuntimeMisuse, match="takes no live, no override and no pace"):
            kitchen.replay(asked.trace_id, isolated=True, **options)


def test_a_store_without_a_folder_is_refused() -> None:
    with runtime.Runtime(MemoryObjectStore()) as kitchen:
        run = kitchen.run(isolated_agents.asking, "a")
        with pytest.raises(runtime.RuntimeMisuse, match="a store in a folder"):
            kitchen.replay(run.trace_id, isolated=True)


FILTERED = """
import ctypes, os, socket, subprocess, sys, threading
from replay.seccomp import refuse_network_and_processes
go, told = threading.Event(), []
def refused(fn):
    try:
        fn()
    except PermissionError:
        return True
    return False
def older():
    go.wait()
    told.append(refused(socket.socket))
thread = threading.Thread(target=older)
thread.start()
assert not refused(lambda: socket.socket().close())
refuse_network_and_processes()
go.set()
thread.join()
assert told == [True], "a thread that was there before"
for fn in (
    socket.socket, lambda: socket.socket(socket.AF_INET6), lambda: socket.socket(socket.AF_UNIX).connect("/run/x"),
    os.fork, lambda: subprocess.run(["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: os.execv("/bin/true", ["true"]), lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "/run/x"),
):
    assert refused(fn), fn
one, two = socket.socketpair()
one.send(b"x")
assert two.recv(1) == b"x"
again = threading.Thread(target=lambda: told.append(True))
again.start()
again.join()
import anyio
for backend in ("asyncio", "trio"):
    anyio.run(anyio.sleep, 0, backend=backend)
assert ctypes.CDLL(None).socket(2, 1, 0) == -1
print("as it should", len(told))
"""


@needs_filter
def test_a_worker_that_filters_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILTERED], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    assert done.stdout == "as it should 2\n", done.stderr


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_elsewhere_it_says_so(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(runtime.RuntimeMisuse, match=f"this is {system} on {machine}"):
        seccomp.refuse_network_and_processes()


# The program is the same kind of thing on a machine that is not here: run by an interpreter of its four instructions.

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
CALLS: dict[str, dict[str, int]] = {
    "x86_64": {
        "arch": 0xC000003E, "read": 0, "socket": 41, "connect": 42, "sendto": 44, "clone": 56, "fork": 57, "vfork": 58,
        "execve": 59, "execveat": 322, "clone3": 435, "io_uring_setup": 425,
    },
    "aarch64": {
        "arch": 0xC00000B7, "read": 63, "socket": 198, "connect": 203, "sendto": 206, "clone": 220, "execve": 221,
        "execveat": 281, "clone3": 435, "io_uring_setup": 425,
    },
}  # fmt: skip


def answer(machine: str, call: int, *args: int, arch: int | None = None) -> int:
    data = {0: call, 4: CALLS[machine]["arch"] if arch is None else arch}
    for place in range(6):
        value = args[place] if place < len(args) else 0
        data[16 + 8 * place], data[20 + 8 * place] = value & 0xFFFFFFFF, value >> 32
    code = seccomp.program(seccomp._MACHINES[machine])
    held = at = 0
    while True:
        kind, yes, no, operand = code[at]
        at += 1
        if kind == 0x06:
            return operand
        if kind == 0x20:
            held = data[operand]
        else:
            true = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[kind]
            at += yes if true else no


@pytest.mark.parametrize("machine", CALLS)
def test_the_filter_of_each_machine(machine: str) -> None:
    calls = CALLS[machine]
    told: dict[str, Any] = {name: answer(machine, number) for name, number in calls.items() if name != "arch"}
    refused = {name for name, what in told.items() if what == EPERM}
    assert refused == {"socket", "connect", "clone", "fork", "vfork", "execve", "execveat"} & set(calls)
    assert told["clone3"] == told["io_uring_setup"] == ENOSYS
    assert told["read"] == told["sendto"] == ALLOW
    assert answer(machine, calls["socket"], 1) == ALLOW
    assert [answer(machine, calls["socket"], family) for family in (2, 10, 16, 40)] == [EPERM] * 4
    assert answer(machine, calls["clone"], 0x3D0F00) == ALLOW
    assert answer(machine, calls["clone"], 0x1200011) == EPERM
    for address in (0x7FFC0000, 0x7F00_0000_0000):  # in either half of the pointer
        assert answer(machine, calls["sendto"], 3, 1, 1, 0, address, 16) == EPERM
    assert answer(machine, calls["read"], arch=0x40000003) == EPERM  # 32-bit calls have other numbers
    assert answer(machine, calls["socket"] | 0x40000000, 2) == EPERM  # as do those of x32
