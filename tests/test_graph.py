"""Declaring graphs: what is refused, and what is said."""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar

import attrs
import msgspec
import pytest

import runtime
from runtime import Agent, BuildError, Graph, Node, effect, step
from runtime.assignable import assignable


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


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pair(msgspec.Struct, frozen=True):
    one: str
    two: str


class Other(msgspec.Struct, frozen=True):
    """Beside Pair in a union, not to be told from it once it is stored."""

    one: str


@step(retry=2, timeout=5)
async def rewrite(text: str) -> str:
    return text


def shout(text: str) -> str:
    return text.upper()


async def find(query: str, k: int = 3) -> list[Ranked]:
    return [Ranked(query, 1.0)] * k


def join(docs: Sequence[Doc]) -> str:
    return " ".join(doc.id for doc in docs)


@step(thread=True)
def pick(one: str, two: str) -> str:
    return one or two


def untyped() -> Any:
    """Untyped, as it is for those who run no checker."""
    return Graph("shop.turn", input=str)


def diamond() -> Agent[str, str]:
    made = Graph("diamond", str)
    return made.build(made.add(pick, made.add(rewrite, made.input), made.add(shout, made.input)))


def test_a_graph_becomes_an_agent() -> None:
    made = Graph("shop.turn", input=str)
    query = made.add(rewrite, made.input)
    found = made.add(find, query)
    text = made.derive(join, found)
    agent = made.build(Pair, one=query.value, two=text.value)

    assert (agent.name, agent.input_type, agent.result_type) == ("shop.turn", str, Pair)
    assert [(spec.index, spec.name, spec.kind, spec.inputs) for spec in agent.nodes] == [
        (0, "rewrite", "step", (-1,)),
        (1, "find", "step", (0,)),
        (2, "join", "derive", (1,)),
        (3, "output", "derive", (0, 2)),
    ]
    assert agent.output == 3
    assert agent.sequential
    assert not diamond().sequential


def test_the_input_may_be_the_result() -> None:
    made = Graph("echo", str)

    assert made.build(made.input).output == -1


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (
            lambda g: g.add(rewrite, g.add(find, g.input)),
            "step rewrite: its parameter text is str, and find gives list.*Ranked",
        ),
        (lambda g: g.add(join, g.input), "its parameter docs is .*Sequence.*Doc.*and input gives str"),
        (lambda g: g.add(rewrite), "step rewrite gets 0 inputs and needs 1: text missing"),
        (lambda g: g.add(rewrite, g.input, g.input), "step rewrite gets 2 inputs and takes 1"),
        (lambda g: g.add(lambda *a: a, *[g.input] * 9), "has 9 inputs; 8 are the most"),
        (lambda g: (g.add(shout, g.input), g.add(shout, g.input)), "has a step shout already.*name="),
        (lambda g: g.add(shout, g.input, name="a b"), "'a b' is no name"),
        (lambda g: g.add(shout, g.input, name="a\n"), "is no name"),
        (lambda g: g.add(shout, Graph("other", str).input), "node input belongs to graph other, not to shop.turn"),
        (lambda g: g.add(shout, "text"), "'text' is no node"),
        (lambda g: g.add(shout, g.input.value), r"give the node input itself; \.value is for build"),
        (lambda g: g.derive(rewrite, g.input), "rewrite is async"),
        (lambda g: g.add(3), "is no step"),
        (lambda g: bool(g.input), "node input has no value"),
        (lambda g: bool(g.input.value), "nothing can be decided"),
        (lambda g: g.input.value.strip(), r"\.strip cannot be read; use derive"),
        (lambda g: g.build(Pair, one=g.input), "one is a node; give input.value"),
        (lambda g: g.build(Pair, one="text"), "one is 'text', not the .value of a node"),
        (lambda g: g.build(Pair, one=g.input.value), "missing a required argument: 'two'"),
        (lambda g: g.build(Pair, g.input.value, g.add(find, g.input).value), "its parameter two is str, and find gives"),
        (lambda g: g.build(find, g.input.value), "find is async"),
        (lambda g: g.build(g.input, 1), "takes nothing else"),
        (lambda g: g.build(Graph("other", str).input), "belongs to graph other"),
        (
            lambda g: (g.add(shout, g.input, name="output"), g.build(Pair, g.input.value, g.input.value)),
            r"has a step output, the name of what build\(pair, ...\) makes: rename the step",
        ),
        (lambda g: Graph("a b", str), "is no name of a graph"),
    ],
)
def test_what_is_refused(declare: Callable[[Any], object], text: str) -> None:
    with pytest.raises(BuildError, match=f"(?s){text}"):
        declare(untyped())


def test_a_type_that_cannot_be_recorded_is_refused() -> None:
    def lock(text: str) -> Pair | Other:
        return Other(text)

    made = Graph("shop", str)
    with pytest.raises(BuildError, match="the result of step lock cannot be recorded"):
        made.add(lock, made.input)


