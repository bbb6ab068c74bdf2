"""Effects that answer in pieces: recorded chunk by chunk, replayed as they were."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest

import runtime
from runtime.streams import unpack

calls: list[str] = []


class Chunk(msgspec.Struct, frozen=True):
    text: str


class Broken(ConnectionError):
    pass


@runtime.effect
async def words(text: str, fail_at: int = -1) -> AsyncIterator[Chunk]:
    calls.append(text)
    for place, word in enumerate(text.split()):
        if place == fail_at:
            raise Broken(f"cut off at {word}")
        await anyio.sleep(0.001)
        runtime.current().attributes["words"] = place + 1
        yield Chunk(word)


@runtime.effect
async def endless(text: str) -> AsyncIterator[Chunk]:
    calls.append(text)
    while True:
        yield Chunk(text)
        await anyio.sleep(0.05)


async def read_all(text: str) -> str:
    return "-".join([chunk.text async for chunk in words(text)])


async def read_two(text: str) -> str:
    taken: list[str] = []
    async for chunk in words(text):
        taken.append(chunk.text)
        if len(taken) == 2:
            break
    return "-".join(taken)


async def read_until_broken(text: str) -> str:
    taken: list[str] = []
    try:
        async for chunk in words(text, fail_at=2):
            taken.append(chunk.text)  # noqa: PERF401 - what came before the fault is kept
    except Broken as error:
        taken.append(str(error))
    return "-".join(taken)


async def read_for_a_while(text: str) -> int:
    with anyio.move_on_after(0.02):
        async for _ in endless(text):
            pass
    return 1


def stream_of(text: str) -> AsyncGenerator[Chunk, None]:
    return cast("AsyncGenerator[Chunk, None]", words(text))


async def closes(text: str) -> str:
    async with contextlib.aclosing(stream_of(text)) as stream:
        async for chunk in stream:
            return chunk.text
    return ""


def agent_of(step: Callable[[str], Awaitable[Any]]) -> runtime.Agent[str, Any]:
    graph = runtime.Graph("streams", input=str)
    return graph.build(graph.add(step, graph.input, name="read"))


@pytest.mark.parametrize(
    ("step", "output", "status", "chunks"),
    [
        (read_all, "a-b-c-d", "ok", 4),
        (read_two, "a-b", "cut", 2),
        (read_until_broken, "a-b-cut off at c", "error", 2),
        (read_for_a_while, 1, "cancelled", 1),
        (closes, "a", "cut", 1),
    ],
)
def test_a_stream_is_recorded_and_replays_as_it_was(
    step: Callable[[str], Awaitable[Any]], output: object, status: str, chunks: int, kitchen: runtime.Runtime
) -> None:
    agent = agent_of(step)
    run = kitchen.run(agent, "a b c d")

    assert run.output == output
    (call,) = kitchen.open(run.trace_id).spans["read"].calls
    assert call.result is not None
    assert call.result.status == status
    assert call.result.data is not None
    kept, offsets = unpack(call.result.data)
    assert len(kept) == len(offsets) == chunks
    assert offsets == sorted(offsets)

    calls.clear()
    replay = kitchen.replay(run.trace_id)

    assert not calls
    assert replay.output == output
    assert replay.certificate.ok, str(replay.certificate)
    assert replay.certificate["read"].status == "reproduced"
    again = kitchen.open(replay.trace_id)
    (told,) = again.spans["read"].calls
    assert told.result is not None
    assert told.result.digest == call.result.digest


def test_a_consumer_that_stops_otherwise_than_recorded_is_named(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent_of(read_all), "a b c")
    less = kitchen.replay(run.trace_id, agent=agent_of(read_two))
    cut = kitchen.run(agent_of(read_two), "a b c")
    more = kitchen.replay(cut.trace_id, agent=agent_of(read_all))

    assert less.output == "a-b"
    assert less.certificate["read"].status == "changed"
    assert more.certificate["read"].status == "blocked"
    assert [one.address for one in more.blocked] == ["read/words"]


takes = [3]


async def read_some(text: str) -> str:
    taken: list[str] = []
    async for chunk in words(text):
        taken.append(chunk.text)
        if len(taken) == takes[0]:
            break
    return "read"


@pytest.mark.parametrize("now", [2, 4])
def test_unchanged_code_that_takes_another_number_of_chunks_diverges(now: int, kitchen: runtime.Runtime) -> None:
    takes[0] = 3
    run = kitchen.run(agent_of(read_some), "a b c d e")
    takes[0] = now

    replay = kitchen.replay(run.trace_id)

    assert not replay.certificate.ok
    assert replay.certificate["read"].status == "diverged"


def test_a_new_request_goes_live_and_is_recorded(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent_of(read_all), "a b")

    async def louder(text: str) -> str:
        return "-".join([chunk.text async for chunk in words(text.upper())])

    blocked = kitchen.replay(run.trace_id, swap={"read": louder})
    live = kitchen.replay(run.trace_id, swap={"read": louder}, live="needed")

    assert [one.address for one in blocked.blocked] == ["read/words"]
    assert live.output == "A-B"
    (call,) = kitchen.open(live.trace_id).spans["read"].calls
    assert call.result is not None
    assert call.result.status == "ok"


def test_streams_run_on_both_loops(backend: str, tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "store", backend=backend, check=True) as kitchen:
        run = kitchen.run(agent_of(read_all), "a b c")
        replay = kitchen.replay(run.trace_id)

    assert run.output == replay.output == "a-b-c"
    assert replay.certificate.ok


def test_a_sync_generator_is_refused() -> None:
    with pytest.raises(runtime.BuildError, match="make it an async one"):

        @runtime.effect
        def numbers() -> object:
            yield 1


@runtime.effect
async def ticks(name: str) -> AsyncGenerator[str, None]:
    for number in range(3):
        await anyio.sleep(0.04 if name == "slow" else 0.025)
        yield f"{name}{number}"


async def merges(text: str) -> list[str]:
    """Several streams at once, in the order in which their chunks come."""
    heard: list[str] = []

    async def listen(name: str) -> None:
        async for chunk in ticks(name):
            heard.append(chunk)  # noqa: PERF401 - two write to it

    async with anyio.create_task_group() as group:
        group.start_soon(listen, "slow")
        group.start_soon(listen, "quick")
    return heard


def test_several_streams_come_at_the_pace_at_which_they_came(tmp_path: Path, backend: str) -> None:
    agent = agent_of(merges)
    with runtime.Runtime(tmp_path / "store", backend=backend) as kitchen:
        run = kitchen.run(agent, "x")
        took = kitchen.open(run.trace_id).duration_ms or 0.0

        began = time.monotonic()
        fast = kitchen.replay(run.trace_id)
        assert time.monotonic() - began < took / 1000, "a replay waits for nothing"
        assert sorted(kitchen.open(fast.trace_id).spans["read"].result.value) == sorted(run.output)

        began = time.monotonic()
        paced = kitchen.replay(run.trace_id, pace="recorded")
        assert paced.certificate.proved, paced.certificate.entries
        assert paced.output == run.output
        assert time.monotonic() - began > 0.9 * took / 1000
        with pytest.raises(ValueError, match="pace is 'fast' or 'recorded'"):
            kitchen.replay(run.trace_id, pace="slow")


@runtime.effect
async def fails_late(text: str) -> AsyncGenerator[str, None]:
    yield text
    await anyio.sleep(0.1)
    raise Broken("late")


async def waits_for_the_fault(text: str) -> str:
    try:
        async for _ in fails_late(text):
            pass
    except Broken:
        return "broken"
    return "whole"


def test_the_end_of_a_stream_comes_at_its_pace_too(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent_of(waits_for_the_fault), "x")
    began = time.monotonic()
    replay = kitchen.replay(run.trace_id, pace="recorded")
    assert replay.certificate.proved
    assert replay.output == "broken"
    assert time.monotonic() - began > 0.09


def test_a_consumer_that_gives_up_at_the_recorded_pace_does_so_where_it_did(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent_of(read_for_a_while), "x")
    replay = kitchen.replay(run.trace_id, pace="recorded")
    assert replay.certificate.ok, replay.certificate.entries
    assert replay.output == 1
