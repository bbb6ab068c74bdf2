"""The full side of the law: an interpreter that imports nothing from `replay`.

Every step is executed, whatever was recorded; effects are answered from the recorded calls of the same span by key and lane
and, where there is none, from a deterministic world. It also says which steps a minimal replay has to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime import Recording
from runtime.recording import Call, Result, Span, static
from runtime.scope import call_address
from storage import codec
from tests.law import (
    ATTEMPTS,
    BELOW,
    GLUE,
    LIMIT,
    OF_NODE,
    Body,
    M,
    Node,
    Op,
    Program,
    StepFailed,
    end_of,
    glue_name,
    is_chain,
    live_stream,
    request_of,
    start_of,
    total,
    world,
)
from tests.law_replies import Replies

Outcome = tuple[str, Any]


class Miss(BaseException):
    """The full side reached a call that the recording does not answer."""


class Ambiguous(Exception):
    """Of nodes that run at once one failed: which of the others it cancels is the scheduler's."""


class Interpreter:
    """Full re-execution, one operation after another."""

    def __init__(self, program: Program, recording: Recording) -> None:
        self.program, self.recording = program, recording
        self.needed: list[str] = []
        """Addresses that a minimal replay runs."""
        self.seen: set[str] = set()
        """What happened that the recording did not see."""

    def run(self) -> dict[str, Outcome]:
        """The outcome of every node and, where it has one, of the glue behind it."""
        values: dict[str, Outcome] = {}
        for place, node in enumerate(self.program.nodes):
            sources = [
                ("ok", self.program.value) if source < 0 else values[_value_name(self.program.nodes, source)]
                for source in node.inputs
            ]
            name = f"n{place}"
            if any(status != "ok" for status, _ in sources):
                values[name] = ("blocked" if any(status == "blocked" for status, _ in sources) else "skip", None)
            else:
                args = self._args(node, place, "", [value for _, value in sources])
                span = self.recording.node(name)
                was = None if span is None else self.recording.inputs(span)
                stands = was is not None and list(was.values()) == list(args)
                values[name] = self._span(name, node, None, args, span if stands else None, span)[0]
            if node.kind == "map":
                status, found = values[name]
                values[f"s{place}"] = (
                    ("ok", total(found)) if status == "ok" else ("skip" if status != "blocked" else status, None)
                )
        return {name: value for name, value in values.items() if name[0] == "n" or value[0] == "ok"}

    def _args(self, node: Node, place: int, above: str, sources: list[Any]) -> tuple[Any, ...]:
        """What a node's step is given: glue is computed on the way."""
        if node.kind == "branch":
            return self._glue(node, place, above)(sources[0]), sources[-1]
        if node.kind == "map":
            return (self._glue(node, place, above)(sources[0]),)
        return tuple(sources)

    def _glue(self, node: Node, place: int, above: str) -> Any:
        address = f"{static(above)}/{glue_name(node.kind, place)}" if above else glue_name(node.kind, place)
        setting: Any = self.program.swaps.get(address, node.setting)
        return GLUE[node.kind](setting)

    # spans

    def _span(
        self, label: str, node: Node | None, part: str | None, args: tuple[Any, ...], matched: Span | None, near: Span | None
    ) -> tuple[Outcome, bool]:
        """A span's outcome, and whether a minimal replay runs it.

        Args:
            label: its address.
            node: what it is, if a node.
            part: what it is, if a nested step.
            args: what it is given.
            matched: what was recorded of it with these inputs.
            near: whose calls may answer.
        """
        swap = self._swap(label)
        replies = Replies(near, label)
        try:
            outcome: Outcome = ("ok", self._value(label, node, part, swap, args, replies))
        except StepFailed as error:
            outcome = ("error", str(error))
        except Miss:
            outcome = ("blocked", None)
        runs = swap is not None or matched is None or replies.disturbed
        if runs:
            self.needed.append(label)
        return outcome, runs

    def _swap(self, label: str) -> Any:
        """What stands in for a span: what an index leaves out of a key, it means all of."""
        names = label.split("/")
        keys = [key for key in self.program.swaps if len(key.split("/")) == len(names)]
        fits = [key for key in keys if all(one in {name, static(name)} for one, name in zip(key.split("/"), names, strict=True))]
        return self.program.swaps[max(fits, key=lambda key: key.count("["))] if fits else None

    def _value(self, label: str, node: Node | None, part: str | None, swap: Any, args: tuple[Any, ...], replies: Replies) -> Any:
        if part == "part":
            return self._inner(label, args[0], replies)
        if part is not None:
            body = swap or self.program.bodies[part]
            return self._attempts(label, body, BELOW[part], args, replies, ATTEMPTS if part == "r0" else 1)
        assert node is not None
        if node.kind == "step":
            body = swap or self.program.bodies[node.parts[0]]
            return self._tries(label, body, args, replies)
        place = int(label.rpartition("/")[2].removeprefix("n").partition("#")[0])
        return getattr(self, f"_{node.kind}")(label, node, place, args, replies)

    def _tries(self, label: str, body: Body, args: tuple[int, ...], replies: Replies) -> int:
        for left in reversed(range(body.tries if len(args) == 1 else 1)):
            try:
                return self._body(label, body, OF_NODE, args, replies)
            except StepFailed:
                if not left:
                    raise
        raise AssertionError

    def _attempts(
        self, label: str, body: Body, below: tuple[str, ...], args: tuple[int, ...], replies: Replies, most: int
    ) -> int:
        for attempt in range(1, most + 1):
            replies.begin(attempt)
            try:
                return self._body(label, body, below, args, replies)
            except StepFailed:
                if attempt == most:
                    raise
        raise AssertionError

    # control nodes

    def _child(
        self, replies: Replies, found: Call | None, own: str, name: str, args: dict[str, Any], *, place: tuple[str, int],
        node: Node | None = None, exact: bool = True,
    ) -> Outcome:  # fmt: skip
        """A nested step; `exact` where the parent is a control node, which knows what it runs without running itself."""
        label = replies.take_label(found, own)
        near = found if found is not None else replies.positional(name, *place)
        matched = None if found is None else found.span
        outcome, ran = self._span(
            label, node, None if node is not None else name, tuple(args.values()), matched, None if near is None else near.span
        )
        if found is not None:
            swapped = self._swap(label) is not None
            assert found.result is not None
            replies.disturbed |= (outcome != _told(found.result)) if exact or swapped else ran
        return outcome

    def _branch(self, label: str, node: Node, _: int, args: tuple[Any, ...], replies: Replies) -> Any:
        condition, value = args
        name = node.parts[0] if condition else node.parts[1]
        if replies.calls and replies.calls[0].intent.name != name:
            self.seen.add("a branch that flips")
        given = {"value": value}
        return _given(self._child(replies, replies.nested(name, given), f"{label}/{name}", name, given, place=("", 1)))

    def _map(self, label: str, node: Node, _: int, args: tuple[Any, ...], replies: Replies) -> list[int]:
        [items] = args
        [name] = node.parts
        if replies.calls and [codec.decode_any(call.request)["value"] for call in replies.calls] != items:
            self.seen.add("a map of other items")
        given = [{"value": item} for item in items]
        found = [replies.nested(name, one, str(place)) for place, one in enumerate(given, 1)]
        found = [one if one is not None else replies.nested(name, given[place]) for place, one in enumerate(found)]
        outcomes: dict[int, Outcome] = {}
        for place in sorted(range(len(items)), key=lambda place: (found[place] is None, place)):
            lane = str(place + 1)
            outcomes[place] = self._child(
                replies, found[place], f"{label}[{place}]/{name}", name, given[place], place=(lane, place + 1)
            )
        ordered = [outcomes[place] for place in range(len(items))]
        if any(status == "blocked" for status, _ in ordered):
            raise Miss
        return [_given(one) for one in ordered]

    def _loop(self, label: str, node: Node, place: int, args: tuple[Any, ...], replies: Replies) -> Any:
        [state] = args
        [name] = node.parts
        above = label.rpartition("/")[0]
        until = self._glue(node, place, above)
        if (f"{static(label)}/until") in self.program.swaps:
            replies.disturbed = True
        count = 0
        for turn in range(LIMIT):
            given = {"value": state}
            own = f"{label}[{turn}]/{name}"
            count += 1
            state = _given(self._child(replies, replies.nested(name, given), own, name, given, place=("", turn + 1)))
            if until(state):
                break
        if replies.calls and len(replies.calls) != count:
            self.seen.add("a loop that runs more or less often")
        return state

    def _sub(self, label: str, _: Node, __: int, args: tuple[Any, ...], replies: Replies) -> int:
        return self._inner(label, args[0], replies)

    def _inner(self, label: str, value: int, replies: Replies) -> int:
        """The inner agent: its nodes are nested steps, its glue has no span."""
        values: dict[str, Any] = {}
        missed: list[Outcome] = []
        here = static(label)
        if any(
            address.rpartition("/")[0] == here and isinstance(stand_in, int) for address, stand_in in self.program.swaps.items()
        ):
            replies.disturbed = True
        nodes = self.program.part
        for place, node in enumerate(nodes):
            reads = [_value_name(nodes, source) for source in node.inputs if source >= 0]
            if not values.keys() >= set(reads):
                continue
            sources = [value if source < 0 else values[_value_name(nodes, source)] for source in node.inputs]
            args = self._args(node, place, label, sources)
            name = f"n{place}"
            given = dict(zip(_PARAMETERS[node.kind], args, strict=False))
            outcome = self._child(replies, replies.nested(name, given), f"{label}/{name}", name, given, place=("", 1), node=node)
            if outcome[0] != "ok":
                missed.append(outcome)
                continue
            values[name] = outcome[1]
            if node.kind == "map":
                values[f"s{place}"] = total(values[name])
        for outcome in missed:
            if outcome[0] == "error" and not is_chain(nodes):
                raise Ambiguous
            _given(outcome)
        found: int = values[_value_name(nodes, len(nodes) - 1)]
        return found

    # operations

    def _body(self, label: str, body: Body, below: tuple[str, ...], args: tuple[int, ...], replies: Replies) -> int:
        local = [start_of(args)]
        for op in body.ops:
            if op[0] == "ask":
                status, value = self._ask(replies, request_of(op, local), "")
                local.append(_caught(op, status, value, 1))
            elif op[0] == "call":
                name = below[op[1] % len(below)]
                given = {"value": request_of(op, local)}
                nth = replies.nth(name)
                own = call_address(label, None, name, "", nth)
                outcome = self._child(replies, replies.nested(name, given), own, name, given, place=("", nth), exact=False)
                if outcome[0] == "blocked":
                    raise Miss
                local.append(_caught(op, *outcome, 2))
            elif op[0] == "stream":
                local.append(self._stream(replies, op, request_of(op, local)))
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

    def _race(self, replies: Replies, request: int, lanes: list[str]) -> Outcome:
        taken = [replies.take("ask", request, lane) for lane in lanes]
        finished = [call for call in taken if call is not None and call.result is not None and call.result.status != "cancelled"]
        if finished:
            return _outcome(min(finished, key=lambda call: call.completion))
        return self._live(request)

    def _ask(self, replies: Replies, request: int, lane: str) -> Outcome:
        call = replies.take("ask", request, lane)
        if call is not None and call.result is not None and call.result.status != "cancelled":
            return _outcome(call)
        return self._live(request)

    def _live(self, request: int) -> Outcome:
        if not self.program.live:
            raise Miss
        answer = world("ask", request)
        return ("error", "provider") if answer == M - 1 else ("ok", answer)

    def _stream(self, replies: Replies, op: Op, request: int) -> int:
        call = replies.take("tell", request, "")
        if call is not None and call.result is not None:
            chunks = list(call.result.value[0])
            ended = call.result.status
        elif self.program.live:
            chunks, fails = live_stream(request)
            ended = "error" if fails else "ok"
        else:
            raise Miss
        if 0 < op[1] <= len(chunks):
            return int(sum(chunks[: op[1]]) % M)
        if ended == "cut":
            raise Miss
        if ended == "error":
            if not op[4]:
                raise StepFailed("provider")
            chunks = [*chunks, 5]
        return int(sum(chunks) % M)


_PARAMETERS = {"step": ("value", "other"), "branch": ("condition", "value"), "map": ("items",), "loop": ("value",)}


def _value_name(nodes: Sequence[Node], place: int) -> str:
    """Where others read a node's value: a map's is added up."""
    return f"s{place}" if nodes[place].kind == "map" else f"n{place}"


def _caught(op: Op, status: str, value: Any, instead: int) -> int:
    if status == "ok":
        return int(value)
    if not op[4]:
        raise StepFailed(value)
    return instead


def _given(outcome: Outcome) -> Any:
    status, value = outcome
    if status == "blocked":
        raise Miss
    if status != "ok":
        raise StepFailed(value)
    return value


def _told(result: Result) -> Outcome:
    return ("ok", result.value) if result.ok else (result.status, "" if result.error is None else result.error.message)


def _outcome(call: Call) -> Outcome:
    assert call.result is not None
    return _told(call.result)
