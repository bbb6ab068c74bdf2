"""The graph builder: steps are declared, checked edge by edge, and built into an agent."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from runtime.agent import Agent, NodeSpec
from runtime.control_nodes import ControlNodes
from runtime.declaration import StepInfo, describe
from runtime.edge import Giver, check_edge, check_edges
from runtime.errors import BuildError
from runtime.node import Node, Placeholder
from runtime.output import OUTPUT, bind_output, output_step, shown_name
from storage.codec import Codec

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
Aw = Awaitable


class Graph(ControlNodes, Generic[I]):
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
        self, step: Callable[[A, B, C], Aw[R]], a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None
    ) -> Node[R]: ...
    @overload
    def add(
        self, step: Callable[[A, B, C, D], Aw[R]], a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None
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
        self, step: Callable[[A, B, C, D], R], a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None
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
        self, fn: Callable[[A, B, C, D], R], a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None
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
            output = self._add_output(make, args, kwargs)
            return Agent(self.name, self._input_type, tuple(self._nodes), output.index)
        finally:
            self._nodes = nodes

    def _add_output(self, make: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node[Any]:
        shown = shown_name(make)
        bound = bind_output(make, args, kwargs)
        if any(spec.name == OUTPUT for spec in self._nodes):
            raise BuildError(f"graph {self.name} has a step output, the name of what build({shown}, ...) makes: rename the step")
        nodes = tuple(placeholder.node for placeholder in (*args, *kwargs.values()))
        for node in nodes:
            self._check_own(node, OUTPUT)
        for parameter, want, node in bound:
            check_edge(shown, parameter, want, self._giver(node))
        return self._append(output_step(make, args, kwargs), nodes, OUTPUT, "derive")

    def _add(self, info: StepInfo, nodes: tuple[Node[Any], ...], name: str | None, kind: str) -> Node[Any]:
        chosen = name if name is not None else info.name
        if kind == "derive" and name is None and self._has(chosen):
            chosen = next(f"{chosen}_{n}" for n in range(2, 10_000) if not self._has(f"{chosen}_{n}"))
        for node in nodes:
            self._check_own(node, chosen)
        if len(nodes) <= MAX_EDGES:
            check_edges(chosen, info, [self._giver(node) for node in nodes])
        return self._place(info, nodes, chosen, kind)

    def _has(self, name: str) -> bool:
        return any(spec.name == name for spec in self._nodes)

    def _place(self, info: StepInfo, nodes: tuple[Node[Any], ...], name: str, kind: str) -> Node[Any]:
        if not _NAME.match(name):
            raise BuildError(f"{name!r} is no name of a step: letters, digits and _")
        if self._has(name):
            raise BuildError(f"graph {self.name} has a step {name} already: give this one a name of its own, name=...")
        if len(nodes) > MAX_EDGES:
            raise BuildError(f"step {name} has {len(nodes)} inputs; {MAX_EDGES} are the most: group some with derive")
        return self._append(info, nodes, name, kind)

    def _append(self, info: StepInfo, nodes: tuple[Node[Any], ...], name: str, kind: str) -> Node[Any]:
        try:
            made = Codec(info.result)
        except TypeError as error:
            raise BuildError(f"the result of step {name} cannot be recorded: {error}") from error
        index = len(self._nodes)
        _ = info.fingerprint  # an object that cannot be told apart from another is refused now, not at the first run
        self._nodes.append(NodeSpec(index, name, kind, info, tuple(node.index for node in nodes), made))
        return Node(self, index, name)

    def _check_own(self, node: Any, where: str) -> None:
        if isinstance(node, Placeholder):
            raise BuildError(f"step {where}: give the node {node.node.name} itself; .value is for build")
        if not isinstance(node, Node):
            raise BuildError(f"step {where}: {node!r} is no node of the graph; inputs are nodes")
        if node.graph is not self:
            raise BuildError(f"step {where}: node {node.name} belongs to graph {node.graph.name}, not to {self.name}")

    def _giver(self, node: Node[Any]) -> Giver:
        return node.name, self._input_type if node.index < 0 else self._nodes[node.index].codec.declared