def test_a_finished_agent_does_not_change() -> None:
    made = Graph("shop", str)
    node = made.add(shout, made.input)
    agent: Any = made.build(node)
    again = made.build(node)
    made.add(rewrite, made.input)

    assert len(agent.nodes) == 1
    assert again.fingerprint == agent.fingerprint
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        agent.nodes[0].name = "other"
    with pytest.raises(AttributeError, match="agent shop is finished: its nodes cannot be set"):
        agent.nodes = ()


def test_fields_may_be_keyword_only() -> None:
    class Result(msgspec.Struct, kw_only=True):
        one: str
        two: int = 0

    made = Graph("shop", str)

    assert made.build(Result, one=made.input.value).result_type is Result


class Ticket(msgspec.Struct, frozen=True):
    text: str
    docs: Sequence[Doc] = ()


@attrs.frozen
class TicketOfAttrs:
    _text: str
    docs: Sequence[Doc] = ()


@dataclasses.dataclass(frozen=True)
class TicketOfDataclass:
    text: str
    docs: Sequence[Doc] = ()


@pytest.mark.parametrize("kind", [Ticket, TicketOfAttrs, TicketOfDataclass])
@pytest.mark.parametrize("how", ["add", "derive"])
def test_the_edges_of_a_class_fit_its_fields(kind: Any, how: str) -> None:
    made = untyped()
    found = made.add(find, made.input)
    declare = getattr(made, how)

    assert made.build(declare(kind, made.input, found, name="right")).result_type is kind
    with pytest.raises(BuildError, match=r"step first: its parameter text is str, and find gives list\[.*Ranked\]"):
        declare(kind, found, name="first")
    with pytest.raises(BuildError, match=r"step ticket\w*: its parameter docs is .*Sequence\[.*Doc\], and input gives str"):
        declare(kind, made.input, made.input)
    with pytest.raises(BuildError, match=r"gets 0 inputs and needs 1: text missing"):
        declare(kind)


def test_a_class_as_glue_makes_its_value(kitchen: runtime.Runtime) -> None:
    made = Graph("shop", str)
    run = kitchen.run(made.build(made.derive(Ticket, made.input, made.add(find, made.input))), "q")

    assert run.output == Ticket("q", [Ranked("q", 1.0)] * 3)
    assert kitchen.replay(run.trace_id).certificate.proved


@pytest.mark.parametrize("how", ["add", "derive"])
def test_keyword_only_fields_have_no_place_for_an_edge(how: str) -> None:
    class Result(msgspec.Struct, kw_only=True):
        one: str

    made = untyped()
    with pytest.raises(BuildError, match="step result: one is keyword-only and has no default; edges are positional"):
        getattr(made, how)(Result, made.input)


def whole(text: str) -> int:
    return len(text)


def test_what_a_constructor_takes_is_not_always_its_field() -> None:
    @attrs.frozen
    class Converted:
        size: int = attrs.field(converter=whole)

    @dataclasses.dataclass
    class Seeded:
        seed: dataclasses.InitVar[int]

    made = untyped()

    assert made.derive(Converted, made.input).name == "converted"
    assert made.build(Converted, size=made.input.value).result_type is Converted
    with pytest.raises(BuildError, match="step seeded: its parameter seed is int, and input gives str"):
        made.derive(Seeded, made.input)


def test_inherited_fields_are_of_the_module_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    base = types.ModuleType("shop_base")
    monkeypatch.setitem(sys.modules, "shop_base", base)
    source = """
from __future__ import annotations
import attrs, dataclasses, msgspec
Amount = int
def count(text: Text) -> int: return len(text)
Text = str
@attrs.frozen
class Attrs:
    amount: Amount
    size: Amount = attrs.field(converter=count, default="")
@dataclasses.dataclass
class Data: amount: Amount
class Struct(msgspec.Struct): amount: Amount
"""
    exec(source, vars(base))  # noqa: S102 - as an import would

    @attrs.frozen
    class OfAttrs(base.Attrs):  # type: ignore[misc, name-defined]
        pass

    @dataclasses.dataclass
    class OfData(base.Data):  # type: ignore[misc, name-defined]
        pass

    class OfStruct(base.Struct):  # type: ignore[misc, name-defined]
        pass

    for kind in (OfAttrs, OfData, OfStruct):
        made = untyped()
        amount = made.add(count, made.input)
        assert made.build(made.derive(kind, amount)).result_type is kind
        with pytest.raises(BuildError, match="its parameter amount is int, and input gives str"):
            made.derive(kind, made.input)
    made = untyped()
    converted = made.derive(OfAttrs, made.add(count, made.input), made.input)  # which a converter takes
    assert made.build(converted).result_type is OfAttrs


def test_a_field_of_a_type_that_cannot_be_found_is_named() -> None:
    class Lost(msgspec.Struct):
        one: Nowhere  # type: ignore[name-defined]  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    made = untyped()
    with pytest.raises(BuildError, match=r"step lost: an annotation cannot be resolved: .*Nowhere"):
        made.derive(Lost, made.input)


def test_a_result_is_made_of_the_graphs_own_nodes() -> None:
    other = untyped()
    far = [other.add(shout, other.input, name=f"shout_{number}") for number in range(3)][-1]
    made = untyped()

    with pytest.raises(BuildError, match=r"node shout_2 belongs to graph shop\.turn"):
        made.build(Pair, one=made.input.value, two=far.value)


