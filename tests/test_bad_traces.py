"""Hostile ids, logs, attributes, cancellations and disks: a clear refusal or a marked trace, and the loop never waits."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from blockbuster import blockbuster_ctx

import runtime
from runtime import Graph, effect, step
from runtime.default import default
from tests.left_behind import leave
from tests.one_step import LONE, echo, is_ok, last, only


@pytest.fixture
def kitchen(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    """In check mode, on each loop."""
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as made:
        yield made


# ids


@pytest.mark.parametrize("text", ["", " ", "xyz", "../x", "a" * 33, "0x12", "ab\0", "\u0661", LONE, None, 7, b"ab", ["ab"]])
def test_what_is_no_id_is_refused_by_every_reader(kitchen: runtime.Runtime, backend: str, text: Any) -> None:
    good = kitchen.run(only(echo), 1).trace_id

    async def refused() -> None:
        for call in (kitchen.aopen, kitchen.areplay, kitchen.aplan):
            with pytest.raises(runtime.InvalidId, match="is no trace id: give 1 to 32 of its hexadecimal digits"):
                await call(text)
        for pair in ((text, good), (good, text)):
            with pytest.raises(runtime.InvalidId):
                await kitchen.adiff(*pair)

    anyio.run(refused, backend=backend)


def test_unknown_and_ambiguous_ids_are_refused_by_every_reader(kitchen: runtime.Runtime, backend: str) -> None:
    ids = [kitchen.run(only(echo), 1).trace_id for _ in range(17)]  # two of them begin with one digit
    start = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    unknown = "0" * 31 + "1"

    async def refused() -> None:
        for call in (kitchen.aopen, kitchen.areplay, kitchen.aplan):
            with pytest.raises(runtime.TraceNotFound, match="holds 17 traces"):
                await call(unknown)
            with pytest.raises(runtime.AmbiguousTrace, match="give more digits") as raised:
                await call(start)
            assert set(raised.value.newest) <= set(ids)

    anyio.run(refused, backend=backend)


# bytes of the log


def test_a_log_that_is_cut_or_flipped_anywhere_is_opened_right_or_not_as_whole(tmp_path: Path) -> None:
    agent = only(echo)
    kitchen = runtime.Runtime(tmp_path)
    run = kitchen.run(agent, 7)
    wanted = run.recording.to_json()
    leave(kitchen)
    [file] = (tmp_path / "log").iterdir()
    data = file.read_bytes()
    seen: set[str] = set()

    def check(*, with_replay: bool) -> None:
        with runtime.Runtime(tmp_path) as fresh:
            listed = {line.trace_id: line.status for line in fresh.list()}
            try:
                recording = fresh.open(run.trace_id)
            except (runtime.CorruptRecord, runtime.TraceNotFound) as error:
                seen.add(type(error).__name__)
                assert listed.get(run.trace_id, "damaged") == "damaged"
                return
            seen.add(recording.status)
            assert listed[run.trace_id] == recording.status
            found = recording.to_json()
            assert recording.status in {"unfinished", "damaged"} or found == wanted
            if with_replay and recording.status != "ok":
                assert not fresh.replay(run.trace_id, agent=agent).certificate.ok

    for length in reversed(range(len(data))):
        os.truncate(file, length)
        check(with_replay=False)
    for offset in range(len(data)):
        file.write_bytes(data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :])
        check(with_replay=offset % 100 == 0)
        for added in set((tmp_path / "log").iterdir()) - {file}:
            added.unlink()
    assert seen == {"ok", "unfinished", "damaged", "CorruptRecord", "TraceNotFound"}


# attributes


@pytest.mark.parametrize("bad", [LONE, threading.Lock()], ids=["surrogate", "lock"])
@pytest.mark.parametrize("place", ["trace", "span", "effect", "log"])
def test_an_attribute_that_cannot_be_encoded_costs_no_record(kitchen: runtime.Runtime, place: str, bad: Any) -> None:
    def mark(here: str) -> None:
        if here == place:
            runtime.current().attributes.update(bad=bad, good=1)

    @effect
    async def ask(number: int) -> int:
        mark("effect")
        return number + 1

    async def work(number: int) -> int:
        mark("span")
        if place == "log":
            runtime.current().log("a line", bad=bad, good=1)
        return await ask(number)

    run = kitchen.run(only(work), 1, attributes={"bad": bad, "good": 1} if place == "trace" else None)
    assert run.output == 2
    recording = last(kitchen)
    assert (recording.status, recording.output) == ("ok", 2)
    assert kitchen.replay(run.trace_id).certificate.proved
    record = recording.spans["work"].record
    kept = {"trace": recording.attributes, "span": record.attributes, "effect": next(recording.calls).attributes}
    assert place == "log" or (kept[place] or {})["good"] == 1
    assert place != "log" or (record.log or [])[0][0] == "a line"


# cancellation


@effect(side_effect=True)
async def wait(number: int) -> int:
    await anyio.sleep(0.0005)
    return number


@step
async def wait_inside(number: int) -> int:
    return await wait(number) + 1


async def left(number: int) -> int:
    return await wait(number) + await wait_inside(number) + sum(await runtime.current().map(wait, [1, 2]))


def busy() -> runtime.Agent[int, int]:
    graph = Graph("busy", input=int)
    one, two = graph.add(left, graph.input), graph.add(wait_inside, graph.input)
    return graph.build(graph.derive(lambda one, two: one + two, one, two))


BUSY = busy()


def test_a_run_that_is_cancelled_anywhere_opens_as_what_it_was(kitchen: runtime.Runtime, backend: str) -> None:
    dice = random.Random(5)

    async def after_ticks(ticks: int) -> None:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await kitchen.arun(BUSY, 1)
                group.cancel_scope.cancel()

            group.start_soon(run)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    async def after_seconds(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await kitchen.arun(BUSY, 1)

    for ticks in range(40):
        anyio.run(after_ticks, ticks, backend=backend)
    for _ in range(40):
        anyio.run(after_seconds, dice.random() * 0.01, backend=backend)
    assert kitchen.run(BUSY, 1).output == 8
    shapes: dict[tuple[Any, ...], str] = {}
    for line in kitchen.list(limit=None):
        recording = kitchen.open(line.trace_id)
        assert recording.to_json()["trace.attributes"]["kitchenlog.status"] == recording.status == line.status
        assert recording.output == (8 if line.status == "ok" else None)
        ends = sorted((address, item.result and item.result.status) for address, item in recording.tree())
        shapes.setdefault((line.status, *ends), line.trace_id)
    assert {status for status, *_ in shapes} == {"ok", "cancelled"}
    for trace in list(shapes.values())[:4]:
        is_ok(kitchen.replay(trace), 8)


@effect(side_effect=True)
async def waits_in_pieces(number: int) -> AsyncIterator[int]:
    yield number


@pytest.mark.parametrize("call", ["effect", "stream"])
def test_a_side_effect_that_is_cancelled_before_it_begins_is_recorded_as_that(
    kitchen: runtime.Runtime, backend: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def work(number: int) -> int:
        return await wait(number) if call == "effect" else sum([one async for one in waits_in_pieces(number)])

    async def cancel() -> None:
        with anyio.move_on_after(0.05):
            await kitchen.arun(only(work), 1)

    kitchen.run(only(echo), 1)
    with monkeypatch.context() as patched:
        patched.setattr(kitchen.log, "barrier", Future[None])  # a disk that never answers
        anyio.run(cancel, backend=backend)
    recording = last(kitchen)
    assert recording.status == "cancelled"
    [asked] = recording.calls
    assert asked.result is not None
    assert (asked.result.status, asked.findings) == ("cancelled", ["it was cancelled before it began"])


# the event loop


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[runtime.Runtime]:
    """A runtime that has recorded a run."""
    with runtime.Runtime(tmp_path / "store", durable="committed", check=True) as made:
        made.run(BUSY, 1)
        yield made


@pytest.fixture
def watched() -> Iterator[None]:
    """Whatever blocks a running asyncio loop raises."""
    with blockbuster_ctx():
        yield


def test_a_run_never_blocks_the_loop(warm: runtime.Runtime, watched: None) -> None:
    assert warm.run(BUSY, 1).durable == "committed"


def test_the_first_run_of_a_store_never_blocks_the_loop(tmp_path: Path, watched: None) -> None:
    with runtime.Runtime(tmp_path / "store", durable="committed") as cold:
        assert cold.run(BUSY, 1).durable == "committed"


def test_the_default_runtime_is_found_without_blocking_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runtime.default._default", None)

    async def first() -> int:
        return (await runtime.arun(BUSY, 1)).output

    assert anyio.run(first) == 8
    default().close()


def test_a_replay_never_blocks_the_loop(warm: runtime.Runtime, watched: None) -> None:
    [line] = warm.list()
    assert warm.replay(line.trace_id).certificate.proved
    with runtime.Runtime(warm.place) as another:
        assert another.replay(line.trace_id, agent=BUSY).certificate.proved
