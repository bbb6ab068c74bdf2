"""Agents of one step or two, and what is asked of their traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import runtime
from replay.result import Replay
from runtime import Graph

LONE: Final = "a\ud800b"
"""A text that UTF-8 does not have."""


def only(fn: Callable[..., Any], given: Any = int) -> runtime.Agent[Any, Any]:
    """An agent of one step."""
    graph = Graph("only", input=given)
    return graph.build(graph.add(fn, graph.input))


def last(kitchen: runtime.Runtime) -> runtime.Recording:
    """The newest trace; all of it can be shown."""
    recording = kitchen.open(kitchen.list(limit=1)[0].trace_id)
    assert json.dumps(recording.to_json(), allow_nan=False).encode()
    return recording


def is_ok(replay: Replay, output: Any) -> bool:
    """Whether a replay calls itself ok, which it may only with this output."""
    if replay.certificate.ok:
        assert replay.output == output
    return replay.certificate.ok


async def echo(given: Any) -> Any:
    return given


def pair(first: Callable[..., Any], second: Callable[..., Any]) -> runtime.Agent[int, Any]:
    graph = Graph("pair", input=int)
    return graph.build(graph.add(second, graph.add(first, graph.input)))
