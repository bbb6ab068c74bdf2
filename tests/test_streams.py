"""Effects that answer in pieces: recorded chunk by chunk, replayed as they were."""

from __future__ import annotations

import contextlib
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
