"""Checking a store: every pack and every trace is read, and in full every value is hashed again. Nothing is deleted."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Final, NamedTuple

from storage import keys
from storage.errors import StorageError, ValueLeftOut
from storage.objects.contract import ObjectNotFound
from storage.pack.check import check as check_pack
from storage.store import Store
from storage.stored import Stored

_MAX_PACK_BYTES: Final = 2**31


class Finding(NamedTuple):
    """One thing that is wrong."""

    trace: str | None
    """32 hexadecimal digits; None for what is wrong with a file or pack whichever traces that reaches."""
    text: str


class Report(NamedTuple):
    """What a check found."""

    traces: int
    whole: int
    unfinished: int
    """Their process ended before they did, or they still run."""
    damaged: int
    packs: int
    values: int
    """Hashed again, of traces that were read in full."""
    left_out: int
    """Values too large to be stored: only size and digest are there."""
    quarantined: tuple[str, ...]
    """Keys of damaged packs: marked, so that they are never merged, and read as far as they can be."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is damaged."""
        return not self.findings


def check(store: Store, *, full: bool, quarantine: bool = False, progress: Callable[[int, int], None] | None = None) -> Report:
    """Check every pack and every trace of a store.

    Args:
        store: what is checked.
        full: hash every value again; otherwise records are read and counted, which their checksums cover.
        quarantine: mark damaged packs, so that no merge takes them. Nothing else is ever changed.
        progress: told how many packs and traces of how many are done.

    Raises:
        StoreError: the store cannot be read at all.
        StoreUnavailable: it gave no answer.
    """
    with store.snapshot():
        packs = store.packs()
        traces = list(store.ids())
        total = len(packs) + len(traces)
        findings = [Finding(None, text) for text in store.damage]
        damaged_packs: list[str] = []
        for done, key in enumerate(packs, 1):
            wrong = _pack(store, key, full=full)
            if wrong:
                damaged_packs.append(key)
                findings += [Finding(None, text) for text in wrong if Finding(None, text) not in findings]
            if progress is not None:
                progress(done, total)
        states = {"whole": 0, "unfinished": 0, "damaged": 0}
        values = left_out = 0
        for done, trace in enumerate(traces, len(packs) + 1):
            try:
                stored = store.load(trace, vectors=full)
            except StorageError as error:
                states["damaged"] += 1
                findings.append(Finding(trace.hex(), str(error)))
            else:
                found = list(stored.damage)
                if full:
                    hashed, missing, different = _hash_again(stored)
                    values, left_out, found = values + hashed, left_out + missing, [*found, *different]
                states["damaged" if found else stored.state] += 1
                findings += [Finding(trace.hex(), text) for text in found]
            if progress is not None:
                progress(done, total)
    marked = tuple(sorted({*_mark(store, damaged_packs if quarantine else ()), *quarantined(store)}))
    return Report(
        len(traces), states["whole"], states["unfinished"], states["damaged"], len(packs), values, left_out, marked,
        tuple(findings),
    )  # fmt: skip


def quarantined(store: Store) -> list[str]:
    """The keys of the packs that are marked as damaged."""
    begins, ends = len(keys.QUARANTINE), -len(".json")
    return [info.key[begins:ends] for info in store.objects.list(keys.QUARANTINE)]


def mark(store: Store, key: str, why: str) -> None:
    """Mark a pack as damaged."""
    told = {"pack": key, "why": why, "marked": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
    store.objects.put_new(keys.quarantined(key), f"{json.dumps(told)}\n".encode())


def _mark(store: Store, damaged: list[str] | tuple[()]) -> list[str]:
    for key in damaged:
        mark(store, key, "a check found it damaged")
    return list(damaged)


def _pack(store: Store, key: str, *, full: bool) -> list[str]:
    """What is wrong with a pack."""
    try:
        pack = store.objects.get(key, _MAX_PACK_BYTES)
        found = check_pack(pack, store.mac, full=full)
    except ObjectNotFound:  # merged since it was listed
        return []
    except StorageError as error:
        return [str(error)]
    return [f"{key} is corrupt in its {one.section} at offset {one.offset}: {one.text}" for one in found]


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
