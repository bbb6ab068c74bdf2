"""The order in which the answers of one span are delivered: that in which the recorded calls completed."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from runtime.recording import Call, Span

if TYPE_CHECKING:
    from replay.evaluation import Evaluator

_SETTLE_TICKS: Final = 10
"""Scheduler turns without any call that an answer waits for whoever got the one before it: what that task does next, through
a few checkpoints of its own, came first in the recording."""
IDLE_TICKS: Final = 25
"""Scheduler turns without any call after which a waiting answer of a changed span is released."""


class Delivery:
    """The completions that are still to come, and the answers that wait for their turn.

    Args:
        evaluator: of the replay: what else goes on in it.
        recorded: the span that answers.
        verify: the span stands as recorded, so an answer can wait for any that came before it.
    """

    def __init__(self, evaluator: Evaluator, recorded: Span | None, *, verify: bool) -> None:
        self._evaluator, self._verify = evaluator, verify
        calls = [] if recorded is None else recorded.calls
        took = 0 if recorded is None else recorded.record.duration / 1e9
        self.patience = took + evaluator.grace
        """Seconds after which an answer that does not come is given up."""
        self.activity = 0
        """Grows with whatever the span does."""
        self._pending: list[int] = []
        self._waiting: dict[int, anyio.Event] = {}
        for call in calls:
            if call.result is not None and call.result.status != "cancelled":
                insort(self._pending, call.completion)
        self._overlapping = _overlapping(calls)

    async def wait(self, turn: int) -> None:
        """Wait until it is this completion's turn. No checkpoint follows the turn: the task goes on at once."""
        try:
            await self._wait_for_turn(turn)
        finally:
            self.advance(turn)  # also where it was cancelled while it waited: those behind it must not wait for it

    async def _wait_for_turn(self, turn: int) -> None:
        event = self._waiting[turn] = anyio.Event()
        try:
            if bisect_left(self._pending, turn) > 0:
                if self._verify:
                    with anyio.move_on_after(self.patience):
                        await event.wait()
                else:
                    await self._until_idle(turn, event)
            if turn in self._overlapping:
                await self._settle()
        finally:
            # Not before it has settled: the next one must not overtake it meanwhile.
            self._waiting.pop(turn, None)

    async def _settle(self) -> None:
        quiet, seen = 0, self.activity
        while quiet < _SETTLE_TICKS:
            await anyio.lowlevel.checkpoint()
            quiet = quiet + 1 if self.activity == seen else 0
            seen = self.activity

    async def _until_idle(self, turn: int, event: anyio.Event) -> None:
        quiet, seen = 0, -1
        while not event.is_set():
            await anyio.lowlevel.checkpoint()
            now = self.activity + len(self._evaluator.ran)
            quiet = quiet + 1 if now == seen and not self._evaluator.frontier.live_calls else 0
            seen = now
            if quiet >= IDLE_TICKS and turn <= min(self._waiting, default=turn):
                return

    async def idle(self) -> None:
        """Wait until nothing else of the replay goes on."""
        await self._until_idle(0, anyio.Event())

    def advance(self, turn: int) -> None:
        """Take a completion off those that others wait for."""
        self.activity += 1
        place = bisect_left(self._pending, turn)
        if place < len(self._pending) and self._pending[place] == turn:
            del self._pending[place]
        if self._pending and self._pending[0] in self._waiting:
            self._waiting[self._pending[0]].set()


def _overlapping(calls: list[Call]) -> set[int]:
    """The completion numbers of calls that ran while another of the span did."""
    found: set[int] = set()
    spans = sorted((call.start_ns, call.start_ns + call.duration_ns, call.completion) for call in calls)
    latest, holder = -1, 0
    for start, end, completion in spans:
        if start < latest:
            found |= {completion, holder}
        if end > latest:
            latest, holder = end, completion
    return found
