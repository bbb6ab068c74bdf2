"""State outside the graph: a mutable global of a step that ran and of one that did not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs

from replay.certificate import Entry
from replay.selection import Request
from runtime.agent import Agent
from runtime.declaration import StepInfo, describe
from runtime.fingerprint.traversal import MUTABLE_GLOBAL


def with_shared_state(
    entries: Sequence[Entry], agent: Agent[Any, Any], request: Request, ran: Collection[str]
) -> tuple[Entry, ...]:
    """Entries whose reasons also say what a step that was not run may have left in a global that the step reads."""
    steps = [spec for spec in agent.nodes if spec.kind == "step"]
    idle = {spec.name: _globals(spec.step) for spec in steps if spec.name not in ran}
    found: dict[str, str] = {}
    for spec in steps:
        if spec.name not in idle:
            swap = request.swaps.get(spec.name)
            reads = _globals(spec.step if swap is None else describe(swap))
            shared = [
                f"{name}, as {other} does, which did not run" for other, its in idle.items() for name in its if name in reads
            ]
            if shared:
                found[spec.name] = f"{MUTABLE_GLOBAL}{'; '.join(shared)}"
    return tuple(
        attrs.evolve(entry, reason="; ".join(filter(None, (entry.reason, found[entry.address]))))
        if entry.address in found
        else entry
        for entry in entries
    )


def _globals(step: StepInfo) -> list[str]:
    return [note.removeprefix(MUTABLE_GLOBAL) for note in step.fingerprint.notes if note.startswith(MUTABLE_GLOBAL)]
