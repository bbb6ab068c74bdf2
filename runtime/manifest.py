"""The description of an agent that a recording carries, so that it opens without the agent's code."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.agent import Agent
from runtime.parts import parts_of
from storage import codec


def describe_agent(agent: Agent[Any, Any]) -> bytes:
    """The manifest of an agent (docs/format.md, section 5)."""
    nodes = [
        [
            spec.name, spec.kind, list(spec.inputs), spec.step.fingerprint.digest, spec.step.name,
            [parameter.name for parameter in spec.step.parameters], [codec.as_utf8(note) for note in spec.step.fingerprint.notes],
        ]
        for spec in agent.nodes
    ]  # fmt: skip
    schemas: dict[str, Any] = {}
    for declared in (agent.input_type, *(spec.codec.declared for spec in agent.nodes)):
        schemas.setdefault(codec.show_type(declared), codec.schema(declared))
    nested = {address: part.step.fingerprint.digest for address, part in parts_of(agent).items()}
    return msgspec.msgpack.encode([agent.name, agent.fingerprint, nodes, nested, schemas, agent.output])
