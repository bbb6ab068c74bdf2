"""Replaying a trace in which nothing is out of the ordinary, at a tenth of the cost.

Its code stands, its calls came one after the other, and every value of it is whole. Then the calls of a span can only be
answered in the order in which they were recorded, and comparing bytes is all there is to do. The first thing that is otherwise
ends it, and the replayer does the work: what is told here is what that one would have told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from replay.arguments import arguments
from replay.certificate import Entry
from replay.script import Door, Otherwise, Script
from replay.unknown import UnknownInput
from runtime import failure
from runtime.agent import Agent, NodeSpec
from runtime.declaration import Bound, StepInfo, describe
from runtime.effects import ITEM
from runtime.engine import run_step, run_step_sync
from runtime.fingerprint.traversal import MUTABLE_GLOBAL
from runtime.recording import EFFECT
from runtime.scope import Frame, call_address
from runtime.unrecorded import run_glue
from storage import codec
from storage.errors import CorruptRecord
from storage.pack.scan import Scanned, Unusual
from storage.records import Intent, Ref, Span

_EXTENSIONS: Final = b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8"
"""The bytes that an extension may begin with; where a value has none of them, it holds no stand-in."""
_LONG_EXTENSION, _VECTOR = 0xC8, 1
_NO_NODE: Final = frozenset("/[~#!")
"""What the address of a call may hold, so that a node's name with it may be another's."""
_NONE: Final = object()
_GIVEN_UP: Final = (Otherwise, Unusual, UnknownInput, CorruptRecord, codec.TypeChanged, msgspec.MsgspecError)


@attrs.frozen(eq=False)
class _Node:
    """A node as it is run here."""

    spec: NodeSpec
    inputs: tuple[tuple[int, Callable[[bytes], Any]], ...]
    fingerprint: bytes
    swap: StepInfo | None
    """What is run instead."""


@attrs.frozen(eq=False)
class Outcome:
    """What the replayer would have told."""

    entries: tuple[Entry, ...]
    same: bool
    """Whether the run ends as it was recorded."""


class FastPath:
    """Replays traces of one agent.

    Args:
        agent: whose code stands: it is of the fingerprint that the traces were recorded with.
        redact: applied to every value before it is encoded.
        swaps: steps by node, run instead of the recorded ones. Without any, every step is verified; else the others are reused.
    """

    def __init__(
        self, agent: Agent[Any, Any], redact: Callable[[Any], Any], swaps: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self.agent, self._redact = agent, redact
        instead = {name: describe(step) for name, step in (swaps or {}).items()}
        decoders = [spec.codec.decode for spec in agent.nodes]
        self._nodes = [
            _Node(
                spec,
                tuple((place, agent.input_codec.decode if place < 0 else decoders[place]) for place in spec.inputs),
                spec.step.fingerprint.digest,
                instead.get(spec.name),
            )
            for spec in agent.nodes
        ]
        self._known: dict[tuple[Any, ...], tuple[Entry, ...]] = {}
        self._graph = [[spec.name, spec.kind, list(spec.inputs)] for spec in agent.nodes]
        steps = {spec.name for spec in agent.nodes if spec.kind == "step" and not _NO_NODE.intersection(spec.name)}
        self._verifies = not instead
        self._ordinary = instead.keys() <= steps and all(spec.kind in {"step", "derive"} for spec in agent.nodes)
        if instead:
            # What a step that does not run may have left in a global of one that does, the replayer tells.
            code = [*instead.values(), *(spec.step for spec in agent.nodes)]
            self._ordinary &= not any(note.startswith(MUTABLE_GLOBAL) for one in code for note in one.fingerprint.notes)
        self._fits: dict[bytes, bool] = {}

    async def replay(self, trace: Scanned) -> Outcome | None:
        """Replay a trace, or None where the replayer has to."""
        if not self._ordinary or not self._is_of_graph(trace):
            return None
        try:
            run = _Run(self, trace, self._nodes, self._redact)
            return await (run.verify() if self._verifies else run.swap())
        except _GIVEN_UP:
            return None

    def _is_of_graph(self, trace: Scanned) -> bool:
        """Whether the recording says of its nodes what the agent says."""
        known = self._fits.get(trace.header.manifest)
        if known is None:
            try:
                known = [node[:3] for node in codec.decode_any(trace.manifest)[2]] == self._graph
            except (CorruptRecord, LookupError, TypeError):
                known = False
            self._fits[trace.header.manifest] = known
        return known

    def entries(self, told: list[tuple[str, str, str, str]]) -> tuple[Entry, ...]:
        """Entries of a certificate, one object for all traces that came out alike.

        Raises:
            Unusual: two are of one address.
        """
        key = tuple(told)
        known = self._known.get(key)
        if known is None:
            if len({address for address, *_ in told}) != len(told):
                raise Unusual
            known = self._known[key] = tuple(Entry(*one) for one in told)
        return known


class _Run:
    """One trace on the fast path."""

    def __init__(self, path: FastPath, trace: Scanned, nodes: list[_Node], redact: Callable[[Any], Any]) -> None:
        self.redact = redact
        self.outcomes = trace.outcomes
        self.by_intent: dict[int, tuple[int, Span]] = {}
        self._path, self._trace, self._nodes = path, trace, nodes
        self._told: list[tuple[str, str, str, str]] = []
        self.seed = trace.header.seed
        self._otherwise = False
        self._left = len(trace.intents)
        self._values: dict[Ref, bytes] = {}
        self._by_node: dict[int, tuple[int, Span]] = {}
        self._calls: dict[int, list[tuple[int, Intent]]] = {}

    def _sort(self) -> None:
        """Find the span of every node and of every nested call, and the calls of every span.

        Raises:
            Unusual: there are two in one place.
        """
        for item in self._trace.spans:
            span = item[1]
            place, there = (span.node, self._by_node) if span.node >= 0 else (span.intent, self.by_intent)
            if place in there:
                raise Unusual
            if span.node >= 0 or place:
                there[place] = item
        for call in self._trace.intents:
            parent = call[1].parent
            calls = self._calls.get(parent)
            if calls is None:
                self._calls[parent] = [call]
            else:
                calls.append(call)

    def _span(self, node: _Node) -> tuple[int, Span]:
        """What was recorded of a node.

        Raises:
            Unusual: it did not end well, took several attempts, or its code has changed.
        """
        found = self._by_node.get(node.spec.index)
        if found is None:
            raise Unusual
        span = found[1]
        if span.status != failure.OK or span.attempts or span.fingerprint != node.fingerprint:
            raise Unusual
        return found

    def give_up(self) -> Otherwise:
        """What to raise where glue does what only the replayer can tell of."""
        self._otherwise = True
        return Otherwise()

    def _outcome(self, output: bytes) -> Outcome:
        if self._otherwise or len(self._by_node) != len(self._nodes):
            raise Unusual
        return Outcome(self._path.entries(self._told), output == self.data(self._trace.end.output))

    # every step is verified

    async def verify(self) -> Outcome | None:
        trace, agent = self._trace, self._path.agent
        if trace.end.status != failure.OK:
            return None
        self._sort()
        given = self.data(trace.header.input)
        values: list[bytes] = []
        for node in self._nodes:
            found = self._span(node)
            recorded = self.data(found[1].output)
            args = tuple([decode(given if place < 0 else values[place]) for place, decode in node.inputs])
            spec = node.spec
            if spec.kind == "derive":
                if (
                    found[0] in self._calls
                    or self._encoded(run_glue(spec.name, Bound(spec.step, args, {}), Door(self)), spec.codec) != recorded
                ):
                    return None
            elif not await self._again(spec.step, spec.name, found, args, {}, recorded, spec.codec, sync=False):
                return None
            values.append(recorded)
        return self._outcome(given if agent.output < 0 else values[agent.output]) if not self._left else None

    async def _again(
        self, info: StepInfo, address: str, recorded: tuple[int, Span], args: tuple[Any, ...], kwargs: dict[str, Any],
        output: bytes, wanted: codec.Codec, *, sync: bool,
    ) -> bool:  # fmt: skip
        """Run a step on its recorded inputs, and the steps that it called: whether each asked and gave what was recorded."""
        script = self._script(recorded)
        self._told.append((address, "reproduced", "step", ""))
        value = await self._value(info, script, address, args, kwargs, sync=sync)
        if value is _NONE or script.asked != len(script.calls) or self._encoded(value, wanted) != output:
            return False
        for intent, request, answer, callee, nested, by_sync in script.taken:
            where = call_address(address, None, intent.name, "", intent.nth)
            if callee is None or nested is None:
                self._told.append((where, "reused", "effect", ""))
                continue
            more, named = arguments(request, callee, callee)
            if not await self._again(callee, where, nested, more, named, answer, callee.codec, sync=by_sync):
                return False
        return True

    # some steps are swapped, the others reused

    async def swap(self) -> Outcome | None:
        trace, agent = self._trace, self._path.agent
        if trace.end.status != failure.OK:
            return None
        self._sort()
        changed: dict[int, bytes] = {}

        def value(place: int) -> bytes:
            known = changed.get(place)
            if known is not None:
                return known
            return self.data(trace.header.input if place < 0 else self._by_node[place][1].output)

        for node in self._nodes:
            found, spec = self._span(node), node.spec
            other = any(place in changed for place in spec.inputs)
            if spec.kind == "step" and node.swap is None:
                if other:
                    return None  # what it asks then may be anything
                self._reuse(spec.name, found, "reused")
                continue
            args = tuple([decode(value(place)) for place, decode in node.inputs])
            if node.swap is not None:
                made = await self._swapped(spec, node.swap, found, args)
            elif found[0] in self._calls:
                return None
            else:
                made = self._encoded(run_glue(spec.name, Bound(spec.step, args, {}), Door(self)), spec.codec)
            if made is None or codec.holds_opaque(made) is not None:
                return None
            if made != self.data(found[1].output):
                if spec.kind == "derive" and not other:
                    return None
                changed[spec.index] = made
        return self._outcome(value(agent.output)) if not self._left else None

    async def _swapped(self, spec: NodeSpec, info: StepInfo, recorded: tuple[int, Span], args: tuple[Any, ...]) -> bytes | None:
        script = self._script(recorded)
        value = await self._value(info, script, spec.name, args, {}, sync=False)
        if value is _NONE:
            return None
        made = self._encoded(value, spec.codec)
        same = made == self.data(recorded[1].output)
        self._told.append((spec.name, "cut off" if same else "swapped", "step", "swapped" if same else ""))
        self._enter(spec.name, script.calls[: script.asked], "reused")
        self._enter(spec.name, script.calls[script.asked :], "dropped")
        return made

    def _reuse(self, address: str, recorded: tuple[int, Span], status: str) -> None:
        """Enter a span that did not run, with all below it."""
        number, span = recorded
        if span.attempts:
            raise Unusual
        self._told.append((address, status, "step", ""))
        self._enter(address, self._taken(number), status)

    def _enter(self, address: str, calls: list[tuple[int, Intent]], status: str) -> None:
        for number, intent in calls:
            if intent.flags & ITEM:
                raise Unusual
            where = call_address(address, None, intent.name, intent.lane, intent.nth)
            if intent.call == EFFECT:
                self._told.append((where, status, "effect", ""))
                continue
            nested = self.by_intent.get(number)
            if nested is None:
                raise Unusual
            self._reuse(where, nested, status)

    # running code

    def _taken(self, number: int) -> list[tuple[int, Intent]]:
        """The calls of a span, in the order in which they began."""
        calls = self._calls.get(number) or []
        if len(calls) > 1:
            calls.sort(key=_order)
        self._left -= len(calls)
        return calls

    def _script(self, recorded: tuple[int, Span]) -> Script:
        return Script(self, self._taken(recorded[0]), recorded[1])

    async def _value(
        self, info: StepInfo, script: Script, address: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, sync: bool
    ) -> Any:
        """What a step gives; `_NONE` where it gave none, or asked for something else than was recorded."""
        frame = Frame(script, 0, address, self.seed, script.wall)
        try:
            if sync:
                value = run_step_sync(info, args, kwargs, frame)
            else:
                value = await run_step(info, args, kwargs, frame, waits=False)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if failure.is_cancellation(error) and not script.otherwise:
                raise
            return _NONE
        return _NONE if script.otherwise else value

    def _encoded(self, value: Any, wanted: codec.Codec) -> bytes:
        return wanted.encode(self.redact(value))

    def data(self, ref: Ref) -> bytes:
        """The value of a reference.

        Raises:
            Unusual: it cannot be had, or nobody knows a part of it.
        """
        if type(ref) is bytes:
            if len(ref.translate(None, _EXTENSIONS)) != len(ref) and codec.holds_opaque(ref) is not None:
                raise Unusual
            return ref
        known = self._values.get(ref)
        if known is None:
            known = self._trace.value(ref)
            if not _is_vector(known) and codec.holds_opaque(known) is not None:
                raise Unusual
            self._values[ref] = known
        return known


def _is_vector(data: bytes) -> bool:
    """Whether a value is a `Vector` and nothing else. Its bytes are any, so a search would find much in them."""
    return data[0] == _LONG_EXTENSION and data[3] == _VECTOR and int.from_bytes(data[1:3], "big") == len(data) - 4


def _order(item: tuple[int, Intent]) -> tuple[int, int]:
    return item[1].start, item[0]
