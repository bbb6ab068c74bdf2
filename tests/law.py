"""Random agents for the law of replay, and its full side: an interpreter that imports nothing from `replay`.

A program is data: steps whose bodies are lists of operations. The same data is run by kitchenlog and, fully and one operation
at a time, by `Interpreter`, which answers effects from the recorded calls of the same span by key and lane and, where there is
none, from a deterministic world.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from typing import Any

import anyio
import attrs
from hypothesis import strategies as st

from runtime import Graph, Recording, effect, step
from runtime.recording import Call, Span
from storage import codec

M = 7
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


class StepFailed(Exception):
    """What steps and providers of the law raise."""


def world(name: str, request: int) -> int:
    """The deterministic answer of a live effect; M - 1 means that it fails."""
    return hashlib.blake2b(f"{name} {request}".encode(), digest_size=2).digest()[0] % M


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


def start_of(args: tuple[int, ...]) -> int:
    return sum((place + 1) * arg for place, arg in enumerate(args)) % M


def end_of(body: Body, local: list[int]) -> int:
    value = (body.salt + sum(local)) % M
    if body.fails_at and value == body.fails_at:
        raise StepFailed(f"step {value}")
    return value


def request_of(op: Op, local: list[int]) -> int:
    request: int = (op[2] + local[-1] * op[3] + 3 * sum(local)) % 50
    return request


async def perform(body: Body, nested: tuple[Any, ...], *args: int) -> int:  # noqa: C901 - one case an operation
    """A step's code."""
    local = [start_of(args)]
    for op in body.ops:
        if op[0] == "ask":
            try:
                local.append(await ask(request_of(op, local)))
            except StepFailed:
                if not op[4]:
                    raise
                local.append(1)
        elif op[0] == "call":
            try:
                local.append(await nested[op[1] % len(nested)](request_of(op, local)))
            except StepFailed:
                if not op[4]:
                    raise
                local.append(2)
        elif op[0] == "fan":  # equal requests at once, answered differently
            out: dict[int, int] = {}
            request = request_of(op, local)

            async def work(place: int, request: int = request, out: dict[int, int] = out) -> None:
                try:
                    out[place] = await ask(request)
                except StepFailed:
                    out[place] = 3

            async with anyio.create_task_group() as group:
                for place in range(op[1]):
                    group.start_soon(work, place)
            local.append(sum((place + 1) * out[place] for place in out) % M)
        elif op[0] == "race":  # the first answer cancels the others
            first: list[int] = []

            async def run(scope: anyio.CancelScope, first: list[int] = first, request: int = op[2]) -> None:
                try:
                    first.append(await ask(request + 100))
                except StepFailed:
                    first.append(4)
                scope.cancel()

            async with anyio.create_task_group() as group:
                for _ in range(op[1]):
                    group.start_soon(run, group.cancel_scope)
            local.append(first[0])
    return end_of(body, local)


def _leaf(name: str) -> type:
    async def call(self: Any, value: int) -> int:
        found: int = await perform(self.body, self.nested, value)
        return found

    call.__name__ = "__call__"
    call.__annotations__ = {"value": int, "return": int}
    return attrs.make_class(
        name, {"body": attrs.field(), "nested": attrs.field(default=())}, frozen=True, eq=False,
        class_body={"__call__": step(call), "__module__": __name__},
    )  # fmt: skip


A0, A1, B0, B1 = _leaf("A0"), _leaf("A1"), _leaf("B0"), _leaf("B1")
NESTED = {"a0": A0, "a1": A1, "b0": B0, "b1": B1}


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


@attrs.frozen
class Program:
    """Everything random about one example."""

    bodies: dict[str, Body]
    nodes: tuple[tuple[str, tuple[int, ...]], ...]
    """Body name and inputs of each node, -1 the run's input."""
    value: int
    seed: int
    swaps: dict[str, Body]
    live: bool


