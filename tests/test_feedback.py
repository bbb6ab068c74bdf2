"""What is said of a run after it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime


async def shout(text: str) -> str:
    return text.upper()


graph = runtime.Graph("feedback.bot", input=str)
agent = graph.build(graph.add(shout, graph.input))


def test_feedback_is_an_outcome_of_its_trace_and_can_be_asked_for(kitchen: runtime.Runtime) -> None:
    good, bad = (kitchen.run(agent, text, attributes={"variant": "B"}).trace_id for text in ("a", "b"))
    kitchen.feedback(good, csat=5)
    kitchen.feedback(bad[:12], csat=4, note="late")
    kitchen.feedback(bad, csat=2)

    found = kitchen.list(where="outcome.csat <= 2 and variant = 'B'")

    assert [line.trace_id for line in found] == [bad]
    assert kitchen.open(bad).attributes == {"variant": "B", "outcome.csat": 2, "outcome.note": "late"}
    assert kitchen.open(bad).status == "ok"
    assert kitchen.replay(bad).certificate.proved


def test_feedback_of_another_process_reaches_the_trace(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "store") as first:
        trace = first.run(agent, "a").trace_id
    with runtime.Runtime(tmp_path / "store") as second:
        second.feedback(trace, csat=1)

    with runtime.Runtime(tmp_path / "store") as third:
        assert third.open(trace).attributes == {"outcome.csat": 1}


def test_feedback_on_nothing_is_refused(kitchen: runtime.Runtime) -> None:
    trace = kitchen.run(agent, "a").trace_id

    with pytest.raises(runtime.TraceNotFound):
        kitchen.feedback("0" * 32, csat=1)
    with pytest.raises(runtime.RuntimeMisuse, match="name at least one score"):
        kitchen.feedback(trace)
