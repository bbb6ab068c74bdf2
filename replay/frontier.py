"""The frontier of a replay: calls that the recording does not answer, which of them go live, and at what cost."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from replay import difference
from replay.asked import Asked
from replay.blocked import Blocked, blocked_call
from replay.measures import COST
from replay.selection import Request
from runtime.effects import EffectCall
from runtime.recording import Call, Recording
from storage import codec

if TYPE_CHECKING:
    from replay.answers import Answers


class Frontier:
    """What may go live, and what is blocked.

    Args:
        recording: of the trace.
        request: what the caller allows.
    """

    def __init__(self, recording: Recording, request: Request) -> None:
        self._recording, self._request = recording, request
        self.blocked: list[Blocked] = []
        self.live_calls = 0
        """That are being made now."""
        self.spent_usd = 0.0

    def may_go_live(self, answers: Answers, asked: Asked, call: EffectCall) -> bool:
        """Whether an effect's call is made for real; a refusal by version or budget is noted on the call."""
        chosen = self._request
        step = asked.address.rpartition("/")[0]
        named = asked.address in chosen.live or step in chosen.live
        needed = chosen.needed and asked.recorded is None and not call.effect.side_effect and not answers.verify
        if not named and not needed:
            return False
        if call.effect.snapshot:
            asked.held = self._other_version(answers, asked)
            if asked.held:
                return False
        if chosen.budget_usd is None:
            return True
        needs = self._needs_usd(self.nearest(answers, asked))
        if needs <= chosen.budget_usd:
            return True
        asked.held = "its cost is unknown, and a budget is set"
        if needs < math.inf:
            asked.held = f"the recording holds no answer, and with it ${needs:g} of ${chosen.budget_usd:g} would be spent"
        return False

    def _needs_usd(self, near: Call | None) -> float:
        """What would have been spent with a call like this one; infinite where nothing tells its cost."""
        cost = None if near is None else near.attributes.get(COST)
        try:
            return math.inf if cost is None else self.spent_usd + float(cost)
        except (TypeError, ValueError):  # what it said of its cost was no number
            return math.inf

    def _other_version(self, answers: Answers, asked: Asked) -> str:
        """Why a live answer would not be one of what was recorded, or nothing."""
        near = self.nearest(answers, asked)
        if near is None:
            return ""
        was, now = _owner(near.request), _owner(asked.request)
        if was is None or now is None:
            return "its request could not be recorded, so nothing tells which version would answer it"
        if was == now or any(_owner(call.request) == now for call in self._recording.calls if call.intent.name == asked.name):
            return ""
        return f"it would be answered by {now}, and the recording was made with {was}: what they hold differs"

    def spend(self, attributes: dict[str, Any]) -> None:
        """Count what a live effect says it cost."""
        self.spent_usd += float(attributes.get(COST, 0.0))

    def nearest(self, answers: Answers, asked: Asked) -> Call | None:
        """The recorded call that is most like one without an answer."""
        calls = [] if answers.recorded is None else answers.recorded.calls
        same = [call for call in calls if call.intent.name == asked.name and call.is_effect == asked.effect]
        if not same:
            same = [call for call in self._recording.calls if call.intent.name == asked.name and call.is_effect == asked.effect]
        if not same:
            return None
        wanted = codec.decode_any(asked.request)
        count = functools.partial(_count_changes, wanted)
        place = (asked.lane, asked.nth)
        return min(same, key=lambda call: (count(call), (call.intent.lane, call.intent.nth) != place))

    def block(self, answers: Answers, asked: Asked) -> None:
        """Note a call that has no answer."""
        near = self.nearest(answers, asked)
        needs = None if self._request.budget_usd is None else self._needs_usd(near)
        self.blocked.append(blocked_call(asked, near, needs))


def _owner(request: bytes) -> Any:
    given = codec.decode_any(request)
    return given.get("self") if isinstance(given, dict) else None


def _count_changes(wanted: Any, call: Call) -> int:
    return sum(1 for _ in difference.changes(codec.decode_any(call.request), wanted))
