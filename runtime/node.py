"""Nodes: what stands for a step's value while its graph is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from runtime.errors import BuildError

if TYPE_CHECKING:
    from runtime.graph import Graph

T_co = TypeVar("T_co", covariant=True)


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
