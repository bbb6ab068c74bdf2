"""The control nodes of a graph: branch, map, loop and subgraph, typed as far as both checkers can."""

from __future__ import annotations

import abc
from collections.abc import Awaitable as Aw
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from runtime.agent import Agent
from runtime.control import branch_step, loop_step, map_step
from runtime.declaration import StepInfo, describe
from runtime.edge import Giver, check_edges
from runtime.node import Node

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class ControlNodes(abc.ABC):
    """The part of `Graph` that declares control nodes. What they run are steps or finished agents, never nodes."""

    # fmt: off
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A], Aw[R]], otherwise: Callable[[A], Aw[S]], a: Node[A], /, *,
        name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A], Aw[R]], otherwise: Callable[[A], S], a: Node[A], /, *,
        name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A], R], otherwise: Callable[[A], Aw[S]], a: Node[A], /, *,
        name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A], R], otherwise: Callable[[A], S], a: Node[A], /, *,
        name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B], Aw[R]], otherwise: Callable[[A, B], Aw[S]],
        a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B], Aw[R]], otherwise: Callable[[A, B], S],
        a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B], R], otherwise: Callable[[A, B], Aw[S]],
        a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B], R], otherwise: Callable[[A, B], S],
        a: Node[A], b: Node[B], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C], Aw[R]], otherwise: Callable[[A, B, C], Aw[S]],
        a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C], Aw[R]], otherwise: Callable[[A, B, C], S],
        a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C], R], otherwise: Callable[[A, B, C], Aw[S]],
        a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C], R], otherwise: Callable[[A, B, C], S],
        a: Node[A], b: Node[B], c: Node[C], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C, D], Aw[R]], otherwise: Callable[[A, B, C, D], Aw[S]],
        a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C, D], Aw[R]], otherwise: Callable[[A, B, C, D], S],
        a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C, D], R], otherwise: Callable[[A, B, C, D], Aw[S]],
        a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None) -> Node[R | S]: ...
    @overload
    def branch(self, condition: Node[bool], then: Callable[[A, B, C, D], R], otherwise: Callable[[A, B, C, D], S],
        a: Node[A], b: Node[B], c: Node[C], d: Node[D], /, *, name: str | None = None) -> Node[R | S]: ...
    # fmt: on
    def branch(self, condition: Any, then: Any, otherwise: Any, /, *nodes: Any, name: str | None = None) -> Any:
        """Run one of two steps.

        The arm that runs is the nested step `name/arm`, the other leaves no span. Where both have one name, the second is
        called `arm_2`.

        Args:
            condition: a node of bool, by `derive` for instance.
            then: runs where it is true.
            otherwise: runs where it is false.
            nodes: the inputs of either, by position; four have types, up to eight are taken.
            name: its address; by default `branch_` and the condition's name.

        Raises:
            BuildError: as `add`, for either arm.
        """
        where = name if name is not None else f"branch_{self._name_of(condition)}"
        given, (asked, *givers) = self._given(where, (condition, *nodes))
        return self._place(branch_step(where, asked, then, otherwise, givers), given, where, "branch")

    # fmt: off
    @overload
    def map(self, step: Callable[[T], Aw[R]], items: Node[Sequence[T]], /, *, concurrency: int | None = None,
        name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A], Aw[R]], items: Node[Sequence[T]], a: Node[A], /, *, concurrency: int | None = None,
        name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A, B], Aw[R]], items: Node[Sequence[T]], a: Node[A], b: Node[B], /, *,
        concurrency: int | None = None, name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A, B, C], Aw[R]], items: Node[Sequence[T]], a: Node[A], b: Node[B], c: Node[C], /, *,
        concurrency: int | None = None, name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T], R], items: Node[Sequence[T]], /, *, concurrency: int | None = None,
        name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A], R], items: Node[Sequence[T]], a: Node[A], /, *, concurrency: int | None = None,
        name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A, B], R], items: Node[Sequence[T]], a: Node[A], b: Node[B], /, *,
        concurrency: int | None = None, name: str | None = None) -> Node[list[R]]: ...
    @overload
    def map(self, step: Callable[[T, A, B, C], R], items: Node[Sequence[T]], a: Node[A], b: Node[B], c: Node[C], /, *,
        concurrency: int | None = None, name: str | None = None) -> Node[list[R]]: ...
    # fmt: on
    def map(self, step: Any, items: Any, /, *nodes: Any, concurrency: int | None = None, name: str | None = None) -> Any:
        """Run a step on every item of a sequence, all at once; results in the items' order.

        Item `i`, from 0, is the nested step `name[i]/step`. All items run even where one fails; then the failure of the
        first that failed, by place, is raised.

        Args:
            step: what runs, with an item as its first input.
            items: a node of a sequence.
            nodes: its other inputs, the same for every item.
            concurrency: how many items run at a time; by default all.
            name: its address; by default `map_` and the step's name.

        Raises:
            BuildError: as `add`, for the step.
        """
        where = name if name is not None else f"map_{describe(step).name}"
        given, givers = self._given(where, (items, *nodes))
        return self._place(map_step(where, step, givers, concurrency), given, where, "map")

    # fmt: off
    @overload
    def loop(self, body: Callable[[T], Aw[T]], start: Node[T], /, *, until: Callable[[T], bool], limit: int,
        name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A], Aw[T]], start: Node[T], a: Node[A], /, *, until: Callable[[T], bool], limit: int,
        name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A, B], Aw[T]], start: Node[T], a: Node[A], b: Node[B], /, *,
        until: Callable[[T], bool], limit: int, name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A, B, C], Aw[T]], start: Node[T], a: Node[A], b: Node[B], c: Node[C], /, *,
        until: Callable[[T], bool], limit: int, name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T], T], start: Node[T], /, *, until: Callable[[T], bool], limit: int,
        name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A], T], start: Node[T], a: Node[A], /, *, until: Callable[[T], bool], limit: int,
        name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A, B], T], start: Node[T], a: Node[A], b: Node[B], /, *, until: Callable[[T], bool],
        limit: int, name: str | None = None) -> Node[T]: ...
    @overload
    def loop(self, body: Callable[[T, A, B, C], T], start: Node[T], a: Node[A], b: Node[B], c: Node[C], /, *,
        until: Callable[[T], bool], limit: int, name: str | None = None) -> Node[T]: ...
    # fmt: on
    def loop(self, body: Any, start: Any, /, *nodes: Any, until: Any, limit: int, name: str | None = None) -> Any:
        """Run a step on its own outcome until a condition holds; its value is the last outcome.

        Iteration `i`, from 0, is the nested step `name[i]/body`; at least one runs. The span's attribute `loop.ended` is
        `until`, or `limit` where the condition never held.

        Args:
            body: what runs, with the state as its first input and its result.
            start: the state that the first iteration is given.
            nodes: its other inputs, the same for every iteration.
            until: glue: whether a state is the last. Its address is `name/until`.
            limit: how many iterations at most.
            name: its address; by default `loop_` and the step's name.

        Raises:
            BuildError: as `add`, for the step and the condition.
        """
        where = name if name is not None else f"loop_{describe(body).name}"
        given, givers = self._given(where, (start, *nodes))
        return self._place(loop_step(where, body, givers, until, limit), given, where, "loop")

    def subgraph(self, agent: Agent[A, R], node: Node[A], /, *, name: str | None = None) -> Node[R]:
        """Run a finished agent as a step; its nodes are the nested steps `name/node`.

        Args:
            agent: what runs.
            node: its input.
            name: its address; by default the last part of the agent's name.

        Raises:
            BuildError: as `add`.
        """
        info = describe(agent)
        where = name if name is not None else info.name
        given, givers = self._given(where, (node,))
        check_edges(where, info, givers)
        return self._place(info, given, where, "subgraph")

    def _given(self, where: str, nodes: tuple[Any, ...]) -> tuple[tuple[Node[Any], ...], list[Giver]]:
        for node in nodes:
            self._check_own(node, where)
        return nodes, [self._giver(node) for node in nodes]

    @staticmethod
    def _name_of(node: Any) -> str:
        return node.name if isinstance(node, Node) else "condition"

    @abc.abstractmethod
    def _place(self, info: StepInfo, nodes: tuple[Node[Any], ...], name: str, kind: str) -> Node[Any]:
        """Append a node whose edges are checked."""

    @abc.abstractmethod
    def _check_own(self, node: Any, where: str) -> None:
        """See that it is a node of this graph."""

    @abc.abstractmethod
    def _giver(self, node: Node[Any]) -> Giver:
        """Its name and type."""
