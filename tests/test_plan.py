"""A plan: what runs, what may go live and what that takes; and a replay never does more than its plan."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given

import runtime
from replay.plan import Plan, Step
from replay.result import Replay
from runtime import Graph, effect, step
from runtime.recording import Recording, static
from tests.random_replays import PLACES, RANDOM, SOME, recorded, replayed
from tests.test_diff import HOSTILE, Tags


def never_does_more(plan: Plan, replay: Replay, recording: Recording) -> None:
    """The promise, of every replay."""
    known = {static(address) for address in recording.addresses()}
    runs = {static(address) for address in plan.runs}
    for address in map(static, replay.ran):
        above = ["/".join(address.split("/")[: depth + 1]) for depth in range(address.count("/") + 1)]
        assert runs & set(above), f"{address} ran and is not in the plan"
        assert address not in known or address in runs, f"{address} ran, and the plan says {plan[address].mode}"
    live = live_calls(replay)
    planned = {static(one.address) for one in plan.steps if one.recorded is not None}
    opened = {static(address) for address in plan.open}
    for address in map(static, live):
        assert address.rpartition("/")[0] in opened or any(address.startswith(f"{one}/") for one in opened)
        assert address not in known or address in planned, f"{address} went live and is not in the plan"
    if not plan.open:
        assert not live
        assert plan.bounds.calls.high == 0


def live_calls(replay: Replay) -> list[str]:
    return [entry.address for entry in replay.certificate if entry.status == "live" and entry.kind == "effect"]


@SOME
@given(RANDOM)
def test_no_replay_does_more_than_its_plan(case: Any) -> None:
    recording, program = recorded(case)
    for swaps, live in ((False, None), (True, None), (True, "needed")):
        done = replayed(case, recording, program, swaps=swaps, live=live)
        never_does_more(done.plan, done, recording)


@SOME
@given(RANDOM, PLACES)
def test_no_replay_calls_live_what_its_plan_does_not_name(case: Any, places: list[int]) -> None:
    recording, program = recorded(case)
    addresses = [address for address in recording.addresses() if "~" not in address]
    live = [addresses[place % len(addresses)] for place in places]
    for swaps in (False, True):
        done = replayed(case, recording, program, swaps=swaps, live=live)
        never_does_more(done.plan, done, recording)


@effect
async def ask(prompt: str) -> str:
    told = runtime.current().attributes
    told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"] = 10, 4
    told["gen_ai.cost_usd"] = 0.25
    await anyio.sleep(0.01)
    return f"answer to {prompt}"


@effect
async def find(text: str) -> str:
    return text


@effect(side_effect=True)
async def pay(text: str) -> str:
    return f"paid {text}"


@step
async def tidy(text: str) -> str:
    return text.strip()


async def one(text: str) -> str:
    return await tidy(await ask(text))


async def two(text: str) -> str:
    return await ask(await find(text))


async def three(text: str) -> str:
    return await pay(text)


async def aside(text: str) -> int:
    return len(text)


def agent() -> runtime.Agent[str, str]:
    graph = Graph("planned", input=str)
    graph.add(aside, graph.input)
    return graph.build(graph.add(three, graph.add(two, graph.add(one, graph.input))))


async def shout(text: str) -> str:
    return (await tidy(await ask(text))).upper()


@pytest.mark.parametrize(
    ("options", "calls", "tokens", "cost", "opened"),
    [
        ({}, (0, 0), (0, 0), (0, 0), ()),
        ({"swap": {"one": shout}}, (0, 0), (0, 0), (0, 0), ()),
        ({"swap": {"one": shout}, "live": "needed"}, (0, 3), (0, 28), (0, 0.5), ("one", "one/tidy", "two", "three")),
        ({"live": "two"}, (1, 2), (0, 14), (0, 0.25), ("two",)),
        ({"live": "one/ask"}, (1, 1), (14, 14), (0.25, 0.25), ("one",)),
        ({"live": "one/ask", "budget_usd": 1.0}, (0, 1), (0, 14), (0, 0.25), ("one",)),
        ({"live": ["one", "two"]}, (1, 3), (14, 28), (0.25, 0.5), ("one", "two")),
        ({"override": {"one": "x"}}, (0, 0), (0, 0), (0, 0), ()),
    ],
)
def test_bounds_are_those_of_the_recording(
    kitchen: runtime.Runtime, options: dict[str, Any], calls: Any, tokens: Any, cost: Any, opened: tuple[str, ...]
) -> None:
    run = kitchen.run(agent(), "hello")

    plan = kitchen.plan(run.trace_id, **options)

    found = plan.bounds
    assert (found.calls.low, found.calls.high) == calls
    assert (found.tokens.low, found.tokens.high) == tokens
    assert (found.cost_usd.low, found.cost_usd.high) == pytest.approx(cost)
    assert set(plan.open) == set(opened)
    assert (found.seconds.high > 0) == (found.calls.high > 0)
    replay = kitchen.replay(run.trace_id, **options)
    never_does_more(plan, replay, run.recording)
    assert found.calls.low <= len(live_calls(replay)) <= found.calls.high
    assert replay.spent_usd <= found.cost_usd.high


def test_a_call_that_told_no_cost_is_counted_and_in_no_bound(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent(), "hello")

    plan = kitchen.plan(run.trace_id, live="two")

    assert plan.bounds.unpriced == 1
    assert "and what 1 of unknown cost take" in str(plan)
    assert plan["two/find"].certain
    assert not plan["two/ask"].certain  # whether it is asked is for the answer before it to decide


def test_a_plan_as_text_json_and_page(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(agent(), "hello")

    plan = kitchen.plan(run.trace_id, swap={"one": shout}, live="needed", budget_usd=0.75)

    assert plan.head.startswith("steps: 1 run, 3 more may; live calls 0-3, tokens 0-28, cost $0-$0.5")
    assert "budget $0.75" in plan.head
    assert "as recorded; more only if one of these asks more often than it did: one, one/tidy, two, three" in plan.head
    told = plan.to_json()
    assert json.loads(json.dumps(told)) == told
    assert (told["schema"], told["version"], told["budget_usd"]) == ("kitchenlog.plan", 1, 0.75)
    assert told["bounds"]["calls"] == {"low": 0, "high": 3}
    parser = Tags()
    parser.feed(plan._repr_html_())
    assert not parser.open


def test_no_name_in_a_plan_is_markup(kitchen: runtime.Runtime) -> None:
    graph = Graph("planned", input=str)
    made = graph.build(graph.add(two, graph.input, name="b"))
    run = kitchen.run(made, HOSTILE)
    hostile = Plan(run.trace_id, (kitchen.plan(run.trace_id)["b"], Step(HOSTILE, HOSTILE, "step", HOSTILE)), (HOSTILE,))

    parser = Tags()
    parser.feed(hostile._repr_html_())

    assert not parser.open
    assert "script" not in parser.found
    assert "\x1b" not in str(hostile)


def test_the_shipped_recording_and_its_plan(tmp_path: Any) -> None:
    bot = pytest.importorskip("examples.refund_bot.bot", exc_type=ImportError)
    from examples.refund_bot import shipped

    counts: list[tuple[int, float]] = []
    with shipped.copy_of(tmp_path / "shop") as kitchen:
        trace = shipped.trace_of(kitchen)
        for options in ({}, {"swap": {"retrieve/rerank": bot.fixed}}, {"swap": {"retrieve/rerank": bot.fixed}, "live": "needed"}):
            plan = kitchen.plan(trace, agent=bot.agent, **options)
            replay = kitchen.replay(trace, agent=bot.agent, **options)
            never_does_more(plan, replay, kitchen.open(trace))
            live = live_calls(replay)
            assert plan.bounds.calls.low <= len(live) <= plan.bounds.calls.high
            assert replay.spent_usd <= plan.bounds.cost_usd.high
            counts.append((len(live), plan.bounds.calls.high))
    assert counts == [(0, 0), (0, 0), (4, 6)]
