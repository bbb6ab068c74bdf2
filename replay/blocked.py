"""Calls that a replay could not answer, and what would allow them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from replay.difference import Change, changes
from runtime.effects import SIDE_EFFECT
from runtime.plain import plain
from runtime.recording import Call
from storage import codec

if TYPE_CHECKING:
    from replay.asked import Asked


@attrs.frozen
class Blocked:
    """One call at the frontier."""

    address: str
    request: Any
    """As plain data."""
    nearest: str | None
    """The address of the recorded call that is most like it."""
    fields: tuple[Change, ...]
    """From the nearest recorded request to this one."""
    side_effect: bool
    reason: str
    needs_usd: float | None = None
    """Where a budget is set: the one that reaches this call, infinite where its cost is not known."""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "address": self.address,
            "request": plain(self.request),
            "nearest": self.nearest,
            "fields": [field.to_json() for field in self.fields],
            "side_effect": self.side_effect,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        lines = [f"{self.address}  blocked: {self.reason}"]
        if self.nearest is not None:
            lines.append(f"    nearest recorded request: {self.nearest}")
        lines += [f"    {field}" for field in self.fields]
        if self.needs_usd == math.inf:
            lines.append("    no recorded call tells its cost, so no budget can cover it")
        if self.side_effect:
            lines.append('    it changes something outside: never part of live="needed", name it to repeat it')
        return "\n".join(lines)


def blocked_call(asked: Asked, near: Call | None, needs_usd: float | None) -> Blocked:
    """What is told of a call without an answer."""
    request = codec.decode_any(asked.request)
    reason = asked.held or "the recording holds no answer to this request"
    fields = () if near is None else tuple(changes(codec.decode_any(near.request), request))
    nearest = None if near is None else near.address
    return Blocked(asked.address, request, nearest, fields, bool(asked.flags & SIDE_EFFECT), reason, needs_usd)
