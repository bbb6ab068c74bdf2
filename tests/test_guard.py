"""The guard of replays: what leaves the process past an effect is refused by its step's name, and by nobody else's."""

from __future__ import annotations

import _thread
import asyncio
import http.client
import logging
import logging.handlers
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
import uvloop

import runtime
from replay.doors import DOORS
from runtime import Graph, effect
from runtime.ambient import AMBIENT
from tests.loopback import Loopback, says, serving
from tests.one_step import only

POOL = ThreadPoolExecutor(1)
KEPT: dict[str, Any] = {}
"""Connections that were opened before the replay, as a provider's client keeps them."""


@pytest.fixture(scope="module", autouse=True)
def _pool() -> Iterator[None]:
    POOL.submit(int).result()
    yield
    POOL.shutdown()


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as made:
        made.script = [says({"answer": 1}) for _ in range(50)]
        yield made
    for kept in KEPT.values():
        kept.close()
    KEPT.clear()


@pytest.fixture
def both(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    with runtime.Runtime(tmp_path / "store", backend=backend) as made:
        yield made
    assert not DOORS.held
    assert not AMBIENT.held


def ask(url: str) -> str:
    with urllib.request.urlopen(url, data=b"{}", timeout=10) as answer:  # noqa: S310 - the test's own server
        return str(answer.read().decode())


async def by_urllib(url: str) -> str:
    return ask(url)


async def by_raw_socket(url: str) -> str:
    with socket.create_connection(_address(url)) as sock:
        return exchange(sock)


def exchange(sock: socket.socket) -> str:
    sock.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    sock.recv(1000)
    return "done"


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.split("/")[2].partition(":")
    return host, int(port)


def in_thread(start: Callable[[Callable[[], None]], Any]) -> list[str]:
    """What a thread got, which swallows what it is refused with."""
    got: list[str] = []
    over = threading.Event()

    def work() -> None:
        try:
            got.append(ask(KEPT_URL[0]))
        except BaseException as error:
            got.append(type(error).__name__)
        finally:
            over.set()

    start(work)
    assert over.wait(10)
    return got


KEPT_URL = [""]


class Worker(threading.Thread):
    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        self._work()


async def by_thread(url: str) -> list[str]:
    KEPT_URL[0] = url
    return in_thread(lambda work: threading.Thread(target=work).start())


async def by_thread_class(url: str) -> list[str]:
    KEPT_URL[0] = url
    return in_thread(lambda work: Worker(work).start())


async def by_timer(url: str) -> list[str]:
    KEPT_URL[0] = url
    return in_thread(lambda work: threading.Timer(0.001, work).start())


async def by_lowest_thread(url: str) -> list[str]:
    KEPT_URL[0] = url
    return in_thread(lambda work: _thread.start_new_thread(work, ()))


async def by_executor(url: str) -> list[str]:
    KEPT_URL[0] = url
    return in_thread(POOL.submit)


async def by_worker(url: str) -> str:
    return await anyio.to_thread.run_sync(ask, url)


async def by_child_task(url: str) -> list[str]:
    got: list[str] = []

    async def child() -> None:
        got.append(ask(url))

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    return got


async def by_anyio(url: str) -> str:
    async with await anyio.connect_tcp(*_address(url)) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await stream.receive()
        return "done"


async def by_pooled_connection(url: str) -> str:
    kept = KEPT.get("http.client")
    if kept is None:
        kept = KEPT["http.client"] = http.client.HTTPConnection(*_address(url))
    kept.request("POST", "/", b"{}", {"content-length": "2"})
    return str(kept.getresponse().read().decode())


async def by_pooled_client(url: str) -> str:
    kept = KEPT.setdefault("httpx2", httpx2.Client(trust_env=False))
    return str(kept.post(url, content=b"{}").text)


async def swallowing(url: str) -> str:
    try:
        return ask(url)
    except BaseException:
        return "nothing happened"


REACHES = [
    by_urllib, by_raw_socket, by_thread, by_thread_class, by_timer, by_lowest_thread, by_executor, by_worker, by_child_task,
    by_anyio, by_pooled_connection, by_pooled_client, swallowing,
]  # fmt: skip


@pytest.mark.parametrize("step", REACHES, ids=lambda step: step.__name__)
def test_what_reaches_a_server_live_is_refused_in_a_replay(both: runtime.Runtime, server: Loopback, step: Any) -> None:
    run = both.run(only(step, str), server.url)
    assert len(server.seen) == 1  # without the guard

    replay = both.replay(run.trace_id)

    assert len(server.seen) == 1
    entry = replay.certificate[step.__name__]
    assert entry.status == "blocked"
    assert entry.reason.startswith(f"{step.__name__} tried to ")
    assert "127.0.0.1" in entry.reason
    assert "declare it as an @effect" in entry.reason
    assert not replay.certificate.ok


def test_a_swapped_step_is_refused_too_and_the_output_says_so(kitchen: runtime.Runtime, server: Loopback) -> None:
    run = kitchen.run(only(by_effect, str), server.url)
    replay = kitchen.replay(run.trace_id, swap={"by_effect": swallowing})
    assert len(server.seen) == 1
    with pytest.raises(runtime.ReplayBlocked, match="by_effect tried to resolve"):
        _ = replay.output


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_connection_that_a_loop_has_kept_open(tmp_path: Path, server: Loopback, backend: str) -> None:
    async def main() -> None:
        async with httpx2.AsyncClient(trust_env=False) as client:

            async def by_async_client(url: str) -> str:
                return str((await client.post(url, content=b"{}")).text)

            run = await kitchen.arun(only(by_async_client, str), server.url)
            replay = await kitchen.areplay(run.trace_id)
            assert len(server.seen) == 1
            assert replay.certificate["by_async_client"].status == "blocked"
            assert "on a connection opened before" in replay.certificate["by_async_client"].reason
            # And nobody else's connection was harmed.
            assert (await client.post(server.url, content=b"{}")).status_code == 200

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main, backend=backend)


