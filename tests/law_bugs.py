"""Planted bugs of replay, each put in through a seam: the law has to find them."""

from __future__ import annotations

from typing import Any

import attrs

from replay.answers import Answers
from replay.asked import Asked
from replay.evaluation import Evaluation
from replay.matching import Matching
from replay.replayer import Replayer
from runtime.effects import ITEM
from runtime.recording import Call, Span


class CrossedMatching(Matching):
    """A planted bug: equal calls get each other's answers."""

    def _same_lane(self, key: Any, lane: str) -> Call | None:
        free = self._free(key)
        return free[-1] if free else None


class CrossedAnswers(Answers):
    match = CrossedMatching


class Crossing(Replayer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, answers=CrossedAnswers, **kwargs)


class DroppingSiblings(Replayer):
    """A planted bug: the values of siblings that a swap does not touch are lost."""

    async def _node(self, spec: Any, values: Any) -> Any:
        found = await super()._node(spec, values)
        entry = self.entries.get(spec.name)
        touched = spec.name in self.request.swaps or self.request.swaps.below(spec.name)
        if self.request.swaps and entry is not None and entry.status == "reused" and not touched and spec.index == 0:
            self.results.pop(spec.name, None)
            return None
        return found


class CuttingTooEarly(Replayer):
    """A planted bug: a nested swap is cut off at its parent whatever it gives."""

    async def _probe(self, span: Span) -> bool:
        await super()._probe(span)
        return False


class CrossedItemsMatching(Matching):
    """A planted bug: equal items of a map get each other's outcomes."""

    def _same_lane(self, key: Any, lane: str) -> Call | None:
        free = self._free(key)
        return free[-1] if free and free[-1].intent.flags & ITEM else super()._same_lane(key, lane)


class CrossedItemsAnswers(Answers):
    match = CrossedItemsMatching


class CrossingItems(Replayer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, answers=CrossedItemsAnswers, **kwargs)


class ShiftedMatching(Matching):
    """A planted bug: an iteration that came out otherwise is answered by what was recorded of the next one."""

    def positional(self, asked: Asked) -> Call | None:
        iteration = asked.flags & ITEM and not asked.lane
        return super().positional(attrs.evolve(asked, nth=asked.nth + 1) if iteration else asked)


class ShiftedAnswers(Answers):
    match = ShiftedMatching


class ShiftingIterations(Replayer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, answers=ShiftedAnswers, **kwargs)


class KeepingTheArm(Replayer):
    """A planted bug: a branch whose condition flips keeps what its other arm gave."""

    def _same_inputs(self, span: Span, given: list[Any]) -> bool:
        same = super()._same_inputs(span, given)
        if span.kind != "branch" or same:
            return same
        [condition] = self.recording.nodes[span.node][2][:1]
        return super()._same_inputs(span, [(self._recorded(condition), given[0][1]), *given[1:]])

    def _recorded(self, place: int) -> Any:
        span = self.recording.node(self.recording.nodes[place][0])
        return None if span is None else span.result


class ReusingStaleCode(Replayer):
    """A planted bug: what a step gave before its code was edited is taken for what it gives now."""

    def _why_again(self, work: Evaluation) -> str:
        why = super()._why_again(work)
        return "" if why.startswith("code: ") else why


BUGS: dict[type[Replayer], tuple[str, ...] | None] = {
    Crossing: None,
    DroppingSiblings: None,
    CuttingTooEarly: None,
    CrossingItems: ("map",),
    ShiftingIterations: ("loop", "step"),
    KeepingTheArm: ("branch", "step"),
    ReusingStaleCode: None,
}
"""Each with the kinds of nodes that it concerns, or any."""
