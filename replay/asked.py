"""A call that a span makes in a replay."""

from __future__ import annotations

import attrs

from runtime.recording import Call, Result
from storage.values import StandIn


@attrs.define(eq=False)
class Asked:
    """What was asked, and what came of it."""

    address: str
    name: str
    attempt: int
    lane: str
    nth: int
    request: bytes
    unknown: StandIn | None
    """What of the request could not be encoded: no recorded answer is known to be one to it."""
    effect: bool
    flags: int = 0
    """As they are stored with an intent."""
    held: str = ""
    """Why it may not be made live, where something other than its name forbids it."""
    live: bool = False
    recorded: Call | None = None
    """The call that answers it."""
    result: Result | None = None
