"""Which recorded call answers which: by key and lane, each used once."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from replay.asked import Asked
from runtime.recording import Call, Span
from runtime.scope import UNKNOWN_LANE, call_address

Key = tuple[int, str, bytes]
"""Attempt, name, digest of the canonical request."""


class Matching:
    """The recorded calls of one span.

    Args:
        recorded: the span whose outcomes may answer; None where nothing was recorded.
    """

    def __init__(self, recorded: Span | None) -> None:
        self.calls: Sequence[Call] = () if recorded is None else recorded.calls
        self.used: set[int] = set()
        """The records that answer a call."""
        self.claimed: set[int] = set()
        """The records whose place was taken by a call that asks something else."""
        self._pool: dict[Key, list[Call]] = defaultdict(list)
        self._taken: set[str] = set()
        for call in self.calls:
            self._pool[call.key].append(call)
        self.ambiguous = sum(len(calls) for calls in self._pool.values() if is_ambiguous(calls))

    def find(self, wanted: Sequence[tuple[Key | None, str]]) -> list[Call | None]:
        """The recorded call for each of the calls that are asked at once, by key and lane; a key of None is answered by none.

        Those that find one in their own lane come first, so that who asks first changes nothing.
        """
        found = [self._use(self._same_lane(key, lane)) for key, lane in wanted]
        return [one if one is not None else self._use(self._any_lane(key)) for one, (key, _) in zip(found, wanted, strict=True)]

    def _free(self, key: Key | None) -> list[Call]:
        return [] if key is None else [call for call in self._pool.get(key, ()) if call.record not in self.used]

    def _same_lane(self, key: Key | None, lane: str) -> Call | None:
        return next((call for call in self._free(key) if call.intent.lane == lane), None)

    def _any_lane(self, key: Key | None) -> Call | None:
        return next(iter(self._free(key)), None)

    def _use(self, found: Call | None) -> Call | None:
        if found is not None:
            self.used.add(found.record)
        return found

    def equal(self, call: Call) -> list[Call]:
        """The recorded calls of its key, itself among them."""
        return self._pool[call.key]

    def positional(self, asked: Asked) -> Call | None:
        """The recorded call in the same place, whatever its request."""
        for call in self.calls:
            intent = call.intent
            if (
                (intent.name, intent.attempt, intent.lane, intent.nth) == (asked.name, asked.attempt, asked.lane, asked.nth)
                and (intent.call == 0) == asked.effect
                and call.record not in self.used
            ):
                return call
        return None

    def take_address(
        self, found: Call | None, parent: str, attempt: int | None, name: str, lane: str, nth: int, *, item: bool
    ) -> str:
        """The address of a call: the recorded one of what answers it, else its own, else one that nothing has.

        A call's place may be taken by one that came before, or by an item that moved there.
        """
        label = found.address if found is not None else call_address(parent, attempt, name, lane, nth, item=item)
        if label in self._taken:
            known = self._taken | {call.address for call in self.calls}
            numbers = itertools.count(2)
            label = next(
                one for nth in numbers if (one := call_address(parent, attempt, name, lane, nth, item=item)) not in known
            )
        self._taken.add(label)
        return label


def is_ambiguous(calls: Sequence[Call]) -> bool:
    """Whether equal requests of several tasks were answered differently."""
    return (len({call.intent.lane for call in calls}) > 1 or any(call.intent.lane == UNKNOWN_LANE for call in calls)) and len(
        {call.result.digest for call in calls if call.result is not None}
    ) > 1


def is_reassigned(asked: Iterable[Asked]) -> bool:
    """Whether equal requests of several tasks came to different ends, and one of them was answered from another task."""
    groups: dict[Key, list[Asked]] = defaultdict(list)
    for one in asked:
        groups[one.attempt, one.name, one.request].append(one)
    for same in groups.values():
        moved = any(one.recorded is not None and one.recorded.intent.lane != one.lane for one in same)
        outcomes = {None if one.result is None else one.result.digest for one in same}
        if moved and len({one.lane for one in same}) > 1 and len(outcomes) > 1:
            return True
    return False
