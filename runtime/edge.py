"""Edges: whether what nodes give fits what a step takes, by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.assignable import assignable
from runtime.declaration import StepInfo
from runtime.errors import BuildError
from storage.codec import show_type

Giver = tuple[str, Any]
"""A node's name and the type of its value."""


def check_edges(step: str, info: StepInfo, givers: Sequence[Giver]) -> None:
    """See that a step gets as many inputs as it takes, each of a type that fits.

    Raises:
        BuildError: they do not fit; the text names both steps, the parameter and both types.
    """
    positional = [p for p in info.parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    rest = next((p for p in info.parameters if p.kind is p.VAR_POSITIONAL), None)
    required = [p for p in positional if p.default is p.empty]
    if len(givers) < len(required):
        missing = ", ".join(p.name for p in required[len(givers) :])
        raise BuildError(f"step {step} gets {len(givers)} inputs and needs {len(required)}: {missing} missing")
    if len(givers) > len(positional) and rest is None:
        raise BuildError(f"step {step} gets {len(givers)} inputs and takes {len(positional)}")
    for place, giver in enumerate(givers):
        parameter = positional[place] if place < len(positional) else rest
        assert parameter is not None
        check_edge(step, parameter.name, info.hints.get(parameter.name, Any), giver)


def check_edge(step: str, parameter: str, want: Any, giver: Giver) -> None:
    """See that what a node gives may be the value of a step's parameter.

    Raises:
        BuildError: it may not.
    """
    name, have = giver
    if not assignable(have, want):
        raise BuildError(f"step {step}: its parameter {parameter} is {show_type(want)}, and {name} gives {show_type(have)}")
