"""Hostile values: each is exact, or marked, refused by name where a replay needs it, and costs nothing around it."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import runtime
from runtime import Graph, effect, step
from tests.one_step import LONE, echo, is_ok, last, only, pair


@pytest.fixture
def kitchen(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    """In check mode, on each loop."""
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as made:
        yield made


# values


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("it has no repr")


class Misnamed:
    pass


Misnamed.__qualname__ = LONE


def closed_socket() -> socket.socket:
    with socket.socket() as made:
        return made


def nest(depth: int, put: Callable[[Any], Any] = lambda made: [made]) -> Any:
    return functools.reduce(lambda made, _: put(made), range(depth), None)


def endless() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


UNENCODABLE: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock, "socket": closed_socket, "generator": lambda: (one for one in "ab"), "mute": Mute,
    "lambda": lambda: lambda: 1, "surrogate": lambda: LONE, "inside": lambda: {"a": [LONE]}, "big": lambda: 2**64,
    "deep": lambda: nest(2000), "endless": endless, "misnamed": Misnamed,
}  # fmt: skip


def agent_with(value: Any, where: str) -> runtime.Agent[Any, list[Any]]:
    """One step meets the value; another does not."""

    @effect
    async def give(number: int) -> Any:
        return value

    @effect
    async def take(given: Any) -> str:
        return "taken"

    @step
    async def inner(number: int) -> Any:
        return value

    async def odd(given: Any) -> Any:
        if where == "step":
            return value
        if where == "request":
            return await take(value)
        met = await give(1) if where == "effect" else await inner(1) if where == "nested" else given
        return "met" if met is value else f"met {met!r}"

    async def fine(given: Any) -> str:
        return await take("fine")

    async def both(one: Any, two: str) -> list[Any]:
        return [one, two]

    graph = Graph("odd", input=object)
    return graph.build(graph.add(both, graph.add(odd, graph.input), graph.add(fine, graph.input)))


@pytest.mark.parametrize("where", ["step", "effect", "nested", "input", "request"])
@pytest.mark.parametrize("name", UNENCODABLE)
def test_a_value_that_cannot_be_recorded_is_marked_and_changes_nothing(kitchen: runtime.Runtime, name: str, where: str) -> None:
    value = UNENCODABLE[name]()
    run = kitchen.run(agent_with(value, where), value if where == "input" else 1)
    one, two = run.output
    assert one is value if where == "step" else one == ("taken" if where == "request" else "met")
    assert two == "taken"
    recording = last(kitchen)
    assert recording.status == "ok"
    assert "Opaque(" in json.dumps(recording.to_json())
    assert recording.spans["fine"].result.value == "taken"
    replay = kitchen.replay(run.trace_id)
    assert is_ok(replay, run.output) <= (where == "request")
    assert where == "input" or replay.certificate["fine"].status == "reproduced"


@pytest.mark.parametrize("name", UNENCODABLE)
def test_an_output_that_could_not_be_recorded_is_unreplayable_not_diverged(kitchen: runtime.Runtime, name: str) -> None:
    async def afresh(number: int) -> Any:
        return UNENCODABLE[name]()

    run = kitchen.run(only(afresh), 1)
    assert kitchen.replay(run.trace_id).certificate["afresh"].status == "unreplayable"


EXACT = {
    "nan": float("nan"), "minus zero": -0.0, "inf": float("-inf"), "tiny": 5e-324, "most": 2**64 - 1, "least": -(2**63),
    "mixed keys": {1: "a", "1": "b", None: "c", 2.5: "d", -0.0: "e"}, "text": "\0\U0001f600", "deep": nest(200),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_a_strange_value_is_exact_in_the_recording_and_in_a_replay(kitchen: runtime.Runtime, name: str) -> None:
    ask, inner = effect(echo), step(echo)

    async def through(given: Any) -> Any:
        return await inner(await ask(given))

    run = kitchen.run(only(through, Any), EXACT[name])
    assert repr(run.output) == repr(EXACT[name]) == repr(last(kitchen).output)
    replay = kitchen.replay(run.trace_id)
    assert replay.certificate.proved
    assert repr(replay.output) == repr(run.output)


class Chain(msgspec.Struct):
    below: Chain | None


def test_a_value_deep_enough_to_be_just_recorded_can_be_shown(kitchen: runtime.Runtime) -> None:
    async def dig(depth: int) -> Chain:
        made: Chain = nest(depth, Chain)
        return made

    kitchen.run(only(dig), 800)
    assert last(kitchen).status == "ok"


# the text of a stand-in is cut, so different values may have the same one: it must not pass for the value


def test_an_answer_to_a_request_that_could_not_be_recorded_is_given_to_no_other(kitchen: runtime.Runtime) -> None:
    messages = [LONE, "two", "three", "four", "five", "six"]

    @effect
    async def chat(said: list[str]) -> str:
        return f"answer to {said[-1]}"

    async def talk(number: int) -> str:
        return await chat([*messages, "a question"])

    async def ask_otherwise(number: int) -> str:
        return await chat([*messages, "another question"])

    run = kitchen.run(only(talk), 1)
    assert not is_ok(kitchen.replay(run.trace_id, swap={"talk": ask_otherwise}), "answer to another question")


def test_a_call_whose_request_could_not_be_recorded_goes_live_where_it_may(kitchen: runtime.Runtime) -> None:
    @effect
    async def chat(said: str) -> str:
        return f"answer to {said!r}"

    async def talk(number: int) -> str:
        return await chat(LONE + str(number))

    async def talk_otherwise(number: int) -> str:
        return await chat(LONE + str(number + 1))

    run = kitchen.run(only(talk), 1)
    replay = kitchen.replay(run.trace_id, swap={"talk": talk_otherwise})
    for address in ("talk", "talk/chat"):
        assert replay.certificate[address].status == "unreplayable"
        assert "could not be recorded (UnicodeEncodeError" in replay.certificate[address].reason
    assert [one.address for one in replay.blocked] == ["talk/chat"]
    assert (replay.next_call or "").endswith('live="needed")')
    for live in ("needed", ["talk/chat"]):
        assert is_ok(kitchen.replay(run.trace_id, swap={"talk": talk_otherwise}, live=live), f"answer to {LONE + '2'!r}")


def test_a_nested_step_whose_request_could_not_be_recorded_is_unreplayable_or_computed(kitchen: runtime.Runtime) -> None:
    @step
    async def measure(text: str) -> int:
        return len(text)

    @step
    async def measure_twice(text: str) -> int:
        return 2 * len(text)

    async def work(number: int) -> int:
        return await measure(LONE)

    run = kitchen.run(only(work), 1)
    for address in ("work", "work/measure"):
        assert kitchen.replay(run.trace_id).certificate[address].status == "unreplayable"
    assert kitchen.replay(run.trace_id, swap={"work/measure": measure_twice}).output == 6


def test_an_output_that_could_not_be_recorded_cuts_nothing_off(kitchen: runtime.Runtime) -> None:
    value = {"a": LONE, "b": 2, "c": 3, "d": 4, "e": 5}

    async def bake(number: int) -> dict[str, Any]:
        return value

    async def bake_otherwise(number: int) -> dict[str, Any]:
        return {**value, "e": 6}

    async def read(made: dict[str, Any]) -> int:
        return int(made["e"])

    run = kitchen.run(pair(bake, read), 1)
    is_ok(kitchen.replay(run.trace_id, swap={"bake": bake_otherwise}), 6)


def test_a_swapped_step_is_never_run_on_a_stand_in_as_if_it_were_the_value(kitchen: runtime.Runtime) -> None:
    async def bake(number: int) -> Any:
        return 2**64

    async def read_otherwise(made: Any) -> str:
        return f"now {type(made).__name__}"

    run = kitchen.run(pair(bake, echo), 1)
    is_ok(kitchen.replay(run.trace_id, swap={"echo": read_otherwise}), "now int")


def test_glue_is_never_run_on_a_stand_in_as_if_it_were_the_value(kitchen: runtime.Runtime) -> None:
    async def bake(number: int) -> Any:
        return 2**64

    async def count(number: int) -> int:
        return number

    async def count_on(number: int) -> int:
        return number + 1

    async def add(kind: str, number: int) -> str:
        return f"{kind} {number}"

    graph = Graph("glued", input=int)
    kind = graph.derive(lambda made: type(made).__name__, graph.add(bake, graph.input), name="kind")
    run = kitchen.run(graph.build(graph.add(add, kind, graph.add(count, graph.input))), 1)
    assert run.output == "int 1"
    assert kitchen.replay(run.trace_id).certificate["kind"].status == "unreplayable"
    assert is_ok(kitchen.replay(run.trace_id, swap={"count": count_on}), "int 2")


def test_a_new_output_that_cannot_be_encoded_is_not_given_as_its_stand_in(kitchen: runtime.Runtime) -> None:
    async def bake(number: int) -> Any:
        return 2**64

    run = kitchen.run(only(echo), 1)
    for change in ({"swap": {"echo": bake}}, {"override": {"echo": LONE}}):
        replay = kitchen.replay(run.trace_id, **change)
        assert replay.certificate["echo"].status == "unreplayable"
        with pytest.raises(runtime.ReplayBlocked, match="opaque: the output could not be recorded"):
            _ = replay.output


def test_a_nested_step_is_verified_however_its_arguments_were_given(kitchen: runtime.Runtime) -> None:
    @step
    async def total(first: int, *rest: int, last: int = 0, **others: int) -> int:
        return first + sum(rest) + last + sum(others.values())

    async def work(number: int) -> int:
        return await total(number, 2, 3, last=4, more=5)

    run = kitchen.run(only(work), 1)
    assert run.output == 15
    assert kitchen.replay(run.trace_id).certificate.proved


def test_a_step_that_a_sync_one_asks_for_is_not_swapped_for_one_that_waits(kitchen: runtime.Runtime) -> None:
    @step
    def double(number: int) -> int:
        return 2 * number

    def work(number: int) -> int:
        return double(number + 1)

    def work_otherwise(number: int) -> int:
        return double(number + 2)

    async def triple(number: int) -> int:
        return 3 * number

    run = kitchen.run(only(work), 1)
    replay = kitchen.replay(run.trace_id, swap={"work": work_otherwise, "work/double": triple})
    assert "cannot wait for triple, which is async" in replay.certificate["work/double"].reason
    assert not replay.certificate.ok


def test_an_answer_of_another_type_than_declared_is_recorded_as_it_was(kitchen: runtime.Runtime) -> None:
    @effect
    async def ask(number: int) -> str:
        return number  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    async def work(number: int) -> str:
        return repr(await ask(number))

    run = kitchen.run(only(work), 7)
    assert run.output == "7"
    [call] = last(kitchen).calls
    assert call.result is not None
    assert call.result.value == 7
    [outcome] = run.recording.stored.outcomes.values()
    assert outcome.findings == ["the answer does not decode to its declared type"]
    replay = kitchen.replay(run.trace_id)
    assert is_ok(replay, "7") or "type changed: work/ask" in replay.certificate["work"].reason


# mutation


@pytest.mark.parametrize("call", ["of the graph", "nested", "nested by name", "nested and sync"])
def test_a_step_that_changes_its_input_is_marked_in_check_mode(kitchen: runtime.Runtime, call: str) -> None:
    def grow(items: list[int]) -> int:
        items.append(1)
        return len(items)

    @step
    async def grow_async(items: list[int]) -> int:
        return grow(items)

    grow_sync = step(grow)

    async def work(items: list[int]) -> int:
        if call == "of the graph":
            return grow(items)
        if call == "nested and sync":
            return grow_sync([*items])
        return await (grow_async([*items]) if call == "nested" else grow_async(items=[*items]))

    run = kitchen.run(only(work, list[int]), [1])
    assert run.output == 2
    recording = last(kitchen)
    assert recording.status == "ok"
    findings = [finding for span in recording.spans.values() for finding in span.record.findings or ()]
    assert findings == ["changed its input items"]
    assert is_ok(kitchen.replay(run.trace_id), 2)
