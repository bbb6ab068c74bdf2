"""Answers under concurrency: the patterns in which an arrival index is silently wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

import runtime
from runtime import Graph, effect

REPLAYS = 100
BACKENDS = ["asyncio", "trio"]

_dice = random.Random(7)


@effect
async def ask(request: str) -> int:
    """A provider that answers every request afresh, after a random wait."""
    await anyio.sleep(_dice.random() * 0.003)
    return _dice.getrandbits(30)


async def fan_equal(_: int) -> list[tuple[int, int]]:
    out: dict[int, int] = {}

    async def work(place: int) -> None:
        out[place] = await ask("same")

    async with anyio.create_task_group() as group:
        for place in range(6):
            group.start_soon(work, place)
    return sorted(out.items())


async def two_stages(_: int) -> list[tuple[int, int, int]]:
    out: list[tuple[int, int, int]] = []

    async def work(place: int) -> None:
        one = await ask(f"first {place}")
        out.append((place, one, await ask("same")))

    async with anyio.create_task_group() as group:
        for place in range(4):
            group.start_soon(work, place)
    return sorted(out)


async def as_completed(_: int) -> list[int]:
    send, receive = anyio.create_memory_object_stream[int](8)

    async def work(place: int) -> None:
        send.send_nowait(await ask(f"q{place}"))

    out: list[int] = []
    async with send, receive, anyio.create_task_group() as group:
        for place in range(5):
            group.start_soon(work, place)
        for _place in range(5):
            out += [await receive.receive()]
    return out


async def as_completed_with_a_pause(_: int) -> list[int]:
    send, receive = anyio.create_memory_object_stream[int](8)

    async def work(place: int) -> None:
        await send.send(await ask(f"q{place}"))  # a checkpoint between the answer and what the step sees of it

    out: list[int] = []
    async with send, receive, anyio.create_task_group() as group:
        for place in range(5):
            group.start_soon(work, place)
        for _place in range(5):
            out += [await receive.receive()]
    return out


async def completion_order(_: int) -> list[int]:
    out: list[int] = []

    async def work(place: int) -> None:
        out.append(await ask(f"q{place}"))

    async with anyio.create_task_group() as group:
        for place in range(5):
            group.start_soon(work, place)
    return out


async def race(_: int) -> list[int]:
    out: list[int] = []

    async def work(place: int, scope: anyio.CancelScope) -> None:
        out.append(await ask(f"hedge {place}"))
        scope.cancel()

    async with anyio.create_task_group() as group:
        for place in range(3):
            group.start_soon(work, place, group.cancel_scope)
    return out[:1]


async def order_then_call(_: int) -> int:
    out: list[int] = []

    async def work(place: int) -> None:
        out.append(await ask(f"q{place}"))

    async with anyio.create_task_group() as group:
        for place in range(3):
            group.start_soon(work, place)
    return await ask(f"sum {out}")


async def queue_distinct(_: int) -> list[tuple[int, int]]:
    items, out = list(range(6)), dict[int, int]()

    async def work() -> None:
        while items:
            item = items.pop(0)
            out[item] = await ask(f"item {item}")

    async with anyio.create_task_group() as group:
        for _worker in range(3):
            group.start_soon(work)
    return sorted(out.items())


async def queue_equal(_: int) -> list[tuple[int, int]]:
    items, out = list(range(6)), dict[int, int]()

    async def work() -> None:
        while items:
            item = items.pop(0)
            out[item] = await ask("same")

    async with anyio.create_task_group() as group:
        for _worker in range(3):
            group.start_soon(work)
    return sorted(out.items())


async def mapped(_: int) -> list[int]:
    return await runtime.current().map(lambda _item: ask("same"), range(6))


PATTERNS: list[Callable[[int], Coroutine[Any, Any, Any]]] = [
    fan_equal, two_stages, as_completed, completion_order, race, order_then_call, queue_distinct, mapped,
]  # fmt: skip


@pytest.mark.parametrize("replayed_on", BACKENDS)
@pytest.mark.parametrize("recorded_on", BACKENDS)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_no_answer_crosses(
    tmp_path: Path, pattern: Callable[[int], Coroutine[Any, Any, Any]], recorded_on: str, replayed_on: str
) -> None:
    graph = Graph("pattern", input=int)
    agent = graph.build(graph.add(pattern, graph.input))
    with runtime.Runtime(tmp_path, backend=recorded_on) as kitchen:
        live = [kitchen.run(agent, 0) for _ in range(REPLAYS // 10)]
    with runtime.Runtime(tmp_path, backend=replayed_on) as kitchen:
        for run in live:
            for _ in range(10):
                replay = kitchen.replay(run.trace_id, agent=agent)

                assert replay.certificate.proved, str(replay.certificate.entries)
                assert replay.output == run.output


@pytest.mark.parametrize("replayed_on", BACKENDS)
@pytest.mark.parametrize("recorded_on", BACKENDS)
def test_an_order_that_the_scheduler_made_is_reproduced_or_said(tmp_path: Path, recorded_on: str, replayed_on: str) -> None:
    graph = Graph("pause", input=int)
    agent = graph.build(graph.add(as_completed_with_a_pause, graph.input))
    with runtime.Runtime(tmp_path, backend=recorded_on) as kitchen:
        live = [kitchen.run(agent, 0) for _ in range(10)]
    with runtime.Runtime(tmp_path, backend=replayed_on) as kitchen:
        for run in live:
            replay = kitchen.replay(run.trace_id, agent=agent)

            assert replay.certificate["as_completed_with_a_pause"].status in {"reproduced", "diverged"}
            if replay.certificate.ok:
                assert replay.output == run.output


@pytest.mark.parametrize("replayed_on", BACKENDS)
@pytest.mark.parametrize("recorded_on", BACKENDS)
def test_equal_requests_from_queue_workers_are_never_called_ok_when_they_differ(
    tmp_path: Path, recorded_on: str, replayed_on: str
) -> None:
    graph = Graph("queue", input=int)
    agent = graph.build(graph.add(queue_equal, graph.input))
    with runtime.Runtime(tmp_path, backend=recorded_on) as kitchen:
        live = [kitchen.run(agent, 0) for _ in range(10)]
    with runtime.Runtime(tmp_path, backend=replayed_on) as kitchen:
        for run in live:
            for _ in range(10):
                replay = kitchen.replay(run.trace_id, agent=agent)
                entry = replay.certificate["queue_equal"]

                if entry.status == "reproduced":
                    assert replay.output == run.output
                else:
                    assert entry.status == "diverged"
                    assert "reassigned" in entry.reason
