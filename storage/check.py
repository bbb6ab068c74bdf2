"""Checking a store: every trace is read, and in full every value is hashed again. Nothing is changed, nothing is deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from storage.errors import StorageError, ValueLeftOut
from storage.store import LocalStore
from storage.stored import Stored


class Finding(NamedTuple):
    """One thing that is wrong."""

    trace: str | None
    """32 hexadecimal digits; None for what is wrong with a file whichever traces that reaches."""
    text: str


class Report(NamedTuple):
    """What a check found."""

    traces: int
    whole: int
    unfinished: int
    """Their process ended before they did, or they still run."""
    damaged: int
    values: int
    """Hashed again, of traces that were read in full."""
    left_out: int
    """Values too large to be stored: only size and digest are there."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is damaged."""
        return not self.findings


def check(store: LocalStore, *, full: bool, progress: Callable[[int, int], None] | None = None) -> Report:
    """Check every trace of a store.

    Args:
        store: what is checked.
        full: hash every value again; otherwise records are read and counted, which their checksums cover.
        progress: told how many traces of how many are done.

    Raises:
        StoreError: the store cannot be read at all.
    """
    findings = [Finding(None, text) for text in store.damage]
    traces = store.ids()
    states = {"whole": 0, "unfinished": 0, "damaged": 0}
    values = left_out = 0
    for done, trace in enumerate(traces, 1):
        try:
            stored = store.load(trace)
        except StorageError as error:
            states["damaged"] += 1
            findings.append(Finding(trace.hex(), str(error)))
        else:
            found = list(stored.damage)
            if full:
                hashed, missing, wrong = _hash_again(stored)
                values, left_out, found = values + hashed, left_out + missing, [*found, *wrong]
            states["damaged" if found else stored.state] += 1
            findings += [Finding(trace.hex(), text) for text in found]
        if progress is not None:
            progress(done, len(traces))
    return Report(len(traces), states["whole"], states["unfinished"], states["damaged"], values, left_out, tuple(findings))


def _hash_again(stored: Stored) -> tuple[int, int, list[str]]:
    """(values that are what they were, values left out, what is wrong)."""
    good = left_out = 0
    wrong: list[str] = []
    for ref in stored.refs():
        try:
            stored.value(ref)
        except ValueLeftOut:
            left_out += 1
        except StorageError as error:
            wrong.append(str(error))
        else:
            good += 1
    return good, left_out, wrong
