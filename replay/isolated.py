"""Replays in a process of their own, where the kernel refuses what Python's guard cannot see."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from replay import plan, worker
from replay.alignment import compare_recordings
from replay.certificate import Certificate
from replay.replayer import Replayer
from replay.result import Replay
from replay.selection import Request
from replay.spelling import spell
from replay.trace_diff import TraceDiff
from replay.transcript import issued
from runtime.agent import Agent
from runtime.errors import RuntimeMisuse
from runtime.recording import Recording


@attrs.define(eq=False)
class IsolatedReplay(Replay):
    """What a replay did in another process."""

    load: Callable[[str], Recording] = attrs.field(kw_only=True)
    """Reads a trace back."""

    def diff(self) -> TraceDiff:
        """What came out otherwise than in the recording, address by address."""
        return compare_recordings(self.recording, self.load(self.trace_id))


async def replay_isolated(
    recording: Recording,
    agent: Agent[Any, Any],
    request: Request,
    *,
    store: str,
    backend: str,
    redact: Callable[[Any], Any],
    swap: Mapping[str, Any] | None,
    call: str,
    load: Callable[[str], Recording],
) -> Replay:
    """Replay a recording in a process of its own.

    Raises:
        RuntimeMisuse: something cannot be sent there or done there; the text says what.
    """
    if request.live or request.needed or request.overrides or request.paced:
        raise RuntimeMisuse(
            "isolated=True takes no live, no override and no pace: the process has no sockets, and a value is not sent to it; "
            "write the value as a step, and swap that in"
        )
    report = await worker.ask(
        worker.Job(
            path=list(sys.path), store=store, backend=backend, redact=spell(redact, "redact"), trace=recording.trace_id,
            agent=spell(agent, f"the agent {agent.name}"), code="recorded" if request.use_recorded_code else "current",
            swap={address: spell(step, f"the step for {address}") for address, step in (swap or {}).items()},
            strict=request.strict, control=request.control,
        ),
        {},
    )  # fmt: skip
    blocked = tuple(worker.blocked(one) for one in report.blocked)
    certificate = issued(Certificate(recording.trace_id, report.certified()), recording, agent, report.trace_id)
    return IsolatedReplay(
        recording, plan.make(recording, agent, request), certificate, blocked,
        tuple(report.ran), tuple(report.notes), 0.0, None if report.result is None else report.result.result(),
        Replayer(recording, agent, request, redact=redact), call, report.trace_id, tuple(report.controlled), load=load,
    )  # fmt: skip
