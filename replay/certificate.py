"""What a replay proved, address by address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import attrs

STATUSES: Final = (
    "reproduced", "reused", "cut off", "swapped", "changed", "added", "dropped", "moved", "live", "diverged",
    "blocked", "redacted", "unreplayable",
)  # fmt: skip
"""The closed set."""
NOT_OK: Final = frozenset({"diverged", "blocked", "redacted", "unreplayable"})
VERSION: Final = 1


@attrs.frozen
class Entry:
    """The status of one address."""

    address: str
    status: str
    kind: str
    """step or effect."""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.address}  {self.status}{f' ({self.reason})' if self.reason else ''}"


@attrs.frozen
class Certificate:
    """One status for every address of a replay."""

    trace_id: str
    """Of the recording."""
    entries: tuple[Entry, ...]

    @property
    def ok(self) -> bool:
        """Nothing diverged, was blocked, refused or unreplayable."""
        return not any(entry.status in NOT_OK for entry in self.entries)

    @property
    def proved(self) -> bool:
        """Every step was executed again and was byte-equal. Reuse is not proof."""
        steps = [entry for entry in self.entries if entry.kind == "step" and entry.reason != "cancelled"]
        return self.ok and all(entry.status == "reproduced" for entry in steps)

    @property
    def counts(self) -> dict[str, int]:
        """How many addresses have each status."""
        found = Counter(entry.status for entry in self.entries)
        return {status: found[status] for status in STATUSES if found[status]}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, address: object) -> bool:
        return any(entry.address == address for entry in self.entries)

    def __getitem__(self, address: str) -> Entry:
        for entry in self.entries:
            if entry.address == address:
                return entry
        raise KeyError(f"the certificate has no address {address!r}")

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "version": VERSION,
            "trace_id": self.trace_id,
            "ok": self.ok,
            "proved": self.proved,
            "counts": self.counts,
            "entries": [attrs.asdict(entry) for entry in self.entries],
        }

    def __str__(self) -> str:
        verdict = "proved" if self.proved else "ok" if self.ok else "not ok"
        told = [text for kind, word in (("step", "step"), ("effect", "call")) if (text := self._counted(kind, word))]
        return f"{verdict}: {'; '.join(told) or 'nothing to replay'}"

    def _counted(self, kind: str, word: str) -> str:
        """`7 steps reproduced, 1 changed`."""
        found = Counter(entry.status for entry in self.entries if (entry.kind == "effect") == (kind == "effect"))
        parts = [f"{found[status]} {status}" for status in STATUSES if found[status]]
        if not parts:
            return ""
        number, _, status = parts[0].partition(" ")
        return ", ".join([f"{number} {word}{'' if number == '1' else 's'} {status}", *parts[1:]])
