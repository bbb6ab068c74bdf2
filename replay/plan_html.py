"""A plan as a fragment of HTML."""

from __future__ import annotations

from replay import markup
from replay.plan import Plan, Step

_COLOURS = {"verify": "#146c2e", "maybe": "#8a5a00", "live": "#8e24aa", "blocked": "#b3261e", "reuse": "gray"}


def render(plan: Plan) -> str:
    """The fragment."""
    head = ("address", "mode", "reason", "tokens", "cost", "time")
    lines = plan.head.splitlines()
    return markup.fragment(*(markup.tag("p", line) for line in lines), markup.table(head, map(_row, plan.steps)))


def _row(step: Step) -> tuple[object, ...]:
    told = step.recorded
    tokens = "" if told is None or told.tokens is None else f"{told.tokens:,}"
    cost = "" if told is None else "unknown" if told.cost_usd is None else f"${told.cost_usd:.6g}"
    took = "" if told is None or told.duration_ms is None else f"{told.duration_ms:,.0f} ms"
    return step.address, markup.coloured(step.mode, _COLOURS.get(step.mode, "")), step.reason, tokens, cost, took