def build(program: Program) -> Any:
    """The agent of a program."""
    a = (A0(program.bodies["a0"]), A1(program.bodies["a1"]))
    b = (B0(program.bodies["b0"], a), B1(program.bodies["b1"], a), *a)
    graph: Any = Graph("law", input=int)
    nodes: list[Any] = []
    for place, (body, inputs) in enumerate(program.nodes):
        kind = Top if len(inputs) == 1 else Top2
        given = [graph.input if source < 0 else nodes[source] for source in inputs]
        nodes.append(graph.add(kind(program.bodies[body], b), *given, name=f"n{place}"))
    return graph.build(nodes[-1])


def swap_step(program: Program, address: str, body: Body) -> Any:
    """The callable that stands in for a swapped step."""
    a = (A0(program.bodies["a0"]), A1(program.bodies["a1"]))
    b = (B0(program.bodies["b0"], a), B1(program.bodies["b1"], a), *a)
    name = address.rpartition("/")[2]
    if name in NESTED:
        return NESTED[name](body, a if name.startswith("b") else ())
    inputs = program.nodes[int(name[1:])][1]
    return (Top if len(inputs) == 1 else Top2)(body, b)


class Miss(BaseException):
    """The full side reached a call that the recording does not answer."""


Outcome = tuple[str, Any]


class Interpreter:
    """Full re-execution, one operation after another."""

    def __init__(self, program: Program, recording: Recording) -> None:
        self.program, self.recording = program, recording
        self.outcomes: dict[str, Outcome] = {}

    def run(self) -> dict[str, Outcome]:
        values: list[Outcome] = []
        for place, (body, inputs) in enumerate(self.program.nodes):
            given = [("ok", self.program.value) if source < 0 else values[source] for source in inputs]
            if any(status != "ok" for status, _ in given):
                values.append(("skip", None) if all(status != "blocked" for status, _ in given) else ("blocked", None))
                continue
            name = f"n{place}"
            values.append(self._span(name, body, tuple(value for _, value in given), self.recording.node(name)))
        return {f"n{place}": value for place, value in enumerate(values)}

    def _span(self, static: str, body: str, args: tuple[int, ...], recorded: Span | None) -> Outcome:
        chosen = self.program.swaps.get(static, self.program.bodies[body])
        replies = _Replies(recorded)
        try:
            for left in reversed(range(chosen.tries if len(args) == 1 and static.startswith("n") and "/" not in static else 1)):
                try:
                    return ("ok", self._body(static, body, chosen, args, replies))
                except StepFailed:
                    if not left:
                        raise
        except StepFailed as error:
            return ("error", str(error))
        except Miss:
            return ("blocked", None)
        raise AssertionError

    def _body(self, static: str, name: str, body: Body, args: tuple[int, ...], replies: _Replies) -> int:
        local = [start_of(args)]
        children = ("a0", "a1") if name.startswith("b") else ("b0", "b1", "a0", "a1")
        for op in body.ops:
            if op[0] == "ask":
                status, value = self._ask(replies, request_of(op, local), "")
                if status != "ok" and not op[4]:
                    raise StepFailed(value)
                local.append(value if status == "ok" else 1)
            elif op[0] == "call":
                child = children[op[1] % len(children)]
                request = request_of(op, local)
                recorded, nth = replies.nested(child, request)
                status, value = self._span(f"{static}/{child}", child, (request,), recorded or nth)
                if status == "blocked":
                    raise Miss
                if status != "ok" and not op[4]:
                    raise StepFailed(value)
                local.append(value if status == "ok" else 2)
            elif op[0] == "fan":
                request = request_of(op, local)
                base = replies.spawn(op[1])
                answers = [self._ask(replies, request, str(base + place)) for place in range(op[1])]
                local.append(
                    sum((place + 1) * (value if status == "ok" else 3) for place, (status, value) in enumerate(answers)) % M
                )
            elif op[0] == "race":
                base = replies.spawn(op[1])
                status, value = self._race(replies, op[2] + 100, [str(base + place) for place in range(op[1])])
                local.append(value if status == "ok" else 4)
        return end_of(body, local)

    def _race(self, replies: _Replies, request: int, lanes: list[str]) -> Outcome:
        taken = [replies.take("ask", request, lane) for lane in lanes]
        finished = [call for call in taken if call is not None and call.result is not None and call.result.status != "cancelled"]
        if finished:
            return _outcome(min(finished, key=lambda call: call.completion))
        return self._live(request)

    def _ask(self, replies: _Replies, request: int, lane: str) -> Outcome:
        call = replies.take("ask", request, lane)
        if call is not None and call.result is not None and call.result.status != "cancelled":
            return _outcome(call)
        return self._live(request)

    def _live(self, request: int) -> Outcome:
        if not self.program.live:
            raise Miss
        answer = world("ask", request)
        return ("error", "provider") if answer == M - 1 else ("ok", answer)


