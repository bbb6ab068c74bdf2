"""What verifying many traces told: a row a trace, and how much of the store can be replayed."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, overload

import attrs

from replay.certificate import Certificate, Entry
from runtime.recording import static

Verdict = Literal["same", "fixed", "changed", "blocked", "unreplayable"]
VERDICTS: Final[tuple[Verdict, ...]] = ("same", "fixed", "changed", "blocked", "unreplayable")
Grouping = Literal["step", "hour", "day", "version"]
GROUPINGS: Final[tuple[Grouping, ...]] = ("step", "hour", "day", "version")

_LACKING: Final = frozenset({"blocked", "unreplayable", "redacted"})
"""Statuses of addresses, and verdicts of traces, for which the recording did not hold what was needed."""
_SHOWN: Final = 12


@attrs.frozen
class Row:
    """What verifying one trace told."""

    trace_id: str
    verdict: Verdict
    """`same`: the certificate is ok and the output's digest is equal. `fixed`: the recorded run did not end ok, and now it
    does. `changed`: it ends otherwise, or a step diverged. `blocked`: it needs a call that the recording cannot answer and
    nobody allowed. `unreplayable`: the recording does not hold what is needed, or no agent here replays it."""
    agent: str
    version: str
    """The agent's fingerprint as it was recorded, hexadecimal."""
    started: float
    """Unix seconds."""
    recorded: str
    """How the recorded run ended: ok, error, timeout, cancelled; damaged or unfinished where the recording is not whole."""
    now: str
    """How the replay ended; empty where nothing ran."""
    address: str = ""
    """Of the first finding, where the verdict is not `same`."""
    status: str = ""
    """Of that address in the certificate."""
    reason: str = ""
    spent_usd: float = 0.0
    """What live calls said they cost."""
    entries: tuple[Entry, ...] = attrs.field(default=(), repr=False)

    @property
    def certificate(self) -> Certificate:
        """What was proved, address by address. No new trace is recorded for it."""
        return Certificate(self.trace_id, self.entries)

    def to_json(self) -> dict[str, Any]:
        """As JSON data; the certificate as its summary."""
        told = attrs.asdict(self, filter=attrs.filters.exclude("entries"))
        proved = self.certificate
        return {**told, "proved": bool(self.entries) and proved.proved, "counts": proved.counts}

    def __str__(self) -> str:
        found = f"  {self.address}  {self.status}" if self.address else f"  {self.status}" if self.status else ""
        return f"{self.trace_id}  {self.verdict}{found}{f' ({self.reason})' if self.reason else ''}"


@attrs.frozen
class Share:
    """How much of a group can be replayed."""

    group: str
    """The address of a step without indexes, an hour or day (UTC) in which traces began, or an agent's version."""
    replayable: int
    total: int

    @property
    def percent(self) -> float:
        """0 to 100."""
        return 100.0 * self.replayable / self.total


@attrs.frozen(eq=False)
class Verified(Sequence[Row]):
    """A row for every selected trace, newest first."""

    rows: tuple[Row, ...]
    unread: tuple[str, ...]
    """What of the store could not be read, so that nothing tells which traces are in it."""
    notes: tuple[str, ...]
    """How it was done, where that is not as asked: worker processes that died, or that could not be used."""
    workers: int
    """Worker processes; 0 where this process did it."""
    seconds: float

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many traces have each verdict."""
        found = Counter(row.verdict for row in self.rows)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def ok(self) -> bool:
        """Every trace is the same, there was at least one, and all of the store could be read."""
        return bool(self.rows) and not self.unread and all(row.verdict == "same" for row in self.rows)

    @property
    def spent_usd(self) -> float:
        """What live calls said they cost, over all traces."""
        return sum(row.spent_usd for row in self.rows)

    def replayable(self, by: Grouping) -> tuple[Share, ...]:
        """How much can be replayed, by group.

        By `step`, what is counted is the executions of each step; else it is traces. What is blocked or unreplayable is not
        replayable; what came out otherwise is.

        Raises:
            ValueError: that is none of the groupings.
        """
        if by not in GROUPINGS:
            raise ValueError(f"by is one of {', '.join(GROUPINGS)}, not {by!r}")
        total: Counter[str] = Counter()
        good: Counter[str] = Counter()
        if by == "step":
            # Traces that came out alike share their entries.
            alike = {id(row.entries): row.entries for row in self.rows}
            for one, count in Counter(id(row.entries) for row in self.rows).items():
                for entry in alike[one]:
                    if entry.kind == "step":
                        group = static(entry.address)
                        total[group] += count
                        good[group] += count * (entry.status not in _LACKING)
        else:
            group_of = _GROUPS[by]
            for row in self.rows:
                total[group_of(row)] += 1
                good[group_of(row)] += row.verdict not in _LACKING
        return tuple(Share(group, good[group], count) for group, count in sorted(total.items()))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write every certificate to a file, a line of JSON each.

        Raises:
            OSError: it cannot be written.
        """
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(
                json.dumps({**row.to_json(), "certificate": row.certificate.to_json()}, ensure_ascii=False) + "\n"
                for row in self.rows
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON data; certificates as their summaries."""
        return {
            "version": 1,
            "ok": self.ok,
            "counts": self.counts,
            "spent_usd": self.spent_usd,
            "workers": self.workers,
            "seconds": self.seconds,
            "unread": list(self.unread),
            "notes": list(self.notes),
            "replayable": {
                by: [{**attrs.asdict(share), "percent": share.percent} for share in self.replayable(by)] for by in GROUPINGS
            },
            "rows": [row.to_json() for row in self.rows],
        }

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, place: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {verdict}" for verdict, count in self.counts.items())
        lines = [f"{told} of {len(self.rows):,} traces" if self.rows else "no trace was verified"]
        others = [row for row in self.rows if row.verdict != "same"]
        lines += [str(row) for row in others[:_SHOWN]]
        if len(others) > _SHOWN:
            lines.append(f"and {len(others) - _SHOWN:,} more")
        return "\n".join([*lines, *(f"unread: {text}" for text in self.unread), *self.notes])


def _when(form: str) -> Callable[[Row], str]:
    return lambda row: dt.datetime.fromtimestamp(row.started, dt.UTC).strftime(form)


_GROUPS: Final[dict[str, Callable[[Row], str]]] = {
    "hour": _when("%Y-%m-%d %H:00"),
    "day": _when("%Y-%m-%d"),
    "version": lambda row: f"{row.agent} {row.version[:8]}",
}
