"""Two traces compared: aligned, first divergence first, documents by rank, texts by word, and safe to show."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import runtime
from console import diff_report
from console.session import emit
from replay import Replay, alignment, ranking, span_tree, words
from replay.difference import Change, changes
from replay.result import replay, request_of
from replay.trace_diff import SpanDiff
from runtime import Graph, effect, step
from runtime.plain import HIDDEN
from tests.one_step import LONE, only
from tests.random_replays import RANDOM, SOME, recorded, replayed

MODE: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def fresh() -> None:
    MODE.clear()


@effect
async def search(question: str) -> list[dict[str, Any]]:
    ids = MODE.get("ids", ["a", "b", "c"])
    return [{"id": name, "score": 1 / (place + 1), "text": f"text of {name}"} for place, name in enumerate(ids)]


@effect
async def ask(prompt: str) -> str:
    told = runtime.current().attributes
    told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"] = len(prompt.split()), 3
    told["gen_ai.cost_usd"] = 0.01 * len(prompt.split())
    return f"{MODE.get('said', 'the refund window is')} {prompt}"


@step
async def rerank(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(hits, key=lambda hit: hit["id"])


async def retrieve(question: str) -> list[dict[str, Any]]:
    return await rerank(await search(question))


async def generate(question: str, hits: list[dict[str, Any]]) -> str:
    return await ask(f"{question} {' '.join(hit['id'] for hit in hits)}")


async def side(question: str) -> int:
    return len(question)


def bot() -> runtime.Agent[str, str]:
    graph = Graph("bot", input=str)
    hits = graph.add(retrieve, graph.input)
    graph.add(side, graph.input)
    return graph.build(graph.add(generate, graph.input, hits))


@step
async def backwards(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(hits, key=lambda hit: hit["id"], reverse=True)


def shown(found: Any) -> str:
    out = io.StringIO()
    diff_report.diff(found, Console(file=out, width=100, force_terminal=True, color_system="truecolor"))
    return out.getvalue()


def test_equal_runs_are_equal_in_every_span(kitchen: runtime.Runtime) -> None:
    one, two = (kitchen.run(bot(), "when") for _ in range(2))

    found = kitchen.diff(one.trace_id, two.trace_id)

    assert found.first is None
    assert found.spans == ()
    assert found.same == 6
    assert "equal in all 6 spans" in str(found)


def test_the_cause_comes_before_what_followed_from_it(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "when")

    found = kitchen.replay(run.trace_id, swap={"rerank": backwards}, live="needed").diff()

    assert [one.address for one in found.spans] == ["retrieve/rerank", "retrieve", "generate/ask", "generate"]
    assert found.first == "retrieve/rerank"
    assert found["retrieve/rerank"].code is not None
    assert found["generate/ask"].fields[0] == Change("request.prompt", "when a b c", "when c b a")


def test_a_replay_and_its_trace_tell_the_same_difference(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "when")
    done = kitchen.replay(run.trace_id, swap={"rerank": backwards}, live="needed")

    now, later = done.diff(), kitchen.diff(run.trace_id, done.trace_id)

    def told(found: Any) -> list[Any]:
        return [(one.address, one.kind, one.fields, one.code) for one in found.spans]

    assert told(now) == told(later)
    assert (now.same, now.new_total.tokens) == (later.same, later.new_total.tokens)
    assert now.new == done.trace_id


def test_documents_are_compared_by_rank(kitchen: runtime.Runtime) -> None:
    one = kitchen.run(bot(), "when")
    MODE["ids"] = ["c", "d", "a"]
    two = kitchen.run(bot(), "when")

    found = kitchen.diff(one.trace_id, two.trace_id)

    assert found.first == "retrieve/search"
    [documents] = found["retrieve/search"].fields
    assert isinstance(documents, ranking.Ranking)
    assert [str(move) for move in documents.moves] == [
        "doc c: 3 -> 1, score 0.3333 -> 1", "doc d: new at 2", "doc a: 1 -> 3, score 1 -> 0.3333", "doc b: gone from 2",
    ]  # fmt: skip
    told = found.to_json()["spans"][0]["fields"][0]["documents"]
    assert told[0] == {"id": "c", "old_rank": 3, "new_rank": 1, "old_score": 1 / 3, "new_score": 1.0, "fields": []}
    assert "3 -> 1" in shown(found)
    assert "3 -&gt; 1" in found._repr_html_()


def test_what_else_of_a_document_changed_is_told_with_it() -> None:
    old = [{"id": 1, "score": 0.5, "text": "x", "status": "draft"}]
    new = [{"id": 1, "score": 0.5, "text": "x", "status": "current"}]

    [found] = alignment.fields(old, new, ".hits")

    assert isinstance(found, ranking.Ranking)
    assert [str(field) for field in found.moves[0].fields] == ['.status: "draft" -> "current"']


@pytest.mark.parametrize(
    "value",
    [[{"id": "a"}], [{"id": "a", "score": "high"}], [{"id": "a", "score": 1}] * 2, [{"id": True, "score": 1}], ["a"], {}],
)
def test_what_is_no_list_of_documents_is_compared_field_by_field(value: Any) -> None:
    assert not ranking.are_rankings(value, value)


def test_tokens_cost_and_time_of_both_sides(kitchen: runtime.Runtime) -> None:
    one = kitchen.run(bot(), "when")
    two = kitchen.run(bot(), "when will it come")

    found = kitchen.diff(one.trace_id, two.trace_id)

    assert found.first == "input"
    assert (found.old_total.input_tokens, found.new_total.input_tokens) == (4, 7)
    assert found.old_total.cost_usd == pytest.approx(0.04)
    asked = found["generate/ask"]
    assert asked.old is not None
    assert asked.new is not None
    assert (asked.old.tokens, asked.new.tokens) == (7, 10)
    assert asked.old.duration_ms is not None
    assert found.old_total.duration_ms is not None
    assert "tokens in 4 -> 7" in shown(found)


def test_a_live_call_in_a_replay_tells_what_it_took(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "when")

    done = kitchen.replay(run.trace_id, swap={"rerank": backwards}, live="needed")

    [call] = [call for call in kitchen.open(done.trace_id).calls if call.address == "generate/ask"]
    assert call.attributes["gen_ai.usage.input_tokens"] == 4
    assert call.duration_ns > 0
    assert all(call.duration_ns >= 0 for call in kitchen.open(done.trace_id).calls)


def test_calls_that_change_places_are_moved_and_not_changed(kitchen: runtime.Runtime) -> None:
    async def fan(questions: list[str]) -> list[str]:
        return list(await runtime.current().map(ask, questions))

    agent = only(fan, list[str])
    one = kitchen.run(agent, ["x", "y", "z"])
    two = kitchen.run(agent, ["z", "x", "y"])

    found = kitchen.diff(one.trace_id, two.trace_id)

    moves = {one.old_address: one.address for one in found.spans if one.kind == "moved"}
    assert moves == {"fan/ask~1": "fan/ask~2", "fan/ask~2": "fan/ask~3", "fan/ask~3": "fan/ask~1"}
    assert all(not one.fields for one in found.spans if one.kind == "moved")


def test_calls_that_came_and_went(kitchen: runtime.Runtime) -> None:
    async def loop(count: int) -> str:
        return " ".join([await ask(str(number)) for number in range(count)])

    agent = only(loop)
    few, many = kitchen.run(agent, 1), kitchen.run(agent, 3)

    more = kitchen.diff(few.trace_id, many.trace_id)
    fewer = kitchen.diff(many.trace_id, few.trace_id)

    assert [(one.address, one.kind) for one in more.spans if one.what == "effect"] == [
        ("loop/ask#2", "added"), ("loop/ask#3", "added"),
    ]  # fmt: skip
    assert {one.kind for one in fewer.spans if one.what == "effect"} == {"removed"}


def test_what_a_blocked_replay_never_made_is_not_called_equal(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "when")

    done = kitchen.replay(run.trace_id, swap={"rerank": backwards})

    assert str(done.diff()["generate"].fields[0]) == '.status: "ok" -> "blocked"'
    assert done.diff()["generate/ask"].kind == "changed"
    assert kitchen.open(done.trace_id).spans["generate"].result.status == "blocked"


def test_a_step_below_a_blocked_one_has_no_outcome_in_the_replays_trace(kitchen: runtime.Runtime) -> None:
    def last(answer: str) -> str:
        return answer.upper()

    graph = Graph("bot", input=str)
    answer = graph.add(generate, graph.input, graph.add(retrieve, graph.input))
    run = kitchen.run(graph.build(graph.add(last, answer)), "when")

    done = kitchen.replay(run.trace_id, swap={"rerank": backwards})

    assert done.diff()["last"].kind == "changed"
    assert kitchen.open(done.trace_id).spans["last"].result.status == "blocked"


def test_the_outcome_of_a_step_that_diverged_is_in_the_difference(kitchen: runtime.Runtime) -> None:
    async def unsteady(value: int) -> int:
        return value + int(MODE.get("plus", 0))

    run = kitchen.run(only(unsteady), 1)
    MODE["plus"] = 5

    done = kitchen.replay(run.trace_id)

    assert done.certificate["unsteady"].status == "diverged"
    assert done.diff()["unsteady"].fields == (Change(".output", 1, 6),)


@effect
async def take(thing: Any) -> int:
    return 1


def test_what_could_not_be_recorded_is_never_called_equal(kitchen: runtime.Runtime) -> None:
    async def opaque(value: Any) -> Any:
        await take(LONE)
        return {"text": LONE}

    one, two = (kitchen.run(only(opaque, Any), LONE) for _ in range(2))

    found = kitchen.diff(one.trace_id, two.trace_id)

    assert [(span.address, span.kind) for span in found.spans] == [
        ("input", "unknown"), ("opaque/take", "unknown"), ("opaque", "unknown"),
    ]  # fmt: skip
    assert found.same == 0
    assert "could not be recorded" in found["opaque/take"].note


def test_streams_are_compared_by_what_they_said(kitchen: runtime.Runtime) -> None:
    @effect
    async def chat(prompt: str) -> AsyncIterator[str]:
        for word in MODE["words"]:
            yield word

    async def read(prompt: str) -> str:
        return "".join([chunk async for chunk in chat(prompt)])

    agent = only(read, str)
    MODE["words"] = ["a ", "b ", "c"]
    one = kitchen.run(agent, "x")
    MODE["words"] = ["a b ", "c"]
    two = kitchen.run(agent, "x")
    MODE["words"] = ["a ", "d"]
    three = kitchen.run(agent, "x")

    assert [str(one) for one in kitchen.diff(one.trace_id, two.trace_id).spans] == [
        "read/chat  changed  (equal as data, another encoding)"
    ]
    assert kitchen.diff(one.trace_id, three.trace_id)["read/chat"].fields == (Change(".output", "a b c", "a d"),)


HOSTILE = "</div><script>alert(1)</script>\x1b[2J\u202e\x9b31m" + " & \"quoted\" 'words'" * 5


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.open.append(tag)
        assert {name for name, _ in attrs} <= {"style", "open"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_recorded_text_reaches_neither_page_nor_terminal_as_it_is(kitchen: runtime.Runtime) -> None:
    @effect
    async def leak(text: str) -> Any:
        told = [{"id": f"{HOSTILE}{number}", "score": number, "text": text} for number in range(2)]
        return {text: text, "hits": told, "at": {"<b>": [HOSTILE, 1]}}

    async def use(text: str) -> Any:
        return await leak(text)

    agent = only(use, str)
    one, two = kitchen.run(agent, HOSTILE), kitchen.run(agent, HOSTILE[::-1] + HOSTILE)

    found = kitchen.diff(one.trace_id, two.trace_id)

    page = found._repr_html_()
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    assert parser.found <= {"div", "p", "b", "details", "summary", "span", "code", "table", "tr", "th", "td", "del", "ins"}
    assert "<script" not in page
    for text in (page, str(found), str(found.to_json()), re.sub(r"\x1b\[[\d;]*m", "", shown(found))):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


@given(st.text("ab \n\t", max_size=80), st.text("ab \n\t", max_size=80))
def test_words_make_up_both_texts(old: str, new: str) -> None:
    pieces = words.compare(old, new)

    assert "".join(text for kind, text in pieces if kind != "added") == old
    assert "".join(text for kind, text in pieces if kind != "removed") == new
    assert (old == new) == all(kind == "same" for kind, _ in pieces)


def test_words_of_very_long_texts_are_compared_in_bounded_time() -> None:
    old, new = "same " * 500 + "a b " * 50_000, "same " * 500 + "b a c" * 50_000

    pieces = words.compare(old, new)

    assert [kind for kind, _ in pieces] == ["same", "removed", "added"]


def test_an_absent_field_is_not_a_null() -> None:
    [gone] = changes({"a": None}, {})
    [null] = changes({"a": 1}, {"a": None})

    assert gone.to_json() == {"path": ".a", "old": None}
    assert null.to_json() == {"path": ".a", "old": 1, "new": None}


def test_a_span_with_many_fields_says_how_many_it_leaves_out() -> None:
    made = SpanDiff("a", "changed", tuple(Change(f".f{number}", 0, 1) for number in range(40)))

    assert str(made).splitlines()[-1].strip() == "... and 28 fields more, all of them in JSON"
    assert len(made.to_json()["fields"]) == 40


def test_a_replay_of_a_damaged_trace_is_not_called_equal(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "when")
    recording = kitchen.open(run.trace_id)
    recording.stored.state, recording.stored.damage = "damaged", ["a record is missing"]
    request = request_of(recording, bot(), swap=None, override=None, live=None, budget_usd=None, code="current")

    async def call() -> Replay:
        return await replay(recording, bot(), request, redact=lambda value: value, call="")

    done = anyio.run(call)

    assert not done.certificate.ok
    assert done.diff()["side"].kind == "changed"
    assert {step.mode for step in done.plan.steps} == {"blocked"}
    assert done.plan.runs == ()


def test_thousands_of_calls_are_aligned_at_once() -> None:
    def items(count: int) -> list[span_tree.Item]:
        return [span_tree.Item(f"a/ask#{number}", "ask", "effect", str(number % 50).encode(), None) for number in range(count)]

    pairs = alignment.align(items(20_000), items(20_001)[::-1])

    assert len(pairs) == 20_001
    assert sum(one is None for one, _ in pairs) == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (["a", "b", "c"], ["b", "c"], ['[0]: "a" -> (absent)']),
        (["b", "c"], ["a", "b", "c"], ['[0]: (absent) -> "a"']),
        (["a", "b"], ["a", "b", "c"], ['[2]: (absent) -> "c"']),
        (["a", "x", "c"], ["a", "c"], ['[1]: "x" -> (absent)']),
        (["a", "a"], ["a"], ['[1]: "a" -> (absent)']),
        ([1], [True, 1], ["[0]: (absent) -> true"]),
        ([1, 2], [True, 2, 2], ["[0]: 1 -> true", "[1]: (absent) -> 2"]),
        ([], ["a"], ['[0]: (absent) -> "a"']),
    ],
)
def test_an_item_that_came_or_went_does_not_change_the_others(old: Any, new: Any, told: list[str]) -> None:
    assert [str(change) for change in changes(old, new)] == told


LISTS = st.recursive(st.sampled_from([0, 1, True, 1.0, "a", None, float("nan")]), lambda inner: st.lists(inner, max_size=4))


@given(LISTS, LISTS)
def test_values_without_a_change_are_equal_with_their_types(old: Any, new: Any) -> None:
    assert bool(list(changes(old, new))) == (repr(old) != repr(new))


def test_a_list_nested_as_deep_as_can_be_recorded_is_compared() -> None:
    def deep(inner: Any) -> Any:
        for _ in range(5000):
            inner = [inner]
        return inner

    assert len(list(changes([deep(1), 2], [deep(2), 2, 2]))) == 2


def test_json_at_the_terminal_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"text": HOSTILE, "\u202e": "naïve \u200d ok"})

    text = capsys.readouterr().out
    assert not HIDDEN.search(text)
    assert json.loads(text) == {"text": HOSTILE, "\u202e": "naïve \u200d ok"}
    assert "naïve" in text


@SOME
@given(RANDOM)
def test_what_is_proved_has_no_difference_and_what_diverged_has_one(case: Any) -> None:
    recording, program = recorded(case)

    done = replayed(case, recording, program, swaps=False)

    differing = [one for one in done.diff().spans if one.kind != "moved" or one.fields]

    if done.certificate.proved:
        assert differing == []
    assert {entry.address for entry in done.certificate if entry.status == "diverged"} <= {one.address for one in differing}
