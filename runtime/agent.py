"""Agents: finished graphs, immutable and told apart by their fingerprints."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import msgspec

from runtime.declaration import PLAIN, StepInfo, snake
from runtime.errors import BuildError
from runtime.fingerprint import Fingerprint
from runtime.parts import Part
from storage import codec
from storage.codec import Codec, show_type

A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)

_SHAPES: Final = {"step": ("[", "]"), "derive": ("([", "])"), "branch": ("{{", "}}")}
"""Of a node in a flowchart; what holds others is a subroutine."""


@attrs.frozen(eq=False)
class NodeSpec:
    """One node of a finished agent."""

    index: int
    name: str
    kind: str
    """step, derive, branch, map, loop or subgraph."""
    step: StepInfo
    inputs: tuple[int, ...]
    """Indexes of the nodes it reads, -1 for the run's input."""
    codec: Codec


class Agent(Generic[A, R_co]):
    """A finished graph. Made by `Graph.build`; nothing about it changes."""

    name: str
    input_type: Any
    input_codec: Codec
    result_type: Any
    nodes: tuple[NodeSpec, ...]
    output: int
    """Index of the node whose value a run returns, -1 for the run's input."""
    sequential: bool
    """Whether no two nodes can ever be ready at once."""
    fingerprint: bytes

    def __init__(self, name: str, input_type: Any, nodes: tuple[NodeSpec, ...], output: int) -> None:
        try:
            input_codec = Codec(input_type)
        except TypeError as error:
            raise BuildError(f"the input of graph {name} cannot be recorded: {error}") from error
        vars(self).update(
            name=name,
            input_type=input_type,
            input_codec=input_codec,
            result_type=input_type if output < 0 else nodes[output].codec.declared,
            nodes=nodes,
            output=output,
            sequential=_is_sequential(nodes),
        )
        vars(self)["fingerprint"] = self._fingerprint()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"agent {self.name} is finished: its {name} cannot be set")

    def _fingerprint(self) -> bytes:
        told = [
            self.name,
            codec.schema(self.input_type),
            [[spec.name, spec.kind, spec.inputs, spec.step.fingerprint.digest] for spec in self.nodes],
            self.output,
        ]
        return hashlib.blake2b(msgspec.msgpack.encode(told, order="sorted"), digest_size=16, person=b"agent").digest()

    async def __call__(self, value: A, /) -> R_co:
        """Run the graph's nodes as nested steps: a finished agent is a step of another graph."""
        from runtime.engine import run_inline  # noqa: PLC0415 - the engine needs the type of an agent

        return cast("R_co", await run_inline(self, value))

    def as_step(self) -> StepInfo:
        """How another graph runs this one."""
        parameter = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
        made = StepInfo(
            self, self.__call__, snake(self.name.rpartition(".")[2]), (parameter,), {"value": self.input_type},
            self.result_type, is_async=True, policy=PLAIN,
            parts=tuple([Part(spec.name, spec.kind, spec.step) for spec in self.nodes]),
        )  # fmt: skip
        inside = [spec.step.fingerprint for spec in self.nodes]
        notes = dict.fromkeys(note for one in inside for note in one.notes)
        reached = {name for one in inside for name in one.reached}
        made.keep_fingerprint(Fingerprint(self.fingerprint, tuple(notes), tuple(sorted(reached))))
        return made

    def to_text(self) -> str:
        """The graph, a line a node."""
        lines = [f"{self.name}({show_type(self.input_type)}) -> {show_type(self.result_type)}"]
        for spec in self.nodes:
            reads = ", ".join("input" if place < 0 else self.nodes[place].name for place in spec.inputs)
            flags = "".join(f"  {flag}" for flag in _flags(spec))
            mark = spec.step.fingerprint.digest.hex()[:4]
            lines.append(f"  {spec.name}({reads}) -> {show_type(spec.codec.declared)}  {mark}{flags}")
        return "\n".join(lines)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        lines = ["flowchart TD", f'    input(["{_label(show_type(self.input_type))}"])']
        for spec in self.nodes:
            shape = _SHAPES.get(spec.kind, ("[[", "]]"))
            lines.append(f'    n{spec.index}{shape[0]}"{_label(spec.name)}"{shape[1]}')
        for spec in self.nodes:
            for place in spec.inputs:
                source = self.input_type if place < 0 else self.nodes[place].codec.declared
                start = "input" if place < 0 else f"n{place}"
                lines.append(f'    {start} -- "{_label(show_type(source))}" --> n{spec.index}')
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Agent {self.name} {self.fingerprint.hex()[:8]}, {len(self.nodes)} nodes>"


def _label(text: str) -> str:
    return "".join(character if character.isalnum() or character in " _.,-" else f"#{ord(character)};" for character in text)


def _flags(spec: NodeSpec) -> list[str]:
    policy = spec.step.policy
    found = [] if spec.kind == "step" else [spec.kind]
    if policy.retry is not None:
        found.append(f"retry={policy.retry.attempts}")
    if policy.timeout is not None:
        found.append(f"timeout={policy.timeout:g}s")
    if policy.concurrency is not None:
        found.append(f"concurrency={policy.concurrency}")
    if policy.thread:
        found.append("thread")
    return found


def _is_sequential(nodes: tuple[NodeSpec, ...]) -> bool:
    """Whether at most one node can be ready at any moment, so that no task is needed."""
    done: set[int] = {-1}
    left = list(nodes)
    while left:
        ready = [spec for spec in left if done.issuperset(spec.inputs)]
        if len(ready) > 1:
            return False
        done.add(ready[0].index)
        left.remove(ready[0])
    return True
