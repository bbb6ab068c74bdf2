"""Declaring graphs: what is refused, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
import pytest

import runtime
from runtime import BuildError, Graph, effect, step


class Doc(msgspec.Struct):
    id: str


class Ranked(Doc):
    score: float = 0.0


@attrs.frozen
class Reply:
    answer: str
    count: int


class ReplyStruct(msgspec.Struct):
    answer: str


async def search(query: str) -> list[Ranked]:
    return [Ranked(query, 1.0)]


async def write(query: str, docs: Sequence[Doc], temperature: float = 0.0) -> str:
    return query + docs[0].id + str(temperature)


def count(text: str) -> int:
    return len(text)


def test_a_graph_with_glue_runs_and_replays(kitchen: runtime.Runtime, backend: str) -> None:
    graph = Graph("reply", input=str)
    docs = graph.add(search, graph.input)
    half = graph.derive(lambda found: 0.5 * len(found), docs)
    answer = graph.add(write, graph.input, docs, half)
    agent = graph.build(Reply, answer=answer.value, count=graph.add(count, graph.input).value)

    run = kitchen.run(agent, "q")

    assert run.output == Reply("qq0.5", 1)
    assert run.recording.addresses() == ["search", "write", "count"]
    replay = kitchen.replay(run.trace_id)
    assert replay.certificate.proved
    assert replay.output == run.output


def test_classes_of_values_build_the_result() -> None:
    graph = Graph("struct", input=str)

    agent = graph.build(ReplyStruct, answer=graph.add(write, graph.input, graph.add(search, graph.input)).value)

    assert agent.result_type is ReplyStruct


def test_an_agent_is_a_step_of_another(kitchen: runtime.Runtime) -> None:
    inner_graph = Graph("inner.part", input=str)
    inner = inner_graph.build(inner_graph.add(count, inner_graph.input))
    graph = Graph("outer", input=str)
    agent = graph.build(graph.add(inner, graph.input))

    run = kitchen.run(agent, "four")

    assert run.output == 4
    assert run.recording.addresses() == ["part", "part/count"]
    assert kitchen.replay(run.trace_id).certificate.proved


class Unmarked:
    async def __call__(self, query: str) -> str:
        return query


@attrs.frozen
class Hidden:
    text: str

    async def __call__(self, query: str) -> str:
        return query


@attrs.frozen
class Holder:
    inner: Hidden

    async def __call__(self, query: str) -> str:
        return await self.inner(query)


class Client:
    """Neither encodable nor told apart."""


@attrs.frozen
class Uses:
    client: Client

    async def __call__(self, query: str) -> str:
        return query


def _add(*arguments: Any) -> Any:
    graph: Any = Graph("bad", input=str)
    docs = graph.add(search, graph.input)
    return graph.add(*(docs if one == "docs" else graph.input if one == "input" else one for one in arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((count, "docs"), r"step count: its parameter text is str, and search gives list\[.*Ranked\]"),
        ((write, "input"), "needs 2: docs missing"),
        ((count, "input", "input"), "gets 2 inputs and takes 1"),
        ((Unmarked, "input"), "is a class; give an instance"),
        ((Unmarked.__call__, "input"), "is a method; give it bound"),
        ((Holder(Hidden("x")), "input"), r"put @step on Hidden\.__call__"),
        ((search, "input"), "has a step search already"),
        (("text", "input"), "is no step"),
        ((count, "text"), "inputs are nodes"),
    ],
)
def test_what_does_not_fit_is_named(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(BuildError, match=said):
        _add(*arguments)


def test_an_object_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Uses\.client is a Client.*fingerprint"):
        _add(Uses(Client()), "input")


def test_a_node_decides_nothing_and_is_no_value() -> None:
    graph = Graph("bad", input=str)
    docs = graph.add(search, graph.input)
    with pytest.raises(BuildError, match="nothing can be decided"):
        bool(docs)
    with pytest.raises(BuildError, match=r"give search\.value"):
        graph.build(ReplyStruct, answer=docs)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    other = Graph("other", input=str)
    with pytest.raises(BuildError, match="belongs to graph bad"):
        other.add(write, other.input, docs)


def test_glue_makes_no_calls(kitchen: runtime.Runtime) -> None:
    @effect
    def outside(text: str) -> str:
        return text

    graph = Graph("glue", input=str)
    agent = graph.build(graph.derive(outside, graph.input))

    with pytest.raises(runtime.RuntimeMisuse, match="make it a step"):
        kitchen.run(agent, "x")


def test_a_timeout_needs_something_that_can_be_stopped() -> None:
    with pytest.raises(BuildError, match="thread=True"):
        step(timeout=1)(count)
