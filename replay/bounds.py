"""What the live calls of a replay may take, by what they took when they were recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from replay.measures import Measures


@attrs.frozen
class Bounds:
    """At least and at most so much."""

    low: float = 0
    high: float = 0

    def add(self, amount: float, *, certain: bool) -> Bounds:
        """With so much more, which is certain or may be."""
        return Bounds(self.low + amount * certain, self.high + amount)

    def show(self, form: str) -> str:
        """`0-4`, or `4` where both are equal."""
        low, high = form.format(self.low), form.format(self.high)
        return low if low == high else f"{low}-{high}"


@attrs.frozen
class LiveBounds:
    """Of all calls that go live or may."""

    calls: Bounds = attrs.field(factory=Bounds)
    tokens: Bounds = attrs.field(factory=Bounds)
    """Read and written."""
    cost_usd: Bounds = attrs.field(factory=Bounds)
    seconds: Bounds = attrs.field(factory=Bounds)
    """One after the other; calls that overlap take less."""
    unpriced: int = 0
    """Calls that did not tell their cost: it is in no bound."""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return attrs.asdict(self)

    def __str__(self) -> str:
        cost = self.cost_usd.show("${:.6g}")
        if self.unpriced:
            cost += f" and what {self.unpriced} of unknown cost take"
        return (
            f"live calls {self.calls.show('{:.0f}')}, tokens {self.tokens.show('{:,.0f}')}, cost {cost}, "
            f"time {self.seconds.show('{:,.1f}')} s"
        )


def bounds_of(calls: Iterable[tuple[Measures, bool]]) -> LiveBounds:
    """The bounds of calls, each with whether it is certain."""
    made = LiveBounds()
    for told, certain in calls:
        made = LiveBounds(
            made.calls.add(1, certain=certain),
            made.tokens.add(told.tokens or 0, certain=certain),
            made.cost_usd.add(told.cost_usd or 0, certain=certain),
            made.seconds.add((told.duration_ms or 0) / 1000, certain=certain),
            made.unpriced + (told.cost_usd is None),
        )
    return made
