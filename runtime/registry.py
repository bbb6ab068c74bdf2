"""Which known agent replays a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.agent import Agent
from runtime.errors import UnknownAgent
from runtime.recording import Recording


def choose(agents: Mapping[tuple[str, bytes], Agent[Any, Any]], found: Recording) -> Agent[Any, Any]:
    """The agent of the recorded name and fingerprint, else the only one of that name.

    Args:
        agents: that are known, by name and fingerprint.
        found: the trace.

    Raises:
        UnknownAgent: there is none, or several of that name and none of that fingerprint.
    """
    same = [one for (name, _), one in agents.items() if name == found.agent]
    for one in same:
        if one.fingerprint == found.fingerprint:
            return one
    if len(same) == 1:
        return same[0]
    if same:
        raise UnknownAgent(
            f"trace {found.trace_id} was recorded by agent {found.agent!r} of fingerprint {found.fingerprint.hex()[:8]}; "
            f"here are {len(same)} of that name and none of that fingerprint: say which, with agent=..."
        )
    known = ", ".join(sorted({name for name, _ in agents})) or "none"
    raise UnknownAgent(
        f"trace {found.trace_id} was recorded by agent {found.agent!r}; known here: {known}. Register it with "
        f"runtime.register(agent), pass agent=..., or write in kitchenlog.toml: "
        f'agents = ["your_module:{found.agent.rpartition(".")[2]}"]'
    )
