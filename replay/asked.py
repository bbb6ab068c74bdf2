"""A call that a span makes in a replay."""

from __future__ import annotations

import time
from typing import Any

import attrs

from runtime.attributes import clean_attributes
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
    attributes: dict[str, Any] = attrs.field(factory=dict)
    """Of a live call: what it told of itself."""
    duration_ns: int | None = None
    """Of a live call that has ended."""
    _began: int = 0

    def go_live(self) -> None:
        """The call is made for real, from now on."""
        self.live, self._began = True, time.perf_counter_ns()

    def come_back(self, result: Result, attributes: dict[str, Any] | None) -> None:
        """A live call has ended."""
        self.result, self.attributes = result, clean_attributes(attributes or {}) or {}
        self.duration_ns = time.perf_counter_ns() - self._began