async def by_asyncio_stream(url: str) -> str:
    reader, writer = KEPT_STREAM[0]
    writer.write(REQUEST)
    return str((await reader.readline()).decode())


KEPT_STREAM: list[Any] = []


def test_a_transport_refuses_before_it_breaks_the_connection(tmp_path: Path, server: Loopback) -> None:
    async def main() -> None:
        KEPT_STREAM[:] = [await asyncio.open_connection(*_address(server.url))]  # noqa: TID251 - the transport under test
        run = await kitchen.arun(only(by_asyncio_stream, str), server.url)
        replay = await kitchen.areplay(run.trace_id)
        assert replay.certificate["by_asyncio_stream"].status == "blocked"
        _, writer = KEPT_STREAM[0]
        assert not writer.is_closing()
        writer.close()

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main)
    assert len(server.seen) == 1


async def by_name(url: str) -> str:
    return str(len(await anyio.getaddrinfo("localhost", 80)))


async def by_process(url: str) -> str:
    return (await anyio.run_process(["echo", "hi"])).stdout.decode()


async def by_kept_client(url: str) -> str:
    return str((await KEPT["async"].post(url, content=b"{}")).text)


async def by_loop_socket(url: str) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, _address(url))
        await loop.sock_sendall(sock, REQUEST)
        return str(len(await loop.sock_recv(sock, 1)))


@pytest.mark.parametrize(
    "step", [by_anyio, by_asyncio_stream, by_kept_client, by_loop_socket, by_name, by_process, by_urllib],
    ids=lambda step: step.__name__,
)  # fmt: skip
def test_on_uvloop(tmp_path: Path, server: Loopback, step: Any) -> None:
    """Its loop is C, and what goes through it is refused above it."""

    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with httpx2.AsyncClient(trust_env=False) as client:
            KEPT["async"] = client
            KEPT_STREAM[:] = [await asyncio.open_connection(*_address(server.url))]  # noqa: TID251 - as above
            run = await kitchen.arun(only(step, str), server.url)
            before = len(server.seen)
            replay = await kitchen.areplay(run.trace_id)
            assert len(server.seen) == before == int(step not in {by_name, by_process})
            assert f"{step.__name__} tried to " in replay.certificate[step.__name__].reason
            KEPT_STREAM[0][1].close()
        del KEPT["async"]

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main, backend_options={"use_uvloop": True})


async def by_reading_what_comes(url: str) -> str:
    reader, _ = KEPT_STREAM[0]
    return str((await reader.readline()).decode())


async def by_anyio_stream(url: str) -> bytes:
    return bytes(await KEPT_STREAM[0].receive(1))


