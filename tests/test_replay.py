"""Replay: minimal work, early cutoff, the frontier, failures as data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import anyio.lowlevel
import attrs
import pytest

import runtime
from runtime import Graph, Retry, effect, step

RAN: Counter[str] = Counter()


@attrs.frozen
class Turn:
    text: str


@attrs.frozen
class Llm:
    model: str = "one"

    @effect
    async def chat(self, prompt: str) -> str:
        RAN["chat"] += 1
        runtime.current().attributes["gen_ai.cost_usd"] = 0.01
        await anyio.lowlevel.checkpoint()
        return f"answer to {prompt}"


@effect(side_effect=True)
async def refund(order: str, amount: int) -> str:
    RAN["refund"] += 1
    return f"refunded {amount} for {order}"


@attrs.frozen
class Rerank:
    @step
    async def __call__(self, query: str, hits: list[str]) -> list[str]:
        RAN["rerank"] += 1
        return sorted(hits)


@attrs.frozen
class Retrieve:
    rerank: Rerank = attrs.field(factory=Rerank)

    async def __call__(self, turn: Turn) -> list[str]:
        RAN["retrieve"] += 1
        return await self.rerank(turn.text, ["b", "a", "c"])


@attrs.frozen
class Generate:
    llm: Llm
    prompt: str = "Answer"

    async def __call__(self, turn: Turn, hits: list[str]) -> str:
        RAN["generate"] += 1
        return await self.llm.chat(f"{self.prompt}: {turn.text} from {' '.join(hits)}")


async def side(turn: Turn) -> int:
    RAN["side"] += 1
    return len(turn.text)


async def pay(turn: Turn) -> str:
    return await refund(turn.text, 10)


def count(answer: str, extra: int) -> int:
    RAN["count"] += 1
    return len(answer) + extra


def make(retrieve: Retrieve | None = None) -> runtime.Agent[Turn, int]:
    graph = Graph("bot.turn", input=Turn)
    hits = graph.add(retrieve or Retrieve(), graph.input)
    answer = graph.add(Generate(Llm()), graph.input, hits)
    extra = graph.add(side, graph.input)
    return graph.build(graph.add(count, answer, extra))


@step
async def reverse(query: str, hits: list[str]) -> list[str]:
    return sorted(hits, reverse=True)


@step
async def sort_otherwise(query: str, hits: list[str]) -> list[str]:
    return sorted(hits, key=str)


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


def test_a_replay_proves_every_step_without_a_live_call(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    replay = kitchen.replay(run.trace_id)

    assert replay.certificate.ok
    assert replay.certificate.proved
    assert replay.output == run.output
    assert RAN["chat"] == 0
    assert RAN["retrieve"] == RAN["rerank"] == RAN["generate"] == RAN["side"] == RAN["count"] == 1


def test_a_nested_swap_with_an_equal_outcome_runs_nothing_else(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    replay = kitchen.replay(run.trace_id, swap={"retrieve/rerank": sort_otherwise})

    assert replay.ran == ("retrieve/rerank",)
    assert replay.certificate["retrieve/rerank"].status == "cut off"
    assert replay.certificate["retrieve"].status == "reused"
    assert replay.certificate.ok
    assert not replay.certificate.proved
    assert replay.output == run.output
    assert not RAN


def test_a_swap_that_changes_the_prompt_stops_at_the_frontier_and_says_how_to_go_on(
    kitchen: runtime.Runtime,
) -> None:
    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    replay = kitchen.replay(run.trace_id, swap={"rerank": reverse})

    assert RAN["chat"] == 0
    assert RAN["side"] == 0
    [blocked] = replay.blocked
    assert blocked.address == "generate/chat"
    assert blocked.nearest == "generate/chat"
    assert [field.path for field in blocked.fields] == [".prompt"]
    with pytest.raises(runtime.ReplayBlocked, match='live="needed"') as raised:
        _ = replay.output
    hint = str(raised.value).splitlines()[-1].strip()
    assert hint == f"runtime.replay({run.trace_id!r}, swap={{'rerank': reverse}}, live=\"needed\")"

    allowed = kitchen.replay(run.trace_id, swap={"rerank": reverse}, live="needed")

    assert RAN["chat"] == 1
    assert RAN["side"] == 0
    assert allowed.certificate.ok
    assert allowed.certificate["generate/chat"].status == "live"
    assert allowed.certificate["side"].status == "reused"
    assert allowed.diff().first == "retrieve/rerank"


def test_an_override_replaces_a_value_and_runs_nothing_for_it(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    replay = kitchen.replay(run.trace_id, override={"generate": "short"})

    assert replay.output == len("short") + len("hello")
    assert replay.ran == ("count",)
    assert replay.certificate["generate"].status == "swapped"


def test_a_side_effect_is_never_part_of_needed(kitchen: runtime.Runtime) -> None:
    graph = Graph("pay", input=Turn)
    agent = graph.build(graph.add(pay, graph.input))
    run = kitchen.run(agent, Turn("w1"))
    RAN.clear()

    async def pay_more(turn: Turn) -> str:
        return await refund(turn.text, 20)

    replay = kitchen.replay(run.trace_id, swap={"pay": pay_more}, live="needed")

    assert RAN["refund"] == 0
    assert replay.blocked[0].side_effect
    named = kitchen.replay(run.trace_id, swap={"pay": pay_more}, live="pay/refund")
    assert RAN["refund"] == 1
    assert named.output == "refunded 20 for w1"


def test_a_budget_refuses_a_call_whose_cost_is_unknown_or_too_high(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    poor = kitchen.replay(run.trace_id, swap={"rerank": reverse}, live="needed", budget_usd=0.001)
    assert RAN["chat"] == 0
    assert poor.blocked

    rich = kitchen.replay(run.trace_id, swap={"rerank": reverse}, live="needed", budget_usd=0.02)
    assert RAN["chat"] == 1
    assert rich.spent_usd == pytest.approx(0.01)


class Broken(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"broken {code}")
        self.code = code


def test_a_recorded_failure_fails_again_as_its_own_class(kitchen: runtime.Runtime) -> None:
    @effect
    async def provider(text: str) -> str:
        RAN["provider"] += 1
        raise Broken(7)

    async def careful(turn: Turn) -> str:
        try:
            return await provider(turn.text)
        except Broken as error:
            return f"caught {error.code} {error}"

    graph = Graph("careful", input=Turn)
    agent = graph.build(graph.add(careful, graph.input))
    run = kitchen.run(agent, Turn("x"))
    assert run.output == "caught 7 broken 7"

    replay = kitchen.replay(run.trace_id)

    assert replay.certificate.proved
    assert replay.output == run.output
    assert RAN["provider"] == 1


def test_a_failing_run_is_recorded_and_replayed_as_failing(kitchen: runtime.Runtime) -> None:
    async def fails(turn: Turn) -> str:
        raise Broken(3)

    graph = Graph("fails", input=Turn)
    agent = graph.build(graph.add(fails, graph.input))
    with pytest.raises(Broken) as raised:
        kitchen.run(agent, Turn("x"))
    [line] = kitchen.list()
    assert line.trace_id in raised.value.__notes__[0]
    assert line.status == "error"

    replay = kitchen.replay(line.trace_id)

    assert replay.certificate.proved
    with pytest.raises(Broken, match="broken 3"):
        _ = replay.output


def test_retries_are_recorded_and_replayed_without_waiting(kitchen: runtime.Runtime, backend: str) -> None:
    @effect
    async def flaky(text: str) -> int:
        RAN["flaky"] += 1
        if RAN["flaky"] < 3:
            raise ConnectionError("try again")
        return RAN["flaky"]

    @step(retry=Retry(3, wait=0.01))
    async def stubborn(turn: Turn) -> int:
        return await flaky(turn.text)

    graph = Graph("stubborn", input=Turn)
    agent = graph.build(graph.add(stubborn, graph.input))
    run = kitchen.run(agent, Turn("x"))
    assert run.recording.addresses() == [
        "stubborn",
        "stubborn!1/flaky",
        "stubborn!2/flaky",
        "stubborn!3/flaky",
    ]

    replay = kitchen.replay(run.trace_id)

    assert replay.certificate.proved, replay.certificate.entries
    assert replay.output == 3
    assert RAN["flaky"] == 3


def test_a_recorded_timeout_is_not_waited_for(kitchen: runtime.Runtime) -> None:
    @effect
    async def hangs(text: str) -> int:
        await anyio.sleep(60)
        return 1

    @step(timeout=0.3)
    async def impatient(turn: Turn) -> int:
        return await hangs(turn.text)

    graph = Graph("impatient", input=Turn)
    agent = graph.build(graph.add(impatient, graph.input))
    with pytest.raises(TimeoutError):
        kitchen.run(agent, Turn("x"))
    [line] = kitchen.list()
    assert line.status == "timeout"

    replay = kitchen.replay(line.trace_id)

    assert replay.certificate.proved, replay.certificate.entries


def test_entropy_replays_exactly(kitchen: runtime.Runtime, backend: str) -> None:
    async def random_step(turn: Turn) -> list[str]:
        here = runtime.current()
        here.log("drew", n=1)
        return [
            str(here.time()), str(here.now()), str(here.random.random()), str(here.uuid()), here.idempotency_key,
            str(here.monotonic()),
        ]  # fmt: skip

    graph = Graph("entropy", input=Turn)
    agent = graph.build(graph.add(random_step, graph.input))
    one, two = kitchen.run(agent, Turn("x")), kitchen.run(agent, Turn("x"))

    assert not set(one.output) & set(two.output)
    for run in (one, two):
        replay = kitchen.replay(run.trace_id)
        assert replay.certificate.proved, replay.certificate.entries
        assert replay.output == run.output


def test_a_step_that_is_not_deterministic_is_diverged_by_name(kitchen: runtime.Runtime) -> None:
    import random

    async def leaks(turn: Turn) -> dict[str, float]:
        return {"fixed": 1.0, "leak": random.random()}

    graph = Graph("leaks", input=Turn)
    agent = graph.build(graph.add(leaks, graph.input))
    run = kitchen.run(agent, Turn("x"))

    replay = kitchen.replay(run.trace_id)

    assert not replay.certificate.ok
    entry = replay.certificate["leaks"]
    assert entry.status == "diverged"
    assert entry.reason.startswith(".leak: ")


def test_a_refusal_that_a_step_swallows_still_blocks_it(kitchen: runtime.Runtime) -> None:
    async def polite(turn: Turn, hits: list[str]) -> str:
        try:
            return await Llm().chat(f"other {hits}")
        except BaseException:
            return "fallback"

    run = kitchen.run(make(), Turn("hello"))
    RAN.clear()

    replay = kitchen.replay(run.trace_id, swap={"generate": polite})

    assert RAN["chat"] == 0
    assert replay.certificate["generate"].status == "blocked"
    with pytest.raises(runtime.ReplayBlocked):
        _ = replay.output


def test_unknown_addresses_are_named_with_the_nearest(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))

    with pytest.raises(runtime.UnknownAddress, match="did you mean 'retrieve/rerank'"):
        kitchen.replay(run.trace_id, swap={"retrieve/rernk": reverse})


def test_a_replay_is_a_trace_of_its_own(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))

    replay = kitchen.replay(run.trace_id)
    opened = kitchen.open(replay.trace_id)

    assert opened.original == run.trace_id
    assert opened.output == run.recording.output
    assert opened.addresses() == run.recording.addresses()
    assert kitchen.replay(replay.trace_id).certificate.proved
    assert [line.kind for line in kitchen.list("kind = 'run'")] == ["run"]


def test_what_ran_is_never_more_than_the_plan(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))

    for options in (
        {},
        {"swap": {"rerank": reverse}},
        {"swap": {"rerank": sort_otherwise}},
        {"override": {"generate": "x"}},
    ):
        plan = kitchen.plan(run.trace_id, **options)
        replay = kitchen.replay(run.trace_id, **options)
        assert set(replay.ran) <= set(plan.runs), options


@attrs.frozen
class Retrieve2:
    rerank: Rerank = attrs.field(factory=Rerank)

    async def __call__(self, turn: Turn) -> list[str]:
        RAN["retrieve2"] += 1
        return await self.rerank(turn.text, ["b", "a", "c", "d"])


def test_changed_code_is_said_first_and_rerun_as_a_swap(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(make(), Turn("hello"))
    graph = Graph("bot.turn", input=Turn)
    hits = graph.add(Retrieve2(), graph.input, name="retrieve")
    answer = graph.add(Generate(Llm()), graph.input, hits)
    extra = graph.add(side, graph.input)
    edited = graph.build(graph.add(count, answer, extra))

    replay = kitchen.replay(run.trace_id, agent=edited)

    assert replay.notes[0].startswith("retrieve: recorded ")
    assert replay.certificate["retrieve"].status == "changed"
    assert replay.certificate["generate"].status == "blocked"
    assert replay.certificate["side"].status == "reproduced"
    old = kitchen.replay(run.trace_id, agent=edited, code="recorded")
    assert old.output == run.output
    assert old.certificate["retrieve"].reason == "recorded code"


def test_unfinished_and_absent_traces_are_refused_by_name(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    with pytest.raises(runtime.StoreError, match="no recordings in"):
        kitchen.open("48f9c3")
    kitchen.run(make(), Turn("hello"))
    with pytest.raises(runtime.TraceNotFound, match="holds 1 trace"):
        kitchen.open("f" * 32)
    with pytest.raises(runtime.InvalidId):
        kitchen.open("../x")


def test_a_mutated_input_is_a_finding(kitchen: runtime.Runtime) -> None:
    async def mutates(turn: list[int]) -> int:
        turn.append(1)
        return len(turn)

    graph = Graph("mutates", input=list[int])
    agent = graph.build(graph.add(mutates, graph.input))
    run = kitchen.run(agent, [1])

    assert run.recording.spans["mutates"].record.findings == ["changed its input turn"]


def test_values_that_cannot_be_encoded_change_no_result_and_are_unreplayable(
    kitchen: runtime.Runtime,
) -> None:
    async def odd(turn: Turn) -> object:
        return {"surrogate": "\ud800", "big": 2**64, "nan": float("nan")}

    graph = Graph("odd", input=Turn)
    agent = graph.build(graph.add(odd, graph.input))
    run = kitchen.run(agent, Turn("x"))
    assert run.output == {"surrogate": "\ud800", "big": 2**64, "nan": pytest.approx(float("nan"), nan_ok=True)}

    replay = kitchen.replay(run.trace_id)

    assert replay.certificate["odd"].status == "unreplayable"
    assert "opaque" in replay.certificate["odd"].reason


def test_a_node_between_a_failed_and_a_blocked_input_is_blocked(kitchen: runtime.Runtime) -> None:
    async def broken(turn: Turn) -> int:
        raise Broken(1)

    async def asks(turn: Turn) -> int:
        return len(await Llm().chat("never recorded"))

    for order in ((0, 1), (1, 0)):
        graph = Graph("between", input=Turn)
        sides = graph.add(side, graph.input, name="one"), graph.add(side, graph.input, name="two")
        agent = graph.build(graph.add(lambda one, two: one + two, sides[order[0]], sides[order[1]], name="both"))
        run = kitchen.run(agent, Turn("hello"))

        replay = kitchen.replay(run.trace_id, agent=agent, swap={"one": broken, "two": asks})

        assert replay.certificate["one"].status == "swapped"
        assert replay.certificate["both"].status == "blocked"
