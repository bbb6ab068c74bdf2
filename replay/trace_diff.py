"""What differs between two traces, and how it is told."""

from __future__ import annotations

from typing import Any, Final

import attrs

from replay.difference import Change
from replay.measures import Measures
from replay.ranking import Ranking
from runtime.plain import visible

VERSION: Final = 1
SHOWN: Final = 12
"""Fields of one span that are told to people."""


@attrs.frozen
class SpanDiff:
    """How one address differs between two traces."""

    address: str
    kind: str
    """changed, added, removed, moved, or unknown: it could not be recorded, so nothing tells whether it is equal."""
    fields: tuple[Change | Ranking, ...] = ()
    what: str = "step"
    """step, effect, glue, or the run's input or output."""
    old_address: str | None = None
    """Where a moved one was."""
    code: tuple[str, str] | None = None
    """The beginnings of both fingerprints, where other code ran."""
    old: Measures | None = None
    new: Measures | None = None
    """What a call told of itself, and how long a step took where both ran live; else None."""
    note: str = ""

    @property
    def head(self) -> str:
        """One line."""
        told = [self.address, self.kind]
        if self.old_address is not None:
            told.append(f"from {self.old_address}")
        if self.code is not None:
            told.append(f"(code: {self.code[0]} -> {self.code[1]})")
        if self.note:
            told.append(f"({self.note})")
        return visible("  ".join(told))

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "address": self.address,
            "kind": self.kind,
            "what": self.what,
            **({"old_address": self.old_address} if self.old_address is not None else {}),
            **({"code": list(self.code)} if self.code is not None else {}),
            **({"note": self.note} if self.note else {}),
            "fields": [field.to_json() for field in self.fields],
            "measures": {name: one.to_json() for name, one in (("old", self.old), ("new", self.new)) if one is not None},
        }

    def __str__(self) -> str:
        lines = [line for field in self.fields[:SHOWN] for line in str(field).splitlines()]
        if len(self.fields) > SHOWN:
            lines.append(f"... and {len(self.fields) - SHOWN} fields more, all of them in JSON")
        return "\n".join([self.head, *(f"    {line}" for line in lines)])


@attrs.frozen
class TraceDiff:
    """Two traces, aligned by address."""

    old: str
    new: str
    spans: tuple[SpanDiff, ...]
    """Only those that differ, the first divergence first: a call that asks otherwise comes before what is below it, and a
    step that only ends otherwise after."""
    same: int
    """How many spans are equal in both."""
    old_total: Measures
    new_total: Measures

    @property
    def first(self) -> str | None:
        """The address where they first differ."""
        return self.spans[0].address if self.spans else None

    def __getitem__(self, address: str) -> SpanDiff:
        for one in self.spans:
            if one.address == address:
                return one
        raise KeyError(f"the difference has no address {address!r}")

    @property
    def head(self) -> str:
        """One line."""
        if not self.spans:
            return f"{self.old[:12]} and {self.new[:12]} are equal in all {self.same} spans"
        return visible(f"{self.old[:12]} -> {self.new[:12]}: first difference at {self.first}; {self.same} spans equal")

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "schema": "kitchenlog.diff",
            "version": VERSION,
            "old": self.old,
            "new": self.new,
            "first": self.first,
            "same": self.same,
            "total": {"old": self.old_total.to_json(), "new": self.new_total.to_json()},
            "spans": [one.to_json() for one in self.spans],
        }

    def _repr_html_(self) -> str:
        from replay import diff_html  # noqa: PLC0415 - a page is asked for in a notebook only

        return diff_html.render(self)

    def __str__(self) -> str:
        told = deltas(self.old_total, self.new_total)
        return "\n".join([self.head, *([told] if told else []), *(str(one) for one in self.spans)])


def deltas(old: Measures | None, new: Measures | None) -> str:
    """`tokens 271 -> 250, cost $0.01 -> $0.02, 1,200 ms -> 900 ms`; what neither side tells is left out."""
    one, two = old or Measures(), new or Measures()
    rows = (
        ("tokens in", one.input_tokens, two.input_tokens, "{:,}"),
        ("out", one.output_tokens, two.output_tokens, "{:,}"),
        ("cost", one.cost_usd, two.cost_usd, "${:.6g}"),
        ("took", one.duration_ms, two.duration_ms, "{:,.1f} ms"),
    )
    return ", ".join(
        f"{name} {_shown(was, form)} -> {_shown(now, form)}" for name, was, now, form in rows if (was, now) != (None, None)
    )


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else form.format(value)
