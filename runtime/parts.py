"""What lies inside a control node or an agent that runs as a step: its parts, by address, before any run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from runtime.agent import Agent
    from runtime.declaration import StepInfo


@attrs.frozen(eq=False)
class Part:
    """A step or glue that a control node or an agent runs."""

    name: str
    kind: str
    """As of a node: step, derive, branch, map, loop or subgraph."""
    step: StepInfo
    repeats: bool = False
    """Whether it is run once an iteration or item."""


def inside(address: str, info: StepInfo) -> Iterator[tuple[str, Part]]:
    """The parts of a step and theirs, each with its address without indexes."""
    for part in info.parts:
        below = f"{address}/{part.name}"
        yield below, part
        yield from inside(below, part.step)


def parts_of(agent: Agent[object, object]) -> dict[str, Part]:
    """Every part of an agent's nodes, by address without indexes."""
    return dict(one for spec in agent.nodes for one in inside(spec.name, spec.step))
