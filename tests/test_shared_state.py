"""A global that one step writes and another reads: what a swap leaves out of it is said."""

from __future__ import annotations

import runtime
from runtime import Graph

LEFT: dict[str, str] = {}
OTHER: list[str] = []


async def leave(text: str) -> str:
    LEFT["seen"] = text
    return "left"


async def read(told: str) -> str:
    return f"{told} {LEFT.get('seen')}"


async def read_otherwise(told: str) -> str:
    return f"{told}: {LEFT.get('seen')}"


async def read_nothing(told: str) -> str:
    return f"{told}: {len(OTHER)}"


def make() -> runtime.Agent[str, str]:
    graph = Graph("shared", input=str)
    return graph.build(graph.add(read, graph.add(leave, graph.input)))


def recorded(kitchen: runtime.Runtime) -> str:
    done = kitchen.run(make(), "a note")
    assert done.output == "left a note"
    LEFT.clear()  # as in a new process
    return done.trace_id


def test_a_swapped_step_that_reads_what_a_reused_one_left_says_so(kitchen: runtime.Runtime) -> None:
    replay = kitchen.replay(recorded(kitchen), swap={"read": read_otherwise})

    assert replay.output == "left: None"
    assert replay.certificate["leave"].reason == ""
    assert replay.certificate["read"].status == "swapped"
    assert replay.certificate["read"].reason == f"reads mutable global {__name__}.LEFT, as leave does, which did not run"


def test_an_overridden_step_did_not_run_either(kitchen: runtime.Runtime) -> None:
    replay = kitchen.replay(recorded(kitchen), override={"leave": "other"})

    assert replay.certificate["read"].status == "changed"
    assert replay.certificate["read"].reason.endswith(f"; reads mutable global {__name__}.LEFT, as leave does, which did not run")


def test_nothing_is_said_where_all_ran_or_the_globals_are_others(kitchen: runtime.Runtime) -> None:
    trace = recorded(kitchen)

    assert all(not entry.reason for entry in kitchen.replay(trace).certificate)
    assert kitchen.replay(trace, swap={"read": read_nothing}).certificate["read"].reason == ""
