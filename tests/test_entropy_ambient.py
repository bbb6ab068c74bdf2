"""Direct use of clocks and randomness: recorded and replayed where entropy is ambient, told apart where it is not."""

# ruff: noqa: PLW0108 - a function kept in a table is one that nothing can stand in for

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import secrets
import string
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime as imported_datetime
from pathlib import Path
from random import random as imported_random
from time import time as imported_time
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest

import runtime
from runtime import Graph, step
from runtime.ambient import AMBIENT
from runtime.ambient_recording import MOST_READINGS
from tests.one_step import only

POOL = ThreadPoolExecutor(1)


@pytest.fixture(scope="module", autouse=True)
def _pool() -> Iterator[None]:
    POOL.submit(int).result()
    yield
    POOL.shutdown()


@pytest.fixture
def ambient(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    with runtime.Runtime(tmp_path / "store", backend=backend, entropy="ambient", check=True) as made:
        yield made
    assert not AMBIENT.held


class _Later(dt.datetime):
    """A subclass of a user."""


SOURCES: dict[str, Callable[[], Any]] = {
    "time.time": lambda: time.time(),
    "time.time_ns": lambda: time.time_ns(),
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns(),
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns(),
    "time.process_time": lambda: time.process_time(),
    "time.process_time_ns": lambda: time.process_time_ns(),
    "time.thread_time": lambda: time.thread_time(),
    "time.thread_time_ns": lambda: time.thread_time_ns(),
    "from time import time": lambda: imported_time(),
    "time.strftime": lambda: [time.strftime("%H:%M:%S"), time.localtime(), time.ctime(), time.asctime(), time.gmtime()],
    "datetime.now": lambda: [imported_datetime.now(dt.UTC), imported_datetime.now(), _Later.now()],  # noqa: DTZ005 - as users do
    "datetime.utcnow": lambda: getattr(imported_datetime, "utcnow")(),  # noqa: B009 - deprecated, and used
    "date.today": lambda: [dt.date.today(), imported_datetime.today()],  # noqa: DTZ002, DTZ011 - as users do
    "random.random": lambda: random.random(),
    "from random import random": lambda: imported_random(),
    "random.choice and shuffle": lambda: [random.choice(string.ascii_letters), random.sample(range(99), 9), random.gauss()],
    "random.seed": lambda: [random.seed(7), random.random()],
    "Random()": lambda: random.Random().random(),
    "Random(7)": lambda: random.Random(7).random(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "uuid4": lambda: uuid.uuid4(),
    "uuid1": lambda: [uuid.uuid1(), uuid.uuid1(node=5, clock_seq=6)],
    "secrets": lambda: [secrets.token_hex(), secrets.randbelow(10**9), secrets.choice("abcdefghij")],
    "os.urandom": lambda: [os.urandom(16), os.urandom(100), os.urandom(0)],
    "numpy default_rng": lambda: float(np.random.default_rng().random()),
    "numpy Generator(PCG64())": lambda: float(np.random.Generator(np.random.PCG64()).random()),
}  # fmt: skip
FIXED = {"Random(7)", "random.seed"}
"""Those that differ in no two runs."""
COARSE = {"time.strftime", "date.today"}
"""Those that may not differ within a second."""


def told(name: str) -> str:
    return repr(SOURCES[name]())


def in_raw_thread(fn: Callable[[], str]) -> str:
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(fn()))
    thread.start()
    thread.join()
    return got[0]


async def inline(name: str) -> str:
    return told(name)


async def in_worker(name: str) -> str:
    return await anyio.to_thread.run_sync(told, name)


async def in_thread(name: str) -> str:
    return in_raw_thread(lambda: told(name))


async def in_executor(name: str) -> str:
    return POOL.submit(told, name).result()


async def in_asyncio_thread(name: str) -> str:
    return await asyncio.to_thread(told, name)  # noqa: TID251 - the one under test


WAYS = [inline, in_worker, in_thread, in_executor, in_asyncio_thread]


def test_there_are_as_many_sources_as_were_measured() -> None:
    assert len(SOURCES) == 28


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_source_replays_exactly(ambient: runtime.Runtime, backend: str, way: Any) -> None:
    if way is in_asyncio_thread and backend == "trio":
        pytest.skip("asyncio.to_thread needs asyncio")
    exact: set[str] = set()
    for name in SOURCES:
        run = ambient.run(only(way, str), name)
        replay = ambient.replay(run.trace_id)
        if replay.certificate.proved:
            exact.add(name)
        again = ambient.run(only(way, str), name)
        if name not in COARSE:
            assert (again.output == run.output) == (name in FIXED), name
    assert exact == set(SOURCES)


def stamp(name: str) -> str:
    return f"{name} {uuid.uuid4()} {time.time()} {random.random()}"


def test_threads_and_tasks_of_one_step_draw_different_streams(ambient: runtime.Runtime) -> None:
    async def many(count: int) -> list[str]:
        made: list[str] = [str(uuid.uuid4()), str(runtime.current().uuid())]

        async def child() -> None:
            made.extend((str(uuid.uuid4()), str(runtime.current().uuid())))

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(child)
        for _ in range(count):
            threads = [threading.Thread(target=lambda: made.append(secrets.token_hex(16))) for _ in range(2)]
            threads += [threading.Thread(target=lambda: made.append(str(runtime.current().uuid())))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return sorted(made)

    run = ambient.run(only(many), 20)
    assert len(set(run.output)) == len(run.output) == 2 + 40 + 60
    assert ambient.replay(run.trace_id).certificate.proved


@step
async def inner(number: int) -> float:
    return number + time.time() + random.random()


async def outer(number: int) -> list[float]:
    return [time.monotonic(), await inner(number), time.monotonic()]


async def plus(values: list[float]) -> list[float]:
    return [values[1] + time.time() % 1, runtime.current().time()]


def nested() -> runtime.Agent[int, list[float]]:
    graph = Graph("ambient.nested", input=int)
    return graph.build(graph.add(plus, graph.add(outer, graph.input)))


def test_nested_steps_and_declared_readings_keep_their_places(ambient: runtime.Runtime) -> None:
    run = ambient.run(nested(), 1)
    assert ambient.replay(run.trace_id).certificate.proved
    draws = ambient.open(run.trace_id).spans["plus"].record.draws
    assert draws is not None
    assert [kind for kind, _ in draws[""]] == ["time.time", "time"]


def test_a_changed_step_goes_on_from_the_recorded_clock(ambient: runtime.Runtime) -> None:
    async def reads_more(values: list[float]) -> list[float]:
        first, second, third = time.time(), time.time(), time.time()
        assert first < second < third
        return [uuid.uuid1().time - uuid.uuid1().time, 0.0]

    run = ambient.run(nested(), 1)
    replay = ambient.replay(run.trace_id, swap={"plus": reads_more})
    assert replay.certificate["plus"].status == "swapped"
    assert "clock extended" in replay.certificate["plus"].reason
    assert replay.output == ambient.replay(run.trace_id, swap={"plus": reads_more}).output


FLAGS = {"extra": False}


async def reads_by_flag(number: int) -> int:
    for _ in range(2 if FLAGS["extra"] else 1):
        time.time()
    return number


def test_another_number_of_readings_is_named(ambient: runtime.Runtime) -> None:
    FLAGS["extra"] = False
    run = ambient.run(only(reads_by_flag), 1)
    FLAGS["extra"] = True
    entry = ambient.replay(run.trace_id).certificate["reads_by_flag"]
    assert (entry.status, entry.reason) == ("diverged", "reads_by_flag read the clock 2 times, recorded 1")


async def reads_other(number: int) -> int:
    (time.monotonic if FLAGS["extra"] else time.time)()
    return number


def test_another_clock_is_named(ambient: runtime.Runtime) -> None:
    FLAGS["extra"] = False
    run = ambient.run(only(reads_other), 1)
    FLAGS["extra"] = True
    entry = ambient.replay(run.trace_id).certificate["reads_other"]
    assert entry.reason == "reads_other read time.monotonic in its reading 1 of the clock, recorded time.time"


async def sleeps(number: int) -> float:
    began = time.monotonic()
    with anyio.move_on_after(30):
        await anyio.sleep(0.02)
    return time.monotonic() - began


def test_a_loop_keeps_its_own_clock(ambient: runtime.Runtime) -> None:
    """A replayed monotonic clock is of another boot: deadlines computed from it would never come, or be over."""
    run = ambient.run(only(sleeps), 1)
    assert 0.015 < run.output < 5
    assert ambient.replay(run.trace_id).certificate.proved


def test_nobody_outside_a_step_is_answered(tmp_path: Path, backend: str) -> None:
    ticks: list[float] = []

    async def waits(number: int) -> float:
        await anyio.sleep(0.05)
        return time.time()

    async def main() -> None:
        run = await kitchen.arun(only(waits), 1)
        async with anyio.create_task_group() as group:

            async def replay() -> None:
                assert (await kitchen.areplay(run.trace_id)).certificate.proved
                group.cancel_scope.cancel()

            group.start_soon(replay)
            while True:
                ticks.append(time.time())
                assert abs(dt.datetime.now(dt.UTC).timestamp() - ticks[-1]) < 1
                await anyio.sleep(0.005)

    with runtime.Runtime(tmp_path / "store", entropy="ambient") as kitchen:
        anyio.run(main, backend=backend)
    assert len(set(ticks)) > 3


@runtime.effect
async def provider(number: int) -> float:
    return time.time() + random.random()


async def asks(number: int) -> float:
    return await provider(number)


def test_inside_an_effect_everything_is_real(ambient: runtime.Runtime) -> None:
    run = ambient.run(only(asks), 1)
    assert ambient.open(run.trace_id).spans["asks"].record.draws is None
    assert ambient.replay(run.trace_id).certificate.proved
    live = ambient.replay(run.trace_id, live="asks/provider")
    assert live.output != run.output


def test_a_forked_child_draws_its_own(ambient: runtime.Runtime) -> None:
    def forks(number: int) -> list[str]:
        there, here = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(here, uuid.uuid4().bytes)
            os._exit(0)
        os.waitpid(pid, 0)
        return [uuid.UUID(bytes=os.read(there, 16)).hex, uuid.uuid4().hex]

    child, parent = ambient.run(only(forks), 1).output
    assert child != parent


def test_a_process_forked_from_a_worker_records_as_well(ambient: runtime.Runtime) -> None:
    """As a server that forks its workers does, after a run of its own."""
    ambient.run(only(stamp, str), "before")
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(here, ambient.run(only(stamp, str), "child").trace_id.encode())
            ambient.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    trace = os.read(there, 32).decode()
    assert ambient.replay(trace).certificate.proved


def watches(number: int) -> int:
    for _ in range(number):
        time.monotonic()
    return number


def test_a_loop_that_watches_a_clock_does_not_fill_the_memory(ambient: runtime.Runtime) -> None:
    run = ambient.run(only(watches), MOST_READINGS + 10)
    record = ambient.open(run.trace_id).spans["watches"].record
    assert record.draws is not None
    assert len(record.draws[""]) == MOST_READINGS
    assert record.findings == [f"read clocks more than {MOST_READINGS} times: the rest is not recorded"]
    assert "recorded 100000" in ambient.replay(run.trace_id).certificate["watches"].reason


async def reads_twice(values: list[float]) -> list[float]:
    return [values[1] + time.time() % 1, time.time(), runtime.current().time()]


def test_a_replay_of_a_replay(ambient: runtime.Runtime) -> None:
    """What a re-run step was told of the time is recorded with the replay."""
    run = ambient.run(nested(), 1)
    first = ambient.replay(run.trace_id, swap={"plus": reads_twice})
    graph = Graph("ambient.nested", input=int)
    agent = graph.build(graph.add(reads_twice, graph.add(outer, graph.input), name="plus"))
    again = ambient.replay(first.trace_id, agent=agent)
    assert again.certificate.proved
    assert again.output == first.output


# where entropy is declared, the default


async def pure(number: int) -> int:
    time.time()
    uuid.uuid4()
    return number


async def leaky(number: int) -> dict[str, Any]:
    return {"number": number, "at": time.time(), "day": str(dt.date.today()), "id": uuid.uuid4().hex}  # noqa: DTZ011 - as users do


def test_production_is_not_touched_by_default(kitchen: runtime.Runtime) -> None:
    before = (time.time, os.urandom, random.random, dt.datetime.__dict__["now"], random.Random.seed)
    run = kitchen.run(only(leaky), 1)
    kitchen.replay(run.trace_id)
    assert before == (time.time, os.urandom, random.random, dt.datetime.__dict__["now"], random.Random.seed)
    assert kitchen.open(run.trace_id).spans["leaky"].record.draws is None
    assert imported_time.__module__ == "time"


def test_a_replay_shows_direct_use_the_recorded_time_and_says_what_differs(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(only(leaky), 1)
    time.sleep(0.01)
    replay = kitchen.replay(run.trace_id)
    entry = replay.certificate["leaky"]
    assert entry.status == "diverged"
    assert entry.reason.startswith(".at: ")  # the first field, and the day is right
    again = kitchen.replay(run.trace_id)
    assert again.certificate["leaky"] == entry  # and every replay sees the same
    assert kitchen.replay(kitchen.run(only(pure), 1).trace_id).certificate.proved


async def waits_by_clock(number: int) -> int:
    until = time.monotonic() + 0.05
    while time.monotonic() < until:  # noqa: ASYNC110 - as users do
        await anyio.sleep(0.01)
    return number


def test_a_step_that_waits_for_a_time_ends(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(only(waits_by_clock), 1)
    assert kitchen.replay(run.trace_id).certificate.proved


def test_a_step_named_live_draws_afresh(kitchen: runtime.Runtime) -> None:
    async def draws(number: int) -> str:
        return f"{runtime.current().uuid()} {uuid.uuid4()} {runtime.current().time()}"

    run = kitchen.run(only(draws), 1)
    live = kitchen.replay(run.trace_id, live="draws")
    assert live.certificate["draws"].status == "live"
    assert not set(live.output.split()) & set(run.output.split())


def test_entropy_has_two_settings(tmp_path: Path) -> None:
    wrong: Any = "none"
    with pytest.raises(runtime.RuntimeMisuse, match="'declared' or 'ambient'"):
        runtime.Runtime(tmp_path, entropy=wrong)


# replay is deterministic, whatever the interpreter's hash seed and the loop


PROGRAM = """
import json, sys
import attrs
import runtime
from tests.test_entropy_ambient import orders
backend, store, trace = sys.argv[1:]
with runtime.Runtime(store, backend=backend) as kitchen:
    if not trace:
        print(kitchen.run(orders(), 3).trace_id)
    else:
        replay = kitchen.replay(trace, agent=orders())
        told = attrs.evolve(replay.certificate, issue=None, mac=None)  # each replay is a trace of its own
        print(json.dumps([told.to_json(), replay.output, list(replay.ran)], sort_keys=True))
"""


async def collects(number: int) -> list[str]:
    words = {f"word{n}": n for n in range(number * 10)}
    return sorted(set(words) | {str(time.time() > 0)})


async def summed(words: list[str]) -> dict[str, int]:
    return {word: len(word) for word in words}


async def unordered(number: int) -> list[str]:
    return list({f"word{n}" for n in range(number * 10)})  # what PYTHONHASHSEED shuffles


def orders() -> runtime.Agent[int, dict[str, int]]:
    graph = Graph("ambient.orders", input=int)
    graph.add(unordered, graph.input)
    return graph.build(graph.add(summed, graph.add(collects, graph.input)))


def program(store: Path, trace: str, backend: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, str(store), trace], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("recorded_on", ["asyncio", "trio"])
def test_a_replay_is_the_same_bytes_each_time(tmp_path: Path, recorded_on: str) -> None:
    """Row 22 of the fault matrix: hash seeds, loops, twice each; and the first divergence is named."""
    trace = program(tmp_path, "", recorded_on, "0")
    same = {program(tmp_path, trace, backend, "0") for backend in ("asyncio", "trio") for _ in range(2)}
    assert len(same) == 1
    assert '"proved": true' in same.pop()
    for seed in ("1", "random"):
        told = program(tmp_path, trace, "asyncio", seed)
        assert '"reason": "[0]: ' in told  # unordered, and its first field
        assert told.count('"status": "diverged"') == 1
        assert told.count('"status": "reproduced"') == 2
    assert program(tmp_path, trace, "trio", "1") == program(tmp_path, trace, "asyncio", "1")