@pytest.mark.parametrize("step", [by_reading_what_comes, by_anyio_stream], ids=lambda step: step.__name__)
def test_what_a_loop_has_read_already_is_refused_too(tmp_path: Path, server: Loopback, step: Any) -> None:
    async def main() -> None:
        if step is by_anyio_stream:
            KEPT_STREAM[:] = [await anyio.connect_tcp(*_address(server.url))]
            await KEPT_STREAM[0].send(REQUEST)
        else:
            KEPT_STREAM[:] = [await asyncio.open_connection(*_address(server.url))]  # noqa: TID251 - as above
            KEPT_STREAM[0][1].write(REQUEST)
        run = await kitchen.arun(only(step, str), server.url)
        replay = await kitchen.areplay(run.trace_id)
        assert f"{step.__name__} tried to receive from 127.0.0.1:" in replay.certificate[step.__name__].reason
        if step is by_anyio_stream:
            await KEPT_STREAM[0].aclose()
        else:
            KEPT_STREAM[0][1].close()

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main)
    assert len(server.seen) == 1


REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


def resolve(name: str) -> int:
    return len(socket.getaddrinfo(name, 80))


async def resolve_in_worker(name: str) -> int:
    return len(await anyio.to_thread.run_sync(socket.gethostbyname, name))


async def resolve_by_loop(name: str) -> int:
    return len(await anyio.getaddrinfo(name, 80))


def run_program(name: str) -> str:
    return subprocess.run(["echo", name], capture_output=True, text=True, check=True).stdout


def run_shell(name: str) -> int:
    shell: Callable[[str], int] = vars(os)["system"]
    return shell(f"true {name}")


def spawn(name: str) -> int:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    return os.waitpid(pid, 0)[1]


def fork(name: str) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1]


async def run_by_loop(name: str) -> str:
    return (await anyio.run_process(["echo", name])).stdout.decode()