def test_what_distinguishes_agents() -> None:
    def build(declare: Callable[[Graph[str]], Node[Any]], name: str = "shop", kind: type[Any] = str) -> bytes:
        made = Graph(name, kind)
        return made.build(declare(made)).fingerprint

    def wired(**fields: int) -> bytes:
        made = Graph("shop", str)
        nodes = [made.add(shout, made.input), made.add(rewrite, made.input)]
        one: Any = made
        return bytes(one.build(Pair, **{name: nodes[place].value for name, place in fields.items()}).fingerprint)

    told = [
        build(lambda g: g.add(shout, g.input)),
        build(lambda g: g.add(shout, g.input), name="other"),
        build(lambda g: g.add(shout, g.input, name="loud")),
        build(lambda g: g.derive(shout, g.input)),
        build(lambda g: g.add(shout, g.add(rewrite, g.input))),
        build(lambda g: (g.add(shout, g.input), g.add(rewrite, g.input))[0]),
        build(lambda g: (g.add(shout, g.input), g.add(rewrite, g.input))[1]),
        build(lambda g: g.input),
        build(lambda g: g.input, kind=int),
        wired(one=0, two=1),
        wired(two=0, one=1),
    ]

    assert len(set(told)) == len(told)
    assert wired(one=0, two=1) == wired(one=0, two=1)


def test_an_agent_inside_is_reached() -> None:
    outer = Graph("outer", str)
    node = outer.add(diamond(), outer.input)
    agent = outer.build(outer.add(shout, node))

    assert [spec.name for spec in agent.nodes] == ["diamond", "shout"]
    assert any(name.endswith(".pick") for name in agent.nodes[0].step.fingerprint.reached)


def test_glue_without_a_name_is_numbered() -> None:
    made = Graph("shop", str)
    names = [made.derive(lambda text: text + "!", made.input).name for _ in range(3)]

    assert names == ["derived", "derived_2", "derived_3"]


def test_text_and_mermaid() -> None:
    agent = diamond()
    head, *lines = agent.to_text().splitlines()

    assert head == "diamond(str) -> str"
    assert lines[0].startswith("  rewrite(input) -> str  ")
    assert lines[0].endswith("  retry=2  timeout=5s")
    assert lines[2].startswith("  pick(rewrite, shout) -> str  ")
    assert lines[2].endswith("  thread")
    made = Graph("shop", str)
    chart = made.build(made.add(find, made.input)).to_mermaid()
    assert chart.startswith("flowchart TD\n")
    drawn = made.build(made.derive(join, made.add(find, made.input, name="again"))).to_mermaid()
    assert "[tests" not in drawn
    assert "list#91;" in drawn


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Box(Generic[T_co]):
    pass


class Page(Sequence[Doc], Generic[T]):
    pass


class Named(Protocol):
    id: str


class Row(TypedDict):
    id: str


class SameRow(TypedDict):
    id: str


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (Any, str),
        (str, Any),
        (str, object),
        (None, str | None),
        (str, str | None),
        (int, float),
        (bool, float),
        (Number, float),
        (int, float | None),
        (int | bool, float),
        (Literal["x"], Literal["x", "y"]),
        (Literal["x"], str),
        (bool, Literal[True, False]),
        (Color, Literal[Color.RED]),
        (list[Ranked], Sequence[Doc]),
        (list[Ranked], Iterable[Doc]),
        (list[Ranked], list[Any]),
        (list[Doc], list),
        (dict[str, Ranked], Mapping[str, Doc]),
        (frozenset[Ranked], frozenset[Doc]),
        (tuple[Ranked, ...], tuple[Doc, ...]),
        (tuple[Ranked, Doc], tuple[Doc, ...]),
        (tuple[Ranked, Doc], Sequence[Doc]),
        (str, Sequence[str]),
        (type[Ranked], type[Doc]),
        (Callable[[Doc], Ranked], Callable[[Ranked], Doc]),
        (Box[Ranked], Box[Doc]),
        (Page[int], Sequence[Doc]),
        (Doc, Named),
        (Row, SameRow),
        (Row, Mapping[str, object]),
        (str, T),
    ],
)
def test_what_fits(have: object, want: object) -> None:
    assert assignable(have, want)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (str, int),
        (float, int),
        (str | None, str),
        (Doc, Ranked),
        (str, Literal["x"]),
        (Literal["z"], Literal["x", "y"]),
        (Literal[1], str),
        (str, Sequence[Doc]),
        (list[Ranked], list[Doc]),
        (list[int], list[float]),
        (dict[str, int], dict[str, float]),
        (set[Ranked], set[Doc]),
        (collections.deque[Ranked], collections.deque[Doc]),
        (list[str], Sequence[Doc]),
        (tuple[str, ...], tuple[str, str]),
        (tuple[str, int], tuple[str, str]),
        (list[str], str),
    ],
)
def test_what_does_not_fit(have: object, want: object) -> None:
    assert not assignable(have, want)
