"""The recorded calls of one span as the full side of the law takes answers from them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from runtime.recording import Call, Span
from storage import codec


class Replies:
    """The recorded calls of one span, each used once."""

    def __init__(self, recorded: Span | None, label: str) -> None:
        self.calls = [] if recorded is None else recorded.calls
        self.disturbed = False
        """Whether a nested step makes the span run again."""
        self._label = label
        self._attempt = 1
        self._used: set[int] = set()
        self._taken: set[str] = set()
        self._count: dict[str, int] = defaultdict(int)
        self._spawned = 0

    def begin(self, attempt: int) -> None:
        """Calls of another attempt are counted anew."""
        self._attempt, self._spawned = attempt, 0
        self._count.clear()

    def spawn(self, count: int) -> int:
        self._spawned += count
        return self._spawned - count + 1

    def nth(self, name: str) -> int:
        self._count[name] += 1
        return self._count[name]

    def _free(self, name: str, given: dict[str, Any], *, effect: bool) -> list[Call]:
        return [
            call
            for call in self.calls
            if call.is_effect == effect
            and (call.intent.name, call.intent.attempt) == (name, self._attempt)
            and call.record not in self._used
            and codec.decode_any(call.request) == given
        ]

    def take(self, name: str, request: int, lane: str) -> Call | None:
        free = sorted(self._free(name, {"request": request}, effect=True), key=lambda call: call.intent.lane != lane)
        if not free:
            return None
        self._used.add(free[0].record)
        return free[0]

    def nested(self, name: str, given: dict[str, Any], lane: str | None = None) -> Call | None:
        """The recorded call of a nested step with these inputs; with a lane, only one of that."""
        free = [call for call in self._free(name, given, effect=False) if lane is None or call.intent.lane == lane]
        if not free:
            return None
        self._used.add(free[0].record)
        return free[0]

    def positional(self, name: str, lane: str, nth: int) -> Call | None:
        """The recorded call in the same place."""
        for call in self.calls:
            intent = call.intent
            here = (intent.name, intent.attempt, intent.lane, intent.nth) == (name, self._attempt, lane, nth)
            if here and not call.is_effect and call.record not in self._used:
                return call
        return None

    def take_label(self, found: Call | None, own: str) -> str:
        label = own if found is None else found.address
        if label in self._taken:
            # One that the recording does not have, of an iteration or item beyond: no swap names it.
            label = (
                re.sub(r"\[\d+\](?=/[^/]*\Z)", "[99]", own) if "[" in own.rpartition("/")[0].rpartition("/")[2] else f"{own}#0"
            )
        self._taken.add(label)
        return label