def send_datagram(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", ("127.0.0.1", 9))


def connect_unix(name: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(f"/tmp/{name}-is-not-there")  # noqa: S108 - nothing is made there


def ask_a_pool(name: str) -> int:
    return len(PROCESSES[0].submit(str, name).result())


PROCESSES: list[ProcessPoolExecutor] = []


def test_a_process_that_is_there_already(kitchen: runtime.Runtime) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        PROCESSES[:] = [pool]
        run = kitchen.run(only(ask_a_pool, str), "abc")
        assert "tried to hand work to another process" in kitchen.replay(run.trace_id).certificate["ask_a_pool"].reason


async def run_another_agent(name: str) -> int:
    done = await OTHER[0].arun(only(resolve, str), name)
    return int(done.output)


OTHER: list[runtime.Runtime] = []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (resolve, "resolve localhost"),
        (resolve_in_worker, "resolve localhost"),
        (resolve_by_loop, "resolve localhost"),
        (run_program, "start a process ('echo')"),
        (run_shell, "start a process (os.system"),
        (spawn, "start a process (os.posix_spawn"),
        (fork, "start a process (os.fork"),
        (run_by_loop, "start a process ('echo')"),
        (send_datagram, "send to 127.0.0.1:9"),
        (connect_unix, "connect to '/tmp/localhost-is-not-there'"),
        (run_another_agent, "run the agent only"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_doors(both: runtime.Runtime, step: Any, said: str) -> None:
    OTHER[:] = [both]
    run = both.run(only(step, str), "localhost")

    replay = both.replay(run.trace_id)

    assert replay.certificate[step.__name__].status == "blocked"
    assert f"{step.__name__} tried to {said}" in replay.certificate[step.__name__].reason


RELEASED = threading.Event()


async def leaves_a_thread(url: str) -> str:
    got: list[str] = []
    KEPT["late"] = Late(url, got)
    return "left"


class Late:
    def __init__(self, url: str, got: list[str]) -> None:
        self.got = got
        self.thread = threading.Thread(target=self.work, args=(url,))
        self.thread.start()

    def work(self, url: str) -> None:
        RELEASED.wait(10)
        try:
            self.got.append(ask(url))
        except BaseException as error:
            self.got.append(str(error))

    def close(self) -> None:
        RELEASED.set()
        self.thread.join()


def test_a_thread_that_outlives_its_replay_is_refused_still(kitchen: runtime.Runtime, server: Loopback) -> None:
    RELEASED.clear()
    run = kitchen.run(only(leaves_a_thread, str), server.url)
    KEPT["late"].close()
    assert len(server.seen) == 1
    RELEASED.clear()

    kitchen.replay(run.trace_id)
    assert DOORS.held  # while its thread lives, and no longer
    KEPT["late"].close()

    assert len(server.seen) == 1
    assert "leaves_a_thread tried to" in KEPT["late"].got[0]
    assert not DOORS.held


async def waits(url: str) -> int:
    await anyio.sleep(0.1)
    return 1


def test_nobody_else_is_refused(tmp_path: Path, server: Loopback, backend: str) -> None:
    """Another task of the loop, an older thread, and a run that is recorded at the same time."""
    answers: list[str] = []

    async def neighbour() -> None:
        assert DOORS.held
        answers.append(await anyio.to_thread.run_sync(ask, server.url))
        run = await kitchen.arun(only(by_urllib, str), server.url)
        answers.append(run.output)
        answers.append(POOL.submit(ask, server.url).result())
        (tmp_path / "mine").write_text("x")
        await anyio.run_process(["true"])

    async def main() -> None:
        run = await kitchen.arun(only(waits, str), server.url)
        async with anyio.create_task_group() as group:

            async def replay() -> None:
                done = await kitchen.areplay(run.trace_id, guard="strict")
                assert done.certificate.proved

            group.start_soon(replay)
            while not DOORS.held:  # noqa: ASYNC110 - what is waited for tells nobody
                await anyio.sleep(0.001)
            group.start_soon(neighbour)

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main, backend=backend)
    assert len(answers) == 3


def test_several_replays_at_once(tmp_path: Path, server: Loopback, backend: str) -> None:
    async def main() -> None:
        good = await kitchen.arun(only(waits, str), server.url)
        bad = await kitchen.arun(only(swallowing, str), server.url)
        found: list[tuple[str, bool]] = []

        async def replay(trace: str) -> None:
            done = await kitchen.areplay(trace)
            found.append((trace, done.certificate.ok))

        async with anyio.create_task_group() as group:
            for trace in (good.trace_id, bad.trace_id, good.trace_id, bad.trace_id):
                group.start_soon(replay, trace)
        assert sorted(found) == sorted([(good.trace_id, True), (bad.trace_id, False)] * 2)

    with runtime.Runtime(tmp_path / "store") as kitchen:
        anyio.run(main, backend=backend)
    assert not DOORS.held
    assert len(server.seen) == 1


@effect
async def provider(url: str) -> str:
    return await anyio.to_thread.run_sync(ask, url)


async def by_effect(url: str) -> str:
    return await provider(url)


async def asks_twice(url: str) -> str:
    return await provider(f"{url}/other")


def test_a_live_effect_and_a_step_named_live_are_let_be(both: runtime.Runtime, server: Loopback) -> None:
    run = both.run(only(by_effect, str), server.url)
    swapped = both.replay(run.trace_id, swap={"by_effect": asks_twice}, live="needed")
    assert swapped.certificate.ok
    assert len(server.seen) == 2

    direct = both.run(only(by_urllib, str), server.url)
    assert both.replay(direct.trace_id, live="by_urllib").certificate.ok
    assert len(server.seen) == 4


def write_file(path: str) -> str:
    Path(path).write_text("x")
    return "written"


def make_folder(path: str) -> str:
    os.makedirs(f"{path}.d/inner", exist_ok=True)  # noqa: PTH103 - the one under test
    return "made"


def write_database(path: str) -> str:
    sqlite3.connect(path).close()
    return "written"


def open_descriptor(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    return "opened"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (write_file, "write "),
        (make_folder, "call os.mkdir on "),
        (write_database, "open the database "),
        (open_descriptor, "write "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_written_file_is_named_and_refused_where_the_guard_is_strict(
    kitchen: runtime.Runtime, tmp_path: Path, step: Any, said: str
) -> None:
    path = str(tmp_path / "file")
    run = kitchen.run(only(step, str), path)
    name = step.__name__

    named = kitchen.replay(run.trace_id)
    assert named.certificate.proved
    assert f"let be: {said}" in named.certificate[name].reason
    assert path in named.certificate[name].reason
    assert said in str(kitchen.open(named.trace_id).spans[name].record.findings)

    (tmp_path / "file").unlink(missing_ok=True)
    strict = kitchen.replay(run.trace_id, guard="strict")
    assert strict.certificate[name].status == "blocked"
    assert f"{name} tried to {said}" in strict.certificate[name].reason
    assert not (tmp_path / "file").exists()
    assert "guard='strict'" in kitchen.replay(run.trace_id, guard="strict", swap={name: reads_only})._call


def reads_only(path: str) -> str:
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 - the one under test
        nothing.write(path)
    return str(Path(__file__).stat().st_size)


def test_reading_is_let_be(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    run = kitchen.run(only(reads_only, str), "x")
    strict = kitchen.replay(run.trace_id, guard="strict")
    assert strict.certificate.proved
    assert strict.certificate["reads_only"].reason == ""


def imports_late(name: str) -> int:
    return int(__import__(name).VALUE)


def test_an_import_is_work_of_the_process(kitchen: runtime.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "kitchenlog_late.py").write_text("import socket, time\nsocket.getaddrinfo('127.0.0.1', 1)\nVALUE = 1\n")
    run = kitchen.run(only(imports_late, str), "kitchenlog_late")
    del sys.modules["kitchenlog_late"]
    for made in (tmp_path / "__pycache__").iterdir():
        made.unlink()

    assert kitchen.replay(run.trace_id, guard="strict").certificate.proved
    assert list((tmp_path / "__pycache__").iterdir())


def log_it(text: str) -> str:
    logging.getLogger("kitchenlog.test.guard").warning(text)
    return text


def test_a_handler_of_logging_is_work_of_the_process(kitchen: runtime.Runtime) -> None:
    log = logging.getLogger("kitchenlog.test.guard")
    log.propagate = False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(5)
        handler = logging.handlers.SysLogHandler(heard.getsockname())
        log.addHandler(handler)
        try:
            run = kitchen.run(only(log_it, str), "said by a step")
            assert kitchen.replay(run.trace_id, guard="strict").certificate.proved
        finally:
            log.removeHandler(handler)
            handler.close()
        assert [b"said by a step" in heard.recv(100) for _ in range(2)] == [True, True]


def test_glue_is_guarded_too(kitchen: runtime.Runtime, server: Loopback) -> None:
    graph = Graph("glue", input=str)
    agent = graph.build(graph.derive(ask, graph.input))
    run = kitchen.run(agent, server.url)
    replay = kitchen.replay(run.trace_id)
    assert len(server.seen) == 1
    assert not replay.certificate.ok
    assert "glue ask tried to" in replay.certificate["ask"].reason


def is_answered(text: str) -> bool:
    return "answer" in ask(KEPT_URL[0])


async def again(text: str) -> str:
    return f"{text}!"


def test_a_condition_is_guarded_with_its_control_node(kitchen: runtime.Runtime, server: Loopback) -> None:
    KEPT_URL[0] = server.url
    graph = Graph("condition", input=str)
    agent = graph.build(graph.loop(again, graph.input, until=is_answered, limit=2, name="draft"))
    run = kitchen.run(agent, "a")
    asked = len(server.seen)
    assert asked
    replay = kitchen.replay(run.trace_id)
    assert len(server.seen) == asked
    assert "draft[0]/until tried to resolve 127.0.0.1" in replay.certificate["draft"].reason


def test_an_unknown_guard_is_refused(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(only(reads_only, str), "x")
    with pytest.raises(ValueError, match="'standard' or 'strict'"):
        kitchen.replay(run.trace_id, guard="lax")


def test_nothing_stays_behind(kitchen: runtime.Runtime) -> None:
    """Production pays nothing: every function is the standard library's own again."""
    before = (socket.socket.connect, socket.socket.send, socket.getaddrinfo, os.open, open, subprocess.Popen.__init__)
    run = kitchen.run(only(reads_only, str), "x")
    kitchen.replay(run.trace_id)
    after = (socket.socket.connect, socket.socket.send, socket.getaddrinfo, os.open, open, subprocess.Popen.__init__)
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert socket.socket.send is vars(socket.socket.__base__)["send"]


def test_the_private_classes_are_where_they_were() -> None:
    """A release of CPython or trio that moves them would open a door silently."""
    from asyncio import selector_events, sslproto

    places = {(place.owner.__name__, place.name) for place in DOORS._places()}
    assert "trio" in sys.modules
    assert vars(selector_events)["_SelectorSocketTransport"]
    assert vars(sslproto)["_SSLProtocolTransport"]
    assert {
        ("_SelectorSocketTransport", "write"), ("StreamReader", "read"), ("SocketStream", "receive"),
        ("SocketStream", "send"), ("StreamWriter", "write"),
        ("_SSLProtocolTransport", "write"), ("_SocketType", "send"),
        ("_SocketType", "recv"), ("SSLSocket", "send"), ("SSLSocket", "read"), ("socket", "connect"), ("socket", "sendmsg"),
    } <= places  # fmt: skip