def _outcome(call: Call) -> Outcome:
    assert call.result is not None
    if call.result.ok:
        return ("ok", call.result.value)
    assert call.result.error is not None
    return ("error", call.result.error.message)


class _Replies:
    """The recorded calls of one span, each used once."""

    def __init__(self, recorded: Span | None) -> None:
        self._calls = [] if recorded is None else recorded.calls
        self._used: set[int] = set()
        self._count: dict[str, int] = defaultdict(int)
        self._spawned = 0

    def spawn(self, count: int) -> int:
        self._spawned += count
        return self._spawned - count + 1

    def take(self, name: str, request: int, lane: str) -> Call | None:
        same = [
            call
            for call in self._calls
            if call.is_effect and call.intent.name == name and codec.decode_any(call.request) == {"request": request}
        ]
        free = [call for call in same if call.record not in self._used]
        free.sort(key=lambda call: call.intent.lane != lane)
        if not free:
            return None
        self._used.add(free[0].record)
        return free[0]

    def nested(self, name: str, request: int) -> tuple[Span | None, Span | None]:
        self._count[name] += 1
        calls = [call for call in self._calls if not call.is_effect and call.intent.name == name]
        for call in calls:
            if call.record not in self._used and codec.decode_any(call.request) == {"value": request}:
                self._used.add(call.record)
                return call.span, None
        for call in calls:
            if call.intent.nth == self._count[name] and call.record not in self._used:
                return None, call.span
        return None, None


_SMALL = st.integers(0, 2)
_CAUGHT = st.sampled_from((True, True, False))
_ASKS = st.tuples(st.just("ask"), st.just(0), _SMALL, st.integers(1, 2), _CAUGHT)
_FANS = st.tuples(st.just("fan"), st.integers(2, 3), _SMALL, st.integers(0, 1))
_RACES = st.tuples(st.just("race"), st.integers(2, 3), _SMALL)
_CALLS = st.tuples(st.just("call"), st.sampled_from((0, 0, 1, 1, 2, 3)), _SMALL, st.integers(1, 2), _CAUGHT)


def _ops(*, nested: bool) -> st.SearchStrategy[tuple[Op, ...]]:
    """Operations; those of a step with nested steps begin with a call, so that deep programs are common."""
    rest = st.lists(st.one_of([_CALLS, _ASKS, _FANS, _RACES] if nested else [_ASKS, _FANS, _RACES]), max_size=2)
    if not nested:
        return rest.map(tuple)
    return st.tuples(_CALLS, rest).map(lambda both: (both[0], *both[1]))


def _body(*, nested: bool) -> st.SearchStrategy[Body]:
    return st.builds(
        Body, st.integers(0, M - 1), _ops(nested=nested), st.sampled_from((0, 0, 0, 0, 2)), st.sampled_from((1, 2, 2))
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random programs with one or two swaps."""
    bodies = {name: draw(_body(nested=False)) for name in ("a0", "a1")}
    bodies |= {name: draw(_body(nested=True)) for name in ("b0", "b1", "c0", "c1", "c2")}
    count = draw(st.integers(1, 4))
    nodes = []
    for place in range(count):
        inputs = tuple(draw(st.lists(st.integers(-1, place - 1), min_size=1, max_size=2)))
        nodes.append((draw(st.sampled_from(("c0", "c1", "c2"))), inputs))
    return Program(
        bodies,
        tuple(nodes),
        draw(st.integers(0, M - 1)),
        draw(st.integers(0, 2**32)),
        {},
        draw(st.sampled_from((True, False, False, False))),
    )
