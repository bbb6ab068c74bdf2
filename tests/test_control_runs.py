"""Control runs: a change is the effect of its input only where the recorded input gives the recorded outcome."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import runtime
from replay import Replay
from runtime import Graph, effect, step
from tests.test_guard import reads_only

COUNTER = itertools.count()
ASKED: list[str] = []


@effect
async def provider(text: str) -> str:
    ASKED.append(text)
    return text.upper()


async def first(text: str) -> str:
    return text


async def steady(text: str) -> str:
    return f"{await provider('same')} {text}"


async def leaky(text: str) -> dict[str, Any]:
    return {"text": text, "nonce": next(COUNTER)}


@step
async def inner(text: str) -> str:
    return text * 2


async def outer(text: str) -> str:
    return await inner(text)


async def other(text: str) -> str:
    return text + "!"


def agent() -> runtime.Agent[str, Any]:
    graph = Graph("control", input=str)
    start = graph.add(first, graph.input)
    graph.add(steady, start)
    graph.add(outer, start)
    return graph.build(graph.add(leaky, start))


@pytest.fixture
def trace(kitchen: runtime.Runtime) -> str:
    found = kitchen.run(agent(), "a").trace_id
    ASKED.clear()
    return found


def reasons(replay: Replay) -> dict[str, tuple[str, str]]:
    return {one.address: (one.status, one.reason) for one in replay.certificate if one.kind == "step"}


def test_a_change_without_a_control_says_so(kitchen: runtime.Runtime, trace: str) -> None:
    replay = kitchen.replay(trace, swap={"first": other})
    assert reasons(replay)["steady"] == ("changed", "inputs changed; not controlled")
    assert reasons(replay)["outer/inner"] == ("changed", "asked otherwise; not controlled")
    assert reasons(replay)["first"] == ("swapped", "")
    assert replay.controlled == ()


def test_a_control_tells_the_effect_of_an_input_from_a_leak(kitchen: runtime.Runtime, trace: str) -> None:
    plan = kitchen.plan(trace, swap={"first": other}, control=True)
    replay = kitchen.replay(trace, swap={"first": other}, control=True)

    told = reasons(replay)
    assert told["steady"] == ("changed", "inputs changed")
    assert told["outer"] == ("changed", "inputs changed")
    assert told["outer/inner"] == ("changed", "asked otherwise")
    status, reason = told["leaky"]
    assert status == "changed"
    assert reason.startswith("inputs changed; not controlled: .nonce: ")
    assert set(replay.controlled) == {"steady", "outer", "outer/inner", "leaky"} <= set(plan.controls)
    assert "control runs: steady, outer, outer/inner, leaky" in str(plan)
    assert replay.ran.count("steady") == 1  # counted apart
    assert not ASKED
    assert replay.to_json()["controlled"] == list(replay.controlled)
    assert "control=True" in replay._call


def test_a_control_never_goes_live(kitchen: runtime.Runtime, trace: str) -> None:
    replay = kitchen.replay(trace, swap={"first": other}, live=["steady/provider"], control=True)
    assert "steady" in replay.controlled
    assert ASKED == ["same"]


def test_nothing_is_controlled_where_nothing_changed(kitchen: runtime.Runtime, trace: str) -> None:
    assert kitchen.replay(trace, swap={"outer/inner": inner}, control=True).controlled == ()
    assert kitchen.plan(trace).controls == ()


def test_a_change_of_a_nested_step_controls_what_is_above(kitchen: runtime.Runtime, trace: str) -> None:
    replay = kitchen.replay(trace, swap={"outer/inner": other}, control=True)
    assert reasons(replay)["outer"] == ("changed", "a nested step changed")
    assert replay.controlled == ("outer",)


def test_a_control_run_is_guarded(kitchen: runtime.Runtime) -> None:
    graph = Graph("guarded", input=str)
    agent = graph.build(graph.add(reads_only, graph.add(first, graph.input)))
    run = kitchen.run(agent, "a")
    assert kitchen.replay(run.trace_id, swap={"first": other}, control=True, guard="strict").certificate.ok


async def shout(word: str) -> str:
    return f"{await provider('same')} {word}"


async def tripled(text: str) -> str:
    return text * 3


def letters(text: str) -> list[str]:
    return list(text)


def is_long(text: str) -> bool:
    return len(text) > 3


def test_control_nodes_are_controlled_too(kitchen: runtime.Runtime) -> None:
    graph = Graph("control.nodes", input=str)
    start = graph.add(first, graph.input)
    grown = graph.loop(other, start, until=is_long, limit=5, name="grown")
    agent = graph.build(graph.map(shout, graph.derive(letters, grown), name="all"))
    run = kitchen.run(agent, "a")
    plan = kitchen.plan(run.trace_id, swap={"first": tripled}, control=True)
    replay = kitchen.replay(run.trace_id, swap={"first": tripled}, control=True, live="needed")
    assert {"grown", "all"} <= set(replay.controlled) <= set(plan.controls)
    assert not [one for one in replay.certificate if "not controlled" in one.reason]
    assert replay.certificate["all"].status == "changed"
    assert kitchen.replay(run.trace_id).certificate.proved
