"""Which of the agents known here replays a trace."""

from __future__ import annotations

from typing import Any

from runtime.agent import Agent
from runtime.errors import UnknownAgent
from runtime.recording import Recording

Agents = dict[tuple[str, bytes], Agent[Any, Any]]
"""By name and fingerprint."""


def agent_of(agents: Agents, found: Recording) -> Agent[Any, Any]:
    """The agent of the recorded name and fingerprint, else the only one of that name.

    Raises:
        UnknownAgent: there is none, or there are several and none is the recorded one.
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
