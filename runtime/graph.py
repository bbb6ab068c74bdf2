"""Typed step graphs: declared, checked, built once, and immutable from then on."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload

import attrs
import msgspec

from runtime.assignable import assignable
from runtime.declaration import PLAIN, StepInfo, describe, snake
from runtime.errors import BuildError
from runtime.fingerprint import Fingerprint
from storage import codec
from storage.codec import Codec, show_type

T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
I = TypeVar("I")  # noqa: E741 - the input
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
P = ParamSpec("P")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_GRAPH_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
MAX_EDGES: Final = 8


class Node(Generic[T_co]):
    """The value that a step of a graph will have."""

    __slots__ = ("graph", "index", "name")

    def __init__(self, graph: Graph[Any], index: int, name: str) -> None:
        self.graph, self.index, self.name = graph, index, name

    @property
    def value(self) -> T_co:
        """Stands for the value in `Graph.build(make, field=node.value)`; it is not the value itself."""
        return cast("T_co", Placeholder(self))

    def __bool__(self) -> bool:
        raise BuildError(f"node {self.name} has no value while the graph is declared, so nothing can be decided by it")

    def __repr__(self) -> str:
        return f"<Node {self.name}>"


class Placeholder:
    """What `node.value` is while a graph is declared."""

    def __init__(self, node: Node[Any]) -> None:
        self.node = node

    def __getattr__(self, name: str) -> Any:
        raise BuildError(f"{self.node.name}.value stands for a value that is not there yet: .{name} cannot be read; use derive")

    def __bool__(self) -> bool:
        raise BuildError(f"{self.node.name}.value stands for a value that is not there yet: nothing can be decided by it")


@attrs.frozen(eq=False)
class NodeSpec:
    """One node of a finished agent."""

    index: int
    name: str
    kind: str
    """step or derive."""
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
        from runtime.engine import run_inline  # noqa: PLC0415 - the engine needs the graph's types

        return cast("R_co", await run_inline(self, value))

    def as_step(self) -> StepInfo:
        """How another graph runs this one."""
        parameter = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
        made = StepInfo(
            self, self.__call__, snake(self.name.rpartition(".")[2]), (parameter,), {"value": self.input_type},
            self.result_type, is_async=True, policy=PLAIN,
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
            shape = ("[", "]") if spec.kind == "step" else ("([", "])")
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
    found = [] if spec.kind == "step" else ["derive"]
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


def _hints_of(make: Any) -> dict[str, Any]:
    """The annotations of a callable: of a class its fields and what its `__init__` takes."""
    found: dict[str, Any] = {}
    for told in (make, make.__init__) if inspect.isclass(make) else (make,):
        with contextlib.suppress(Exception):  # unresolvable or none: the checkers see to it
            found.update(typing.get_type_hints(told))
    return found


Aw = Awaitable


class Graph(Generic[I]):
    """A graph that is being declared.

    Args:
        name: of the agent, for instance `refund_chat.turn`.
        input: the type of a run's input.
    """

    input: Node[I]

    def __init__(self, name: str, input: type[I]) -> None:  # noqa: A002 - the public name of the parameter
        if not _GRAPH_NAME.match(name):
            raise BuildError(f"{name!r} is no name of a graph: letters, digits, _ and dots")
        self.name = name
        self._input_type = input
        self.input = Node(self, -1, "input")
        self._nodes: list[NodeSpec] = []

    @overload
    def add(self, step: Callable[[], Aw[R]], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[A], Aw[R]], a: Node[A], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[A, B], Aw[R]], a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F, G], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F, G, H], Aw[R]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        h: Node[H],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[], R], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[A], R], a: Node[A], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[A, B], R], a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(self, step: Callable[[A, B, C], R], a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F, G], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        step: Callable[[A, B, C, D, E, F, G, H], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        h: Node[H],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    def add(self, step: Any, /, *nodes: Node[Any], name: str | None = None) -> Node[Any]:
        """Add a step.

        Args:
            step: an async or sync callable, or a finished agent.
            nodes: its inputs, by position, at most 8.
            name: its address; by default the step's name in snake case.

        Raises:
            BuildError: it is no step, or an edge does not fit; the text names both steps and both types.
        """
        return self._add(describe(step), nodes, name, "step")

    @overload
    def derive(self, fn: Callable[[A], R], a: Node[A], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def derive(self, fn: Callable[[A, B], R], a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R]: ...
    @overload
    def derive(
        self, fn: Callable[[A, B, C], R], a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None
    ) -> Node[R]: ...
    @overload
    def derive(
        self,
        fn: Callable[[A, B, C, D], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def derive(
        self,
        fn: Callable[[A, B, C, D, E], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def derive(
        self,
        fn: Callable[[A, B, C, D, E, F], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def derive(
        self,
        fn: Callable[[A, B, C, D, E, F, G], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def derive(
        self,
        fn: Callable[[A, B, C, D, E, F, G, H], R],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        d: Node[D],
        e: Node[E],
        f: Node[F],
        g: Node[G],
        h: Node[H],
        /,
        *,
        name: str | None = None,
    ) -> Node[R]: ...
    def derive(self, fn: Any, /, *nodes: Node[Any], name: str | None = None) -> Node[Any]:
        """Add glue: a pure sync function that makes no calls. It has an address and a digest, and no span.

        Raises:
            BuildError: as `add`; or it is async.
        """
        info = describe(fn)
        if info.is_async:
            raise BuildError(f"{info.name} is async; glue is computed at once: add it as a step")
        return self._add(info, nodes, name, "derive")

    @overload
    def build(self, out: Node[R], /) -> Agent[I, R]: ...
    @overload
    def build(self, make: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Agent[I, R]: ...
    def build(self, make: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Finish the graph.

        Args:
            make: the node whose value a run returns, or what makes the result out of values (`node.value`).
            args: values for `make`, by position.
            kwargs: values for `make`, by name.

        Raises:
            BuildError: a value is no `node.value` of this graph, or does not fit.
        """
        nodes = list(self._nodes)
        try:
            if isinstance(make, Node):
                if args or kwargs:
                    raise BuildError("build(node) takes nothing else; build(make, field=node.value) makes a value")
                self._check_own(make, "build")
                return Agent(self.name, self._input_type, tuple(nodes), make.index)
            output = self._build_output(make, args, kwargs)
            return Agent(self.name, self._input_type, tuple(self._nodes), output)
        finally:
            self._nodes = nodes

    def _build_output(self, make: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        shown = snake(getattr(make, "__name__", type(make).__name__))
        if inspect.iscoroutinefunction(make):
            raise BuildError(f"{shown} is async; what build makes is computed at once: add it as a step")
        hints = _hints_of(make)
        given = {**{str(place): value for place, value in enumerate(args)}, **kwargs}
        for key, value in given.items():
            if isinstance(value, Node):
                raise BuildError(f"build({shown}, ...): {key} is a node; give {value.name}.value")
            if not isinstance(value, Placeholder):
                raise BuildError(f"build({shown}, ...): {key} is {value!r}, not the .value of a node")
        try:
            bound = inspect.signature(make).bind(*args, **kwargs)
        except TypeError as error:
            raise BuildError(f"build({shown}, ...): {error}") from error
        if any(spec.name == "output" for spec in self._nodes):
            raise BuildError(f"graph {self.name} has a step output, the name of what build({shown}, ...) makes: rename the step")
        nodes = [placeholder.node for placeholder in given.values()]
        for key, placeholder in bound.arguments.items():
            if isinstance(placeholder, Placeholder):
                self._check_edge(shown, key, hints.get(key, Any), placeholder.node)
        count, names = len(args), tuple(kwargs)

        def assemble(*values: Any) -> Any:
            return make(*values[:count], **dict(zip(names, values[count:], strict=True)))

        parameters = tuple(
            inspect.Parameter(f"p{key}" if key.isdigit() else key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in given
        )
        result = make if inspect.isclass(make) else hints.get("return", Any)
        info = StepInfo(make, assemble, "output", parameters, {}, result, is_async=False, policy=PLAIN)
        made = info.fingerprint
        wired = msgspec.msgpack.encode([made.digest, list(given)])  # which value becomes which field is part of the glue
        info.keep_fingerprint(
            Fingerprint(hashlib.blake2b(wired, digest_size=16, person=b"output").digest(), made.notes, made.reached)
        )
        return self._add(info, tuple(nodes), "output", "derive", checked=True).index

    def _add(
        self,
        info: StepInfo,
        nodes: tuple[Node[Any], ...],
        name: str | None,
        kind: str,
        *,
        checked: bool = False,
    ) -> Node[Any]:
        chosen = name if name is not None else info.name
        if not _NAME.match(chosen):
            raise BuildError(f"{chosen!r} is no name of a step: letters, digits and _")
        if any(spec.name == chosen for spec in self._nodes):
            if kind == "derive" and name is None:
                chosen = next(
                    f"{chosen}_{n}" for n in range(2, 10_000) if not any(spec.name == f"{chosen}_{n}" for spec in self._nodes)
                )
            else:
                raise BuildError(f"graph {self.name} has a step {chosen} already: give this one a name of its own, name=...")
        if len(nodes) > MAX_EDGES and not checked:
            raise BuildError(f"step {chosen} has {len(nodes)} inputs; {MAX_EDGES} are the most: group some with derive")
        for node in nodes:
            self._check_own(node, chosen)
        if not checked:
            self._check_edges(info, chosen, nodes)
        try:
            made = Codec(info.result)
        except TypeError as error:
            raise BuildError(f"the result of step {chosen} cannot be recorded: {error}") from error
        index = len(self._nodes)
        _ = info.fingerprint  # an object that cannot be told apart from another is refused now, not at the first run
        self._nodes.append(NodeSpec(index, chosen, kind, info, tuple(node.index for node in nodes), made))
        return Node(self, index, chosen)

    def _check_own(self, node: Any, where: str) -> None:
        if isinstance(node, Placeholder):
            raise BuildError(f"step {where}: give the node {node.node.name} itself; .value is for build")
        if not isinstance(node, Node):
            raise BuildError(f"step {where}: {node!r} is no node of the graph; inputs are nodes")
        if node.graph is not self:
            raise BuildError(f"step {where}: node {node.name} belongs to graph {node.graph.name}, not to {self.name}")

    def _check_edges(self, info: StepInfo, name: str, nodes: tuple[Node[Any], ...]) -> None:
        positional = [p for p in info.parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
        rest = next((p for p in info.parameters if p.kind is p.VAR_POSITIONAL), None)
        required = [p for p in positional if p.default is p.empty]
        if len(nodes) < len(required):
            missing = ", ".join(p.name for p in required[len(nodes) :])
            raise BuildError(f"step {name} gets {len(nodes)} inputs and needs {len(required)}: {missing} missing")
        if len(nodes) > len(positional) and rest is None:
            raise BuildError(f"step {name} gets {len(nodes)} inputs and takes {len(positional)}")
        for place, node in enumerate(nodes):
            parameter = positional[place] if place < len(positional) else rest
            assert parameter is not None
            self._check_edge(name, parameter.name, info.hints.get(parameter.name, Any), node)

    def _check_edge(self, name: str, parameter: str, want: Any, node: Node[Any]) -> None:
        have = self._input_type if node.index < 0 else self._nodes[node.index].codec.declared
        if not assignable(have, want):
            raise BuildError(
                f"step {name}: its parameter {parameter} is {show_type(want)}, and {node.name} gives {show_type(have)}"
            )
