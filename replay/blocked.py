"""Calls that a replay could not answer, and what would allow them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from replay.difference import ABSENT, Change, changes
from runtime.recording import Call, plain
from storage import codec

if TYPE_CHECKING:
    from replay.answers import Asked


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

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "address": self.address,
            "request": plain(self.request),
            "nearest": self.nearest,
            "fields": [
                {
                    "path": field.path,
                    "old": None if field.old is ABSENT else plain(field.old),
                    "new": None if field.new is ABSENT else plain(field.new),
                }
                for field in self.fields
            ],
            "side_effect": self.side_effect,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        lines = [f"{self.address}  blocked: {self.reason}"]
        if self.nearest is not None:
            lines.append(f"    nearest recorded request: {self.nearest}")
        lines += [f"    {field}" for field in self.fields]
        if self.side_effect:
            lines.append('    it changes something outside: never part of live="needed", name it to repeat it')
        return "\n".join(lines)


def blocked_call(asked: Asked, near: Call | None, budget_usd: float | None) -> Blocked:
    """What is told of a call without an answer."""
    request = codec.decode_any(asked.request)
    reason = "the recording holds no answer to this request"
    if asked.held:
        reason = asked.held
    elif budget_usd is not None and near is not None:
        reason = f"the recording holds no answer, and the budget of ${budget_usd:g} does not reach"
    fields = () if near is None else tuple(changes(codec.decode_any(near.request), request))
    return Blocked(asked.address, request, None if near is None else near.address, fields, bool(asked.flags & 1), reason)
