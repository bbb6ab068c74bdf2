"""Random agents for the law of replay: what they are made of.

A program is data: steps whose bodies are lists of operations, joined by control nodes. The same data is run by kitchenlog and,
fully and one operation at a time, by the interpreter of `law_interpreter`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
import attrs

from runtime import Graph, Retry, effect, step

M: Final = 7
LIMIT: Final = 3
"""Of a loop."""
ATTEMPTS: Final = 2
"""Of a step that is retried."""
Op = tuple[Any, ...]

latency = random.Random()
recorded_world = random.Random()
LIVE = False


@attrs.frozen
class Body:
    """What a step does: `salt` stands for its code."""

    salt: int
    ops: tuple[Op, ...]
    fails_at: int = 0
    tries: int = 1


@attrs.frozen
class Node:
    """A node of a program."""

    kind: str
    """step, branch, map, loop or sub."""
    parts: tuple[str, ...]
    """The bodies that it runs, or `part`, the inner agent."""
    inputs: tuple[int, ...]
    """Places of other nodes, -1 the input."""
    setting: int = 0
    """Stands for the code of its glue: a branch's and a loop's condition, a map's items."""
    concurrency: int | None = None


@attrs.frozen
class Program:
    """Everything random about one example."""

    bodies: dict[str, Body]
    nodes: tuple[Node, ...]
    part: tuple[Node, ...]
    """The nodes of the inner agent."""
    value: int
    seed: int
    swaps: dict[str, Body | int]
    """By address: another body, or another setting of glue."""
    live: bool


class StepFailed(Exception):
    """What steps and providers of the law raise."""


def world(name: str, request: int) -> int:
    """The deterministic answer of a live effect; M - 1 means that it fails."""
    return hashlib.blake2b(f"{name} {request}".encode(), digest_size=2).digest()[0] % M


def live_stream(request: int) -> tuple[list[int], bool]:
    """The chunks of a live stream, and whether it fails after them."""
    return [world(f"chunk {place}", request) for place in range(world("length", request) % 4)], world("end", request) == M - 1


@effect
async def ask(request: int) -> int:
    """A provider: afresh while recording, deterministic when a replay calls it live."""
    if LIVE:
        answer = world("ask", request)
    else:
        await anyio.sleep(latency.random() * 0.002)
        answer = recorded_world.randrange(M)
    if answer == M - 1:
        raise StepFailed("provider")
    return answer


@effect
async def tell(request: int) -> AsyncIterator[int]:
    """As `ask`, in pieces."""
    if LIVE:
        chunks, fails = live_stream(request)
    else:
        chunks = [recorded_world.randrange(M) for _ in range(recorded_world.randrange(4))]
        fails = recorded_world.randrange(6) == 0
    for chunk in chunks:
        if not LIVE:
            await anyio.sleep(latency.random() * 0.0005)
        yield chunk
    if fails:
        raise StepFailed("provider")


def start_of(args: tuple[int, ...]) -> int:
    return sum((place + 1) * arg for place, arg in enumerate(args)) % M


def end_of(body: Body, local: list[int]) -> int:
    value = (body.salt + sum(local)) % M
    if body.fails_at and value == body.fails_at:
        raise StepFailed(f"step {value}")
    return value


def request_of(op: Op, local: list[int]) -> int:
    """What an operation asks: often the same whatever the step was given, so that one span's answers could pass for another's."""
    request: int = (op[2] + local[-1] * op[3] + 3 * sum(local)) % 50 if op[3] else op[2]
    return request


async def perform(body: Body, nested: tuple[Any, ...], *args: int) -> int:
    """A step's code."""
    local = [start_of(args)]
    for op in body.ops:
        local.append(await _OPERATIONS[op[0]](op, local, nested))
    return end_of(body, local)


async def _ask(op: Op, local: list[int], _: tuple[Any, ...]) -> int:
    try:
        return await ask(request_of(op, local))
    except StepFailed:
        if not op[4]:
            raise
        return 1


async def _call(op: Op, local: list[int], nested: tuple[Any, ...]) -> int:
    try:
        found: int = await nested[op[1] % len(nested)](request_of(op, local))
    except StepFailed:
        if not op[4]:
            raise
        return 2
    return found


async def _stream(op: Op, local: list[int], _: tuple[Any, ...]) -> int:
    taken: list[int] = []
    try:
        async for chunk in tell(request_of(op, local)):
            taken.append(chunk)
            if len(taken) == op[1]:  # the rest is not read
                break
    except StepFailed:
        if not op[4]:
            raise
        taken.append(5)
    return sum(taken) % M


async def _fan(op: Op, local: list[int], _: tuple[Any, ...]) -> int:
    """Equal requests at once, answered differently."""
    out: dict[int, int] = {}
    request = request_of(op, local)

    async def work(place: int) -> None:
        try:
            out[place] = await ask(request)
        except StepFailed:
            out[place] = 3

    async with anyio.create_task_group() as group:
        for place in range(op[1]):
            group.start_soon(work, place)
    return sum((place + 1) * out[place] for place in out) % M


async def _race(op: Op, _: list[int], __: tuple[Any, ...]) -> int:
    """The first answer cancels the others."""
    first: list[int] = []

    async def run(scope: anyio.CancelScope) -> None:
        try:
            first.append(await ask(op[2] + 100))
        except StepFailed:
            first.append(4)
        scope.cancel()

    async with anyio.create_task_group() as group:
        for _place in range(op[1]):
            group.start_soon(run, group.cancel_scope)
    return first[0]


