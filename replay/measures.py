"""What effects told of their cost: tokens, US dollars, time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

COST: Final = "gen_ai.cost_usd"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

N = TypeVar("N", int, float)


@attrs.frozen
class Measures:
    """Of one call, or of several. None is what nobody told."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: float | None = None

    @property
    def tokens(self) -> int | None:
        """Read and written."""
        return add(self.input_tokens, self.output_tokens)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return attrs.asdict(self)


def measure(attributes: Mapping[str, Any], duration_ns: int | None) -> Measures:
    """What a call told of itself; what is no number was not told."""
    read, written, cost = (_number(attributes.get(name)) for name in (INPUT_TOKENS, OUTPUT_TOKENS, COST))
    took = None if duration_ns is None else duration_ns / 1e6
    return Measures(None if read is None else int(read), None if written is None else int(written), cost, took)


def total(measured: Iterable[Measures], duration_ms: float | None) -> Measures:
    """The sum of several calls' tokens and cost. Time is given: calls overlap."""
    made = Measures()
    for one in measured:
        made = Measures(
            add(made.input_tokens, one.input_tokens),
            add(made.output_tokens, one.output_tokens),
            add(made.cost_usd, one.cost_usd),
        )
    return attrs.evolve(made, duration_ms=duration_ms)


def add(one: N | None, two: N | None) -> N | None:
    """The sum of what was told; None where neither was."""
    return two if one is None else one if two is None else one + two


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    return value
