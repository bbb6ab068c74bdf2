"""Control nodes: branch, map, loop and subgraph, and what a replay does where they come out otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

import runtime
from replay.result import Replay
from runtime import Agent, BuildError, Graph, Retry, effect, step
from runtime.recording import static

RAN: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


@effect
async def ask(question: str) -> str:
    RAN["ask"] += 1
    await anyio.lowlevel.checkpoint()
    return f"{question}!"


async def score(word: str) -> int:
    return len(await ask(word))


async def improve(draft: str) -> str:
    return await ask(draft)


async def loud(draft: str) -> str:
    return await ask(f"loud {draft}")


async def quiet(draft: str) -> int:
    return len(await ask(f"quiet {draft}"))


def split(text: str) -> list[str]:
    return text.split()


def is_done(draft: str) -> bool:
    return draft.endswith("!!")


def is_loud(text: str) -> bool:
    return text.isupper()


def mapped(**options: Any) -> Agent[str, list[int]]:
    graph = Graph("mapped", input=str)
    return graph.build(graph.map(score, graph.derive(split, graph.input), name="scores", **options))


def looped(until: Callable[[str], bool] = is_done, body: Callable[[str], Any] = improve, limit: int = 4) -> Agent[str, int]:
    graph = Graph("looped", input=str)
    return graph.build(graph.add(len, graph.loop(body, graph.input, until=until, limit=limit, name="draft")))


def branched() -> Agent[str, str]:
    graph = Graph("branched", input=str)
    text = graph.add(str.strip, graph.input, name="clean")
    arm = graph.branch(graph.derive(is_loud, text), loud, quiet, text, name="answer")
    return graph.build(graph.add(str, arm, name="shown"))


def statuses(replay: Replay) -> dict[str, str]:
    return {entry.address: entry.status for entry in replay.certificate if entry.status != "reused"}


# recording and proving


def everything() -> Agent[str, tuple[Any, ...]]:
    inner = Graph("shop.part", input=str)
    words = inner.add(split, inner.input)
    longest = inner.add(max, words, name="longest")
    text = inner.derive("".join, words)
    again = inner.loop(improve, text, until=is_done, limit=3, name="again")
    part = inner.build(lambda *values: list(values), longest.value, again.value)
    graph = Graph("everything", input=str)
    scores = graph.map(score, graph.derive(split, graph.input), name="scores")
    draft = graph.loop(improve, graph.input, until=is_done, limit=4, name="draft")
    arm = graph.branch(graph.derive(is_loud, draft), loud, quiet, draft, name="answer")
    whole = graph.subgraph(part, draft)
    each = graph.map(part, graph.derive(split, graph.input, name="words"), name="each", concurrency=2)
    return graph.build(lambda *values: values, scores.value, draft.value, arm.value, whole.value, each.value)


def test_every_part_has_an_address_and_is_proved_on_the_other_loop(tmp_path: Path, backend: str) -> None:
    agent = everything()
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as kitchen:
        run = kitchen.run(agent, "ab c")
    assert run.output == ([3, 2], "ab c!!", 13, ["c!!", "abc!!!"], [["ab", "ab!!"], ["c", "c!!"]])
    addresses = run.recording.addresses()
    assert len(set(addresses)) == len(addresses)
    assert [one for one in addresses if not one.endswith("/ask")] == [
        "scores", "scores[0]/score", "scores[1]/score",
        "draft", "draft[0]/improve", "draft[1]/improve",
        "answer", "answer/quiet",
        "part", "part/split", "part/longest", "part/again", "part/again[0]/improve",
        "each", "each[0]/part", "each[0]/part/split", "each[0]/part/longest", "each[0]/part/again",
        "each[0]/part/again[0]/improve", "each[0]/part/again[1]/improve",
        "each[1]/part", "each[1]/part/split", "each[1]/part/longest", "each[1]/part/again",
        "each[1]/part/again[0]/improve", "each[1]/part/again[1]/improve",
    ]  # fmt: skip
    asked = RAN["ask"]
    with runtime.Runtime(tmp_path / "store", backend="trio" if backend == "asyncio" else "asyncio") as kitchen:
        kitchen.register(agent)
        replay = kitchen.replay(run.trace_id)
        assert replay.certificate.proved, replay.certificate.entries
        assert replay.output == list(run.output)  # of no declared type
        assert RAN["ask"] == asked
        opened = kitchen.open(replay.trace_id)
        assert opened.addresses() == addresses
        assert kitchen.replay(replay.trace_id).certificate.proved


def test_a_span_of_a_part_is_the_child_of_its_control_node(kitchen: runtime.Runtime) -> None:
    recording = kitchen.run(everything(), "ab c").recording
    spans = {one["attributes"].get("kitchenlog.address"): one for one in recording.to_json()["spans"]}

    assert spans["each[1]/part/again[0]/improve"]["parent_id"] == spans["each[1]/part/again"]["span_id"]
    assert spans["each[1]/part"]["parent_id"] == spans["each"]["span_id"]
    assert {node[1] for node in recording.nodes} == {"map", "derive", "loop", "branch", "subgraph"}


def test_a_chain_of_control_nodes_starts_no_task(kitchen: runtime.Runtime, backend: str) -> None:
    tasks: set[int] = set()

    async def here(text: str) -> str:
        tasks.add(anyio.get_current_task().id)
        return f"{text}!"

    part = Graph("part", input=str)
    inner = part.build(part.add(here, part.input))
    graph = Graph("chain", input=str)
    again = graph.loop(here, graph.subgraph(inner, graph.input), until=is_done, limit=3)
    agent = graph.build(
        graph.map(here, graph.derive(list, graph.branch(graph.derive(is_loud, again), here, here, again)), concurrency=1)
    )
    assert agent.sequential

    async def run() -> int:
        await kitchen.arun(agent, "a")
        return anyio.get_current_task().id

    assert {anyio.run(run, backend=backend)} == tasks


def test_items_run_at_once_and_no_more_than_declared(kitchen: runtime.Runtime) -> None:
    running: list[int] = [0, 0]

    async def slow(word: str) -> str:
        running[0] += 1
        running[1] = max(running)
        await anyio.sleep(0.01)
        running[0] -= 1
        return word

    for concurrency, most in ((None, 5), (2, 2), (1, 1)):
        graph = Graph("slow", input=str)
        agent = graph.build(graph.map(slow, graph.derive(split, graph.input), concurrency=concurrency))
        running[1] = 0
        assert kitchen.run(agent, "").output == []
        run = kitchen.run(agent, "a b c d e")
        assert (run.output, running[1]) == (["a", "b", "c", "d", "e"], most)
        assert kitchen.replay(run.trace_id).certificate.proved


def test_equal_items_keep_their_own_answers(tmp_path: Path, backend: str) -> None:
    @effect
    async def dice(word: str) -> int:
        RAN["dice"] += 1
        return RAN["dice"]

    async def throw(word: str) -> int:
        await anyio.lowlevel.checkpoint()
        return await dice(word)

    graph = Graph("dice", input=str)
    agent = graph.build(graph.map(throw, graph.derive(split, graph.input), name="all"))
    with runtime.Runtime(tmp_path / "store", backend=backend) as kitchen:
        run = kitchen.run(agent, "a a a a")
        assert sorted(run.output) == [1, 2, 3, 4]
        for _ in range(5):
            assert kitchen.replay(run.trace_id).certificate.proved
            replay = kitchen.replay(run.trace_id, override={"all[2]/throw": 9})
            assert replay.output == [*run.output[:2], 9, run.output[3]]


def test_a_sync_step_keeps_its_policy(kitchen: runtime.Runtime) -> None:
    @effect
    def flaky(word: str) -> int:
        RAN[word] += 1
        if RAN[word] < 2:
            raise ConnectionError(word)
        return len(word)

    @step(retry=Retry(3, wait=0))
    def stubborn(word: str) -> int:
        return flaky(word)

    graph = Graph("stubborn", input=str)
    agent = graph.build(graph.map(stubborn, graph.derive(split, graph.input), name="all"))
    run = kitchen.run(agent, "a bb")
    assert run.output == [1, 2]
    assert "all[1]/stubborn!2/flaky" in run.recording.addresses()

    assert kitchen.replay(run.trace_id).certificate.proved

    async def other(word: str) -> int:
        return len(word) + 1

    replay = kitchen.replay(run.trace_id, swap={"all[0]": other})
    assert replay.output == [2, 2]
    assert kitchen.open(replay.trace_id).output == [2, 2]


class Doc(msgspec.Struct):
    id: str


class Ranked(Doc):
    rank: int = 0


def test_an_item_is_replayed_as_what_it_was(kitchen: runtime.Runtime) -> None:
    async def find(text: str) -> list[Ranked]:
        return [Ranked(text, 3)]

    async def show(doc: Doc) -> str:
        return repr(doc)

    graph = Graph("ranked", input=str)
    run = kitchen.run(graph.build(graph.map(show, graph.add(find, graph.input))), "x")

    assert "rank=3" in run.output[0]
    assert kitchen.replay(run.trace_id).certificate.proved


def test_all_items_run_though_one_fails_and_the_first_by_place_is_raised(kitchen: runtime.Runtime, backend: str) -> None:
    async def picky(word: str) -> str:
        if len(word) > 1:
            raise ValueError(word)
        return await ask(word)

    graph = Graph("picky", input=str)
    agent = graph.build(graph.map(picky, graph.derive(split, graph.input)))
    for _ in range(4):
        with pytest.raises(ValueError, match="bb") as raised:
            kitchen.run(agent, "a bb ccc d")
        assert RAN["ask"] == 2
        assert raised.value.__notes__[0] == "kitchenlog: raised by map_picky[1]; 2 of 4 items failed"
        RAN.clear()
        trace = raised.value.__notes__[-1].split()[-1]
        replay = kitchen.replay(trace)
        assert replay.certificate.proved, replay.certificate.entries
        with pytest.raises(ValueError, match="bb"):
            _ = replay.output


def test_a_sibling_that_was_cancelled_inside_a_subgraph_is_not_called_diverged(kitchen: runtime.Runtime, backend: str) -> None:
    async def fails(text: str) -> str:
        await ask(text)
        raise ValueError(text)

    async def waits(text: str) -> str:
        await anyio.sleep(30)
        return text

    inner = Graph("both", input=str)
    both = inner.build(inner.derive(lambda a, b: a + b, inner.add(fails, inner.input), inner.add(waits, inner.input)))
    graph = Graph("outer", input=str)
    agent = graph.build(graph.subgraph(both, graph.input))
    with pytest.raises(ValueError, match="x") as raised:
        kitchen.run(agent, "x")
    trace = raised.value.__notes__[-1].split()[-1]
    recording = kitchen.open(trace)
    assert {address: span.result.status for address, span in recording.spans.items()} == {
        "both": "error", "both/fails": "error", "both/waits": "cancelled",
    }  # fmt: skip

    replay = kitchen.replay(trace)

    assert replay.certificate.ok, replay.certificate.entries
    assert replay.certificate["both/waits"].reason == "cancelled"

    async def works(text: str) -> str:
        return text

    freed = kitchen.replay(trace, swap={"fails": works, "waits": works})
    assert freed.output == "xx"


# what a change leads to


def test_a_branch_that_flips_drops_one_arm_and_adds_the_other(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(branched(), "hello")
    assert run.output == "12"
    RAN.clear()
    swap = {"clean": str.upper}

    plan = kitchen.plan(run.trace_id, swap=swap)
    replay = kitchen.replay(run.trace_id, swap=swap)

    assert {one.address: one.mode for one in plan.steps if one.address.startswith("answer/")} == {
        "answer/loud": "maybe", "answer/quiet": "maybe", "answer/quiet/ask": "reuse",
    }  # fmt: skip
    assert statuses(replay) == {
        "clean": "swapped", "answer": "blocked", "answer/quiet": "dropped", "answer/quiet/ask": "dropped",
        "answer/loud": "blocked", "answer/loud/ask": "blocked", "shown": "blocked",
    }  # fmt: skip
    assert not RAN
    assert set(map(static, replay.ran)) <= set(map(static, plan.runs))
    allowed = kitchen.replay(run.trace_id, swap=swap, live="needed")
    assert allowed.output == "loud HELLO!"
    assert allowed.certificate["answer/loud"].status == "added"
    assert kitchen.replay(run.trace_id, swap=swap, live="answer/loud").output == "loud HELLO!"
    assert kitchen.replay(run.trace_id, swap=swap, live=["answer/loud/ask"]).output == "loud HELLO!"
    assert kitchen.replay(run.trace_id, swap={**swap, "answer/loud": quiet}).blocked
    assert kitchen.replay(run.trace_id, swap=swap, override={"answer/loud": "given"}).output == "given"


def test_a_condition_is_swapped_by_its_own_address(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(branched(), "hello")

    replay = kitchen.replay(run.trace_id, swap={"is_loud": lambda text: True}, override={"answer/loud": "given"})

    assert replay.output == "given"
    assert replay.certificate["is_loud"].status == "swapped"
    assert kitchen.replay(run.trace_id, override={"is_loud": False}).certificate["is_loud"].status == "cut off"
    unread = kitchen.replay(run.trace_id, swap={"answer/loud": loud})
    assert unread.ran == ()
    with pytest.raises(BuildError, match=r"is_loud is glue.*is async"):
        kitchen.replay(run.trace_id, swap={"is_loud": improve})


def test_early_cutoff_holds_through_a_branch(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(branched(), "hello")

    async def quieter(draft: str) -> int:
        return len(await ask(f"quiet {draft}")) + 0

    replay = kitchen.replay(run.trace_id, swap={"answer/quiet": quieter})

    assert replay.ran == ("answer/quiet",)
    assert statuses(replay) == {"answer/quiet": "cut off"}


def test_an_inserted_item_runs_alone(kitchen: runtime.Runtime, backend: str) -> None:
    run = kitchen.run(mapped(), "a bb")
    for _ in range(4):
        replay = kitchen.replay(run.trace_id, swap={"split": lambda text: ["new", *text.split()]}, live="needed")

        assert replay.output == [4, 2, 3]
        assert replay.ran == ("scores", "scores[2]/score")
        assert statuses(replay) == {
            "split": "swapped", "scores": "changed", "scores[0]/score": "moved", "scores[1]/score": "moved",
            "scores[2]/score": "added", "scores[2]/score/ask": "live",
        }  # fmt: skip
        assert kitchen.open(replay.trace_id).addresses()[1:3] == ["scores[0]/score", "scores[0]/score/ask"]


def test_a_removed_item_is_dropped_and_one_that_changes_is_blocked_in_its_place(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(mapped(), "a bb c")

    removed = kitchen.replay(run.trace_id, swap={"split": lambda text: ["a", "bb"]})
    changed = kitchen.replay(run.trace_id, swap={"split": lambda text: ["a", "other", "c"]})

    assert removed.output == [2, 3]
    assert removed.certificate["scores[2]/score"].status == "dropped"
    assert [one.address for one in changed.blocked] == ["scores[1]/score/ask"]
    assert changed.blocked[0].nearest == "scores[1]/score/ask"
    assert changed.certificate["scores[2]/score"].status == "reused"


def test_a_key_without_an_index_means_every_item_and_with_one_that_one(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(mapped(), "a bb c")

    async def nought(word: str) -> int:
        return 0

    for key in ("scores/score", "score"):
        assert kitchen.replay(run.trace_id, swap={key: nought}).output == [0, 0, 0]
    for key in ("scores[1]/score", "scores[1]"):
        one = kitchen.replay(run.trace_id, swap={key: nought})
        assert (one.output, one.ran) == ([2, 0, 2], ("scores[1]/score", "scores"))
    assert kitchen.replay(run.trace_id, override={"scores/score": 7}).output == [7, 7, 7]
    assert kitchen.replay(run.trace_id, override={"scores/score": 7, "scores[0]": 1}).output == [1, 7, 7]
    assert kitchen.replay(run.trace_id, override={"scores": [5]}).output == [5]
    RAN.clear()
    for key, calls in (("scores[1]/score", 1), ("scores[1]/score/ask", 1), ("scores/score", 3), ("scores", 3)):
        kitchen.replay(run.trace_id, live=key)
        assert RAN.pop("ask") == calls, key
    with pytest.raises(runtime.UnknownAddress, match="did you mean"):
        kitchen.replay(run.trace_id, swap={"scores[9]/score": nought})


def test_a_loop_that_runs_longer_reaches_the_frontier(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(looped(), "a")
    assert run.output == 3
    assert run.recording.spans["draft"].attributes == {"loop.ended": "until"}
    swap = {"draft/until": lambda draft: draft.endswith("!!!")}

    plan = kitchen.plan(run.trace_id, swap=swap)
    replay = kitchen.replay(run.trace_id, swap=swap)
    first = kitchen.replay(run.trace_id, swap={"draft[0]/until": lambda draft: True})

    assert first.output == 2
    assert first.certificate["draft[0]/until"].status == "swapped"
    assert first.certificate["draft[1]/improve"].status == "dropped"
    assert kitchen.replay(run.trace_id, swap={"draft[1]/until": lambda draft: True}).output == 3
    with pytest.raises(runtime.UnknownAddress, match="did you mean"):
        kitchen.replay(run.trace_id, swap={"draft[7]/until": is_done})
    assert plan["draft/improve"].mode == "maybe"
    assert [one.address for one in replay.blocked] == ["draft[2]/improve/ask"]
    assert replay.certificate["draft[1]/improve"].status == "reused"
    assert kitchen.replay(run.trace_id, swap=swap, live=["draft[2]/improve/ask"]).output == 4
    assert kitchen.replay(run.trace_id, swap=swap, live="needed").certificate["draft[2]/improve"].status == "added"


def test_a_loop_that_runs_shorter_drops_what_it_no_longer_reaches(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(looped(), "a")

    async def finish(draft: str) -> str:
        return f"{draft}??!!"

    replay = kitchen.replay(run.trace_id, swap={"draft[0]/improve": finish})

    assert replay.output == len("a??!!")
    assert replay.ran == ("draft[0]/improve", "draft", "len")
    assert statuses(replay) == {
        "draft": "changed", "draft[0]/improve": "swapped", "draft[0]/improve/ask": "dropped",
        "draft[1]/improve": "dropped", "draft[1]/improve/ask": "dropped", "len": "changed",
    }  # fmt: skip


def test_an_iteration_is_found_by_its_state(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(looped(until=lambda draft: len(draft) > 2), "")

    async def leap(draft: str) -> str:
        return f"{draft}!!"

    replay = kitchen.replay(run.trace_id, swap={"draft[0]/improve": leap})

    assert replay.output == run.output
    assert statuses(replay) == {
        "draft": "cut off", "draft[0]/improve": "swapped", "draft[0]/improve/ask": "dropped",
        "draft[1]/improve": "dropped", "draft[1]/improve/ask": "dropped",
    }  # fmt: skip


def test_a_loop_that_never_ends_stops_at_its_limit(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(looped(until=lambda draft: False), "a")

    assert run.output == 5
    assert run.recording.spans["draft"].attributes == {"loop.ended": "limit"}
    assert kitchen.replay(run.trace_id).certificate.proved


def test_an_edited_body_runs_again_and_the_rest_stands(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(looped(), "a")

    async def edited(draft: str) -> str:
        return (await ask(draft)).replace("?", "")

    edited.__name__ = "improve"
    replay = kitchen.replay(run.trace_id, agent=looped(body=edited))

    assert statuses(replay) == {
        "draft": "cut off", "draft[0]/improve": "cut off", "draft[1]/improve": "cut off", "len": "reproduced",
    }  # fmt: skip
    assert replay.notes[0].startswith("draft: recorded ")
    kept = kitchen.replay(run.trace_id, agent=looped(body=edited), code="recorded")
    assert kept.ran == ("len",)
    tighter = kitchen.replay(run.trace_id, agent=looped(limit=1))
    assert tighter.output == 2
    assert tighter.certificate["draft[1]/improve"].status == "dropped"


def test_a_step_inside_a_subgraph_is_swapped_alone(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(everything(), "ab c")

    replay = kitchen.replay(run.trace_id, swap={"part/longest": len})
    each = kitchen.replay(run.trace_id, swap={"each[1]/part/longest": len})
    glue = kitchen.replay(run.trace_id, swap={"part/join": lambda words: "ab"}, live="needed")

    assert list(replay.output[3:]) == [[2, "abc!!!"], run.output[4]]
    assert replay.ran == ("part/longest", "part")
    assert each.output[4] == [["ab", "ab!!"], [1, "c!!"]]
    assert glue.output[3] == ["c!!", "ab!!"]
    assert glue.certificate["part/join"].status == "swapped"


def test_what_ran_is_never_more_than_the_plan(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(everything(), "ab c")
    options: Sequence[dict[str, Any]] = (
        {},
        {"swap": {"draft": str.upper}},
        {"swap": {"split": lambda text: ["x", "ab", "c"]}},
        {"swap": {"part/split": lambda text: ["q"]}},
        {"swap": {"each/part/again/until": lambda text: len(text) > 7}},
        {"override": {"part/again[0]/improve": "y"}},
        {"live": "each"},
    )
    for one in options:
        for extra in ({}, {"live": "needed"} if "live" not in one else {}):
            plan = kitchen.plan(run.trace_id, **one, **extra)
            replay = kitchen.replay(run.trace_id, **one, **extra)
            assert set(map(static, replay.ran)) <= set(map(static, plan.runs)), one


# declaring


def test_conditions_are_glue(kitchen: runtime.Runtime) -> None:
    @effect
    def outside(text: str) -> bool:
        return True

    with pytest.raises(runtime.RuntimeMisuse, match="glue draft/until called effect outside"):
        kitchen.run(looped(until=outside), "a")


def untyped() -> Any:
    return Graph("bad", input=str)


async def two(text: str, other: int) -> str:
    return text


def not_bool(text: str) -> int:
    return 1


async def later(text: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (
            lambda g: g.branch(g.input, loud, quiet, g.input),
            "step branch_input: its parameter condition is bool, and input gives str",
        ),
        (lambda g: g.branch(is_loud, loud, quiet, g.input), "is no node of the graph"),
        (
            lambda g: g.branch(g.derive(is_loud, g.input), loud, quiet, g.derive(split, g.input)),
            r"step loud: its parameter draft is str, and split gives list\[str\]",
        ),
        (lambda g: g.branch(g.derive(is_loud, g.input), loud, two, g.input), "step two gets 1 inputs and needs 2: other missing"),
        (lambda g: g.map(score, g.add(len, g.input)), None),
        (lambda g: g.map(score, g.derive(is_loud, g.input)), "its parameter items is .*Sequence.*, and is_loud gives bool"),
        (
            lambda g: g.map(two, g.derive(split, g.input), g.input),
            "step two: its parameter other is int, and input gives str",
        ),
        (
            lambda g: g.map(not_bool, g.map(split, g.derive(split, g.input), name="deep")),
            r"step not_bool: its parameter text is str, and each of deep gives list\[str\]",
        ),
        (lambda g: g.map(score, g.derive(split, g.input), concurrency=0), "at least one item"),
        (lambda g: g.loop(quiet, g.input, until=is_done, limit=3), "step quiet: its parameter draft is str, and quiet gives int"),
        (
            lambda g: g.loop(improve, g.derive(split, g.input), until=is_done, limit=3),
            "its parameter draft is str, and split gives",
        ),
        (lambda g: g.loop(improve, g.input, until=is_done, limit=0), "limit=0"),
        (lambda g: g.loop(improve, g.input, until=later, limit=2), "later is async; a condition is glue"),
        (lambda g: g.loop(improve, g.input, until=not_bool, limit=2), "its parameter until is bool, and not_bool gives int"),
        (
            lambda g: g.loop(quiet, g.input, until=is_done, limit=2, name="a b"),
            "and quiet gives int",
        ),
        (lambda g: g.loop(improve, g.input, until=is_done, limit=2, name="a b"), "'a b' is no name"),
        (lambda g: g.subgraph(mapped(), g.derive(split, g.input)), r"step mapped: its parameter value is str, and split gives"),
        (lambda g: (g.loop(improve, g.input, until=is_done, limit=2), g.loop(improve, g.input, until=is_done, limit=2)), "name="),
    ],
)
def test_what_does_not_fit_is_named(declare: Callable[[Any], object], said: str | None) -> None:
    if said is None:
        declare(untyped())  # nothing tells what len gives
        return
    with pytest.raises(BuildError, match=f"(?s){said}"):
        declare(untyped())


def test_arms_of_one_name_are_told_apart(kitchen: runtime.Runtime) -> None:
    graph = Graph("same", input=str)
    agent = graph.build(graph.branch(graph.derive(is_loud, graph.input), improve, improve, graph.input, name="answer"))

    assert kitchen.run(agent, "a").recording.addresses()[1] == "answer/improve_2"
    assert kitchen.run(agent, "A").recording.addresses()[1] == "answer/improve"
