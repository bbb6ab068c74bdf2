"""What a replay proved, address by address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from storage.codec import as_utf8
from storage.digest import Mac

STATUSES: Final = (
    "reproduced", "reused", "cut off", "swapped", "changed", "added", "dropped", "moved", "live", "diverged",
    "blocked", "redacted", "unreplayable",
)  # fmt: skip
"""The closed set."""
NOT_OK: Final = frozenset({"diverged", "blocked", "redacted", "unreplayable"})
SCHEMA: Final = "kitchenlog.certificate"
VERSION: Final = 1


@attrs.frozen
class Entry:
    """The status of one address."""

    address: str
    status: str
    kind: str
    """step or effect; derive for glue that did not come out as recorded."""
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether a certificate with it may be ok."""
        return self.status not in NOT_OK

    def __str__(self) -> str:
        return f"{self.address}  {self.status}{f' ({self.reason})' if self.reason else ''}"


@attrs.frozen
class Issue:
    """Who made a certificate of what. Everything is hexadecimal, but for the agent's name."""

    replay: str
    """The trace of the replay."""
    agent: str
    fingerprint: str
    """Of the agent that replayed."""
    recorded_fingerprint: str
    """Of the agent that was recorded."""
    store: str
    key: str
    """Id of the store's key."""


@attrs.frozen
class Certificate:
    """One status for every address of a replay."""

    trace_id: str
    """Of the recording."""
    entries: tuple[Entry, ...]
    issue: Issue | None = None
    """None until the replay is recorded."""
    mac: Mac | None = attrs.field(default=None, repr=False, eq=False)
    """The store's, with which it is issued."""

    @property
    def ok(self) -> bool:
        """Nothing diverged, was blocked, refused or unreplayable."""
        return is_ok(self.entries)

    @property
    def proved(self) -> bool:
        """Every step was executed again and was byte-equal. Reuse is not proof."""
        return is_proved(self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """How many addresses have each status."""
        return count(self.entries)

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
        """As JSON data (docs/certificate.md). Without its digests until it is issued."""
        head: dict[str, Any] = {
            "trace": self.trace_id,
            **({} if self.issue is None else attrs.asdict(self.issue)),
            "counts": self.counts,
            "ok": self.ok,
            "proved": self.proved,
        }
        entries: list[dict[str, Any]] = [
            {name: as_utf8(value) for name, value in attrs.asdict(entry).items()} for entry in self.entries
        ]
        told: dict[str, Any] = {"schema": SCHEMA, "version": VERSION, "head": head, "entries": entries}
        if self.mac is None:
            return told
        for place, entry in enumerate(entries):
            entry["digest"] = entry_digest(self.mac, head, place, entry)
        return {**told, "digest": whole_digest(self.mac, head, [entry["digest"] for entry in entries])}

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


def is_ok(entries: Iterable[Entry]) -> bool:
    """Nothing diverged, was blocked, refused or unreplayable."""
    return all(entry.is_ok for entry in entries)


def is_proved(entries: Iterable[Entry]) -> bool:
    """Every step was executed again and was byte-equal."""
    known = list(entries)
    steps = [entry for entry in known if entry.kind == "step" and entry.reason != "cancelled"]
    return is_ok(known) and all(entry.status == "reproduced" for entry in steps)


def count(entries: Iterable[Entry]) -> dict[str, int]:
    """How many addresses have each status, in the order of `STATUSES`."""
    found = Counter(entry.status for entry in entries)
    return {status: found[status] for status in STATUSES if found[status]}


def entry_digest(mac: Mac, head: Mapping[str, Any], place: int, entry: Mapping[str, Any]) -> str:
    """The keyed digest of one entry at its place, in hexadecimal (docs/certificate.md)."""
    told = [entry[name] for name in ("address", "kind", "status", "reason")]
    return _digest(mac, ["entry", VERSION, head["trace"], head["replay"], place, *told])


def whole_digest(mac: Mac, head: Mapping[str, Any], entries: Iterable[str]) -> str:
    """The keyed digest of a head and the digests of all entries, as above."""
    return _digest(mac, ["certificate", VERSION, head, list(entries)])


def _digest(mac: Mac, told: list[Any]) -> str:
    data = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return mac("certificate", data.encode()).hex()
