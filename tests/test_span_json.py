"""What `kitchenlog show --json` prints, and what `kitchenlog show FILE.json` reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import runtime
from console.app import main
from runtime import vocabulary

CHAPTER = Path(__file__).parents[2] / "shared" / "reference" / "logging-and-tracing.txt"
SPAN_FIELDS = {"span_id", "parent_id", "name", "kind", "start_ms", "duration_ms", "status", "attributes"}


@runtime.effect
async def ask(text: str) -> str:
    return text.upper()


tries = [0]


@runtime.step(retry=3)
async def answer(text: str) -> str:
    tries[0] += 1
    if tries[0] % 3:
        raise ConnectionError("busy")
    return await ask(text)


async def judged(text: str) -> bool:
    runtime.current().attributes.update({"step.kind": "judge", "judge.label": "fine"})
    return bool(text)


graph = runtime.Graph("chat.turn", input=str)
agent = graph.build(graph.add(judged, graph.add(answer, graph.input)))


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    with runtime.Runtime(tmp_path / "store") as kitchen:
        run = kitchen.run(agent, "hello", attributes={"experiment.variant": "B", "http.route": "/v1/chat"})
        kitchen.feedback(run.trace_id, csat=2)
    done = CliRunner().invoke(main, ["--store", str(tmp_path / "store"), "show", run.trace_id, "--json"])
    assert done.exit_code == 0, done.output
    made: dict[str, Any] = json.loads(done.output)
    return made


def test_the_shape_is_one_object_a_span_with_the_root_first(told: dict[str, Any]) -> None:
    spans = told["spans"]
    by_name = {span["name"]: span for span in spans}

    assert set(told) == {"trace_id", "trace.attributes", "spans"}
    assert all(set(span) == SPAN_FIELDS for span in spans)
    assert [span["name"] for span in spans] == ["chat.turn", "answer", *["answer.attempt"] * 3, "llm.judge.policy_correct"]
    assert len({span["span_id"] for span in spans}) == len(spans)
    assert spans[0]["parent_id"] is None
    assert spans[0]["kind"] == "SERVER"
    assert by_name["answer"]["parent_id"] == spans[0]["span_id"]
    assert by_name["llm.judge.policy_correct"]["kind"] == "CLIENT"
    assert told["trace.attributes"]["experiment.variant"] == "B"
    assert spans[0]["attributes"]["outcome.csat_response"] == 2
    assert spans[0]["attributes"]["http.route"] == "/v1/chat"
    assert spans[1]["attributes"]["kitchenlog.calls"][0]["address"] == "answer!3/ask"


def test_every_failed_attempt_is_a_span_with_its_error(told: dict[str, Any]) -> None:
    answered = next(span for span in told["spans"] if span["name"] == "answer")
    attempts = [span for span in told["spans"] if span["name"] == "answer.attempt"]

    assert [span["status"] for span in attempts] == ["ERROR", "ERROR", "OK"]
    assert all(span["parent_id"] == answered["span_id"] for span in attempts)
    assert attempts[0]["attributes"]["error.type"] == "error: busy"


def test_values_are_there_when_asked_for(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "store") as kitchen:
        recording = kitchen.run(agent, "hello").recording

    brief, full = recording.to_json(full=False), recording.to_json()

    assert "HELLO" not in json.dumps(brief)
    assert full["spans"][1]["attributes"]["kitchenlog.output"] == "HELLO"
    assert full["spans"][0]["attributes"]["kitchenlog.input"] == "hello"


def test_the_table_has_a_contract_for_every_kind() -> None:
    assert set(vocabulary.REQUIRED) == set(vocabulary.SPANS)


def show(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["show", *arguments])
    return done.exit_code, done.output


def test_the_trace_of_the_chapter_is_read_and_shown(tmp_path: Path) -> None:
    if not CHAPTER.is_file():
        pytest.skip(f"the chapter is not in {CHAPTER}")
    text = CHAPTER.read_text(encoding="utf-8")
    begin = text.index('{\n  "trace_id"')
    trace, _ = json.JSONDecoder().raw_decode(text[begin:])
    file = tmp_path / "48f.json"
    file.write_text(json.dumps(trace), encoding="utf-8")

    code, printed = show(str(file))
    json_code, as_json = show(str(file), "--json")
    told = json.loads(as_json)

    assert (code, json_code) == (0, 0)
    assert "not stored here" in printed
    for span in trace["spans"]:
        assert re.search(re.escape(span["name"]), printed)
    assert told["trace.attributes"]["source.trace_id"] == trace["trace_id"]
    assert {**trace["trace.attributes"], **told["trace.attributes"]} == told["trace.attributes"]
    for span, kept in zip(trace["spans"], told["spans"], strict=True):
        assert set(kept) == SPAN_FIELDS
        assert kept["attributes"]["source.span_id"] == span["span_id"]
        assert {**kept, "attributes": {**kept["attributes"], **span["attributes"]}} == {**span, "attributes": kept["attributes"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no trace in JSON"),
        ('{"trace_id": 4, "spans": []}', "$.trace_id"),
        ('{"trace_id": "a", "spans": [{"span_id": "1"}]}', "name"),
        ('{"trace_id": "a", "spans": [{"span_id": "1", "name": "x"}, {"span_id": "1", "name": "y"}]}', "same span_id"),
    ],
)
def test_a_file_that_is_no_trace_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")

    code, printed = show(str(tmp_path / "bad.json"))

    assert code == 2
    assert said in printed
    assert "Traceback" not in printed


def test_spans_that_name_each_other_as_parents_are_still_shown(tmp_path: Path) -> None:
    spans = [{"span_id": "1", "parent_id": "2", "name": "first"}, {"span_id": "2", "parent_id": "1", "name": "second"}]
    (tmp_path / "circle.json").write_text(json.dumps({"trace_id": "a", "spans": spans}), encoding="utf-8")

    code, printed = show(str(tmp_path / "circle.json"))

    assert code == 0
    assert "first" in printed
    assert "second" in printed