_OPERATIONS: Final = {"ask": _ask, "call": _call, "stream": _stream, "fan": _fan, "race": _race}


def _leaf(name: str, retry: Retry | None = None) -> type:
    async def call(self: Any, value: int) -> int:
        found: int = await perform(self.body, self.nested, value)
        return found

    call.__name__ = "__call__"
    call.__annotations__ = {"value": int, "return": int}
    return attrs.make_class(
        name, {"body": attrs.field(), "nested": attrs.field(default=())}, frozen=True, eq=False,
        class_body={"__call__": step(retry=retry)(call), "__module__": __name__},
    )  # fmt: skip


A0, A1, B0, B1 = _leaf("A0"), _leaf("A1"), _leaf("B0"), _leaf("B1")
R0 = _leaf("R0", Retry(ATTEMPTS, wait=0))
NESTED: Final = {"a0": A0, "a1": A1, "b0": B0, "b1": B1, "r0": R0}
BELOW: Final[dict[str, tuple[str, ...]]] = {"a0": (), "a1": (), "b0": ("a0", "a1"), "b1": ("a0", "a1"), "r0": ("a0", "a1")}
"""The nested steps of each body; those of a node's own body are `OF_NODE`."""
OF_NODE: Final = ("b0", "b1", "r0", "a0", "a1")


@attrs.frozen(eq=False)
class Top:
    """A node with one input, tried as often as its body says."""

    body: Body
    nested: tuple[Any, ...]

    async def __call__(self, value: int) -> int:
        for left in reversed(range(self.body.tries)):
            try:
                return await perform(self.body, self.nested, value)
            except StepFailed:
                if not left:
                    raise
        raise AssertionError


@attrs.frozen(eq=False)
class Top2(Top):
    """A node with two inputs."""

    async def __call__(self, value: int, other: int) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return await perform(self.body, self.nested, value, other)


# glue


@attrs.frozen
class IsThen:
    """The condition of a branch."""

    setting: int

    def __call__(self, value: int) -> bool:
        return (value + self.setting) % 2 == 0


@attrs.frozen
class Items:
    """The items of a map: few and often equal."""

    setting: int

    def __call__(self, value: int) -> list[int]:
        return [(value + self.setting * place) % 3 for place in range((value + self.setting) % 4)]


@attrs.frozen
class Until:
    """The condition of a loop."""

    setting: int

    def __call__(self, value: int) -> bool:
        return (value + self.setting) % 3 == 0


def total(values: list[int]) -> int:
    """What becomes of a map."""
    return start_of(tuple(values))


GLUE: Final = {"branch": IsThen, "map": Items, "loop": Until}


def glue_name(kind: str, place: int) -> str:
    """The name of a node's glue within its graph."""
    return {"branch": f"c{place}", "map": f"i{place}", "loop": f"n{place}/until"}[kind]


# agents


def is_chain(nodes: tuple[Node, ...]) -> bool:
    """Whether no two nodes run at once."""
    return all(not place or place - 1 in node.inputs for place, node in enumerate(nodes))


def parts_of(bodies: dict[str, Body]) -> dict[str, Any]:
    """The steps that others call, and control nodes run."""
    made: dict[str, Any] = {}
    for name, below in BELOW.items():
        made[name] = NESTED[name](bodies[name], tuple(made[one] for one in below))
    return made


def build(program: Program) -> Any:
    """The agent of a program."""
    parts = parts_of(program.bodies)
    if program.part:
        parts["part"] = _graph("part", program.part, program, parts)
    return _graph("law", program.nodes, program, parts)


def _graph(name: str, specs: tuple[Node, ...], program: Program, parts: dict[str, Any]) -> Any:
    graph: Any = Graph(name, input=int)
    nodes: list[Any] = []
    for place, spec in enumerate(specs):
        given = [graph.input if source < 0 else nodes[source] for source in spec.inputs]
        runs = [parts.get(one) for one in spec.parts]
        here = f"n{place}"
        if spec.kind == "step":
            node = graph.add(_top(program.bodies[spec.parts[0]], len(given), parts), *given, name=here)
        elif spec.kind == "branch":
            condition = graph.derive(IsThen(spec.setting), given[0], name=f"c{place}")
            node = graph.branch(condition, *runs, given[-1], name=here)
        elif spec.kind == "map":
            items = graph.derive(Items(spec.setting), given[0], name=f"i{place}")
            node = graph.derive(total, graph.map(runs[0], items, concurrency=spec.concurrency, name=here), name=f"s{place}")
        elif spec.kind == "loop":
            node = graph.loop(runs[0], given[0], until=Until(spec.setting), limit=LIMIT, name=here)
        else:
            node = graph.subgraph(runs[0], given[0], name=here)
        nodes.append(node)
    return graph.build(nodes[-1])


def _top(body: Body, inputs: int, parts: dict[str, Any]) -> Any:
    return (Top if inputs == 1 else Top2)(body, tuple(parts[name] for name in OF_NODE))


def swap_step(program: Program, address: str, stand_in: Body | int) -> Any:
    """The callable that stands in for a swapped step or glue."""
    name = address.rpartition("/")[2]
    if isinstance(stand_in, int):
        kind = {"c": "branch", "i": "map", "u": "loop"}[name[0]]
        return GLUE[kind](stand_in)
    parts = parts_of(program.bodies)
    if name in NESTED:
        return NESTED[name](stand_in, tuple(parts[one] for one in BELOW[name]))
    nodes = program.part if "/" in address else program.nodes
    return _top(stand_in, len(nodes[int(name[1:])].inputs), parts)
