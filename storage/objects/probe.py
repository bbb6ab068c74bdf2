"""Asking a store, before it is trusted, whether it keeps what the contract says."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from typing import Final

from storage.errors import StorageError
from storage.objects.contract import ObjectInfo, ObjectNotFound, ObjectStore, StoreUnsuitable

__all__ = ("PROBE_PREFIX", "PROPERTIES", "STANDING", "ask_again", "probe")

PROBE_PREFIX: Final = "probe/"
"""Where it writes: for nothing else. What a killed one leaves may be deleted at any time."""
STANDING: Final = f"{PROBE_PREFIX}standing"
"""What is there for good, to be asked for again by each process that writes."""
PROPERTIES: Final = ("reading", "absence", "put-if-absent", "range reads", "tail reads", "listing", "time", "deletion")
"""What is asked for, in order."""

_SKEW: Final = dt.timedelta(minutes=5)
_SIZE: Final = 1000
_TAKEN: Final = "a second write to a key was taken, and the first one's bytes with it"


def probe(store: ObjectStore) -> tuple[str, ...]:
    """Write two objects under `PROBE_PREFIX`, read them in every way, and remove them.

    Returns:
        The properties that it was found to have: `PROPERTIES`.

    Raises:
        StoreUnsuitable: it lacks one, which the error's `missing` names.
        StoreUnavailable: it gave no answer, so nothing is known.
        StoreRefused: its credentials, or its bucket or folder.
    """
    folder = f"{PROBE_PREFIX}{secrets.token_hex(16)}/"
    keys = (f"{folder}first", f"{folder}second")
    try:
        _ask(store, folder, *keys)
    except BaseException:
        for key in keys:
            with contextlib.suppress(StorageError):
                store.delete(key)
        raise
    return PROPERTIES


def _ask(store: ObjectStore, folder: str, first: str, second: str) -> None:
    data, other, long = (secrets.token_bytes(size) for size in (_SIZE, _SIZE, 4 * _SIZE))

    def need(missing: str, holds: bool, why: str) -> None:  # noqa: FBT001 - what holds is what it reads as
        if not holds:
            raise StoreUnsuitable(missing, repr(store), why)

    need("absence", _absent(store, first), "an object was read that was never written")
    need("put-if-absent", store.put_new(first, data), "it would not write where nothing was")
    need("reading", _read(store, first) == data, "other bytes were read than were written")
    need("put-if-absent", not store.put_new(first, other), _TAKEN)
    need("put-if-absent", _read(store, first) == data, "a second write to a key was refused, and made all the same")
    store.put_new(second, long)
    need("range reads", store.get_range(second, 10, _SIZE) == long[10 : 10 + _SIZE], "other bytes were read than are there")
    need("range reads", store.get_range(second, 4 * _SIZE - 5, _SIZE) == long[-5:], "other bytes were read at the end")
    need("tail reads", store.get_tail(second, _SIZE) == (long[-_SIZE:], len(long)), "another end or size was read")
    listed, now = list(store.list(folder)), store.now()
    found = [(one.key, one.size) for one in listed]
    need("listing", found == [(first, len(data)), (second, len(long))], f"two objects were written, and it listed {found}")
    need("time", all(_fits(one, now) for one in listed), f"it is {now} there, and it dates what is new {listed[0].modified}")
    for key in (first, second):
        store.delete(key)
        need("deletion", _absent(store, key), "an object was read after it was deleted")
    need("deletion", not list(store.list(folder)), "an object was listed after it was deleted")


def _absent(store: ObjectStore, key: str) -> bool:
    return _read(store, key) is None


def _read(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key, 8 * _SIZE)
    except ObjectNotFound:
        return None


def _fits(one: ObjectInfo, now: dt.datetime) -> bool:
    return abs(one.modified - now) < _SKEW


def ask_again(store: ObjectStore) -> None:
    """Ask the one question on which everything rests, in two requests: whether a write where something is, is refused.

    Raises:
        StoreUnsuitable: it is not.
    """
    store.put_new(STANDING, b"A store that keeps recordings never writes over this.\n")
    if store.put_new(STANDING, secrets.token_bytes(_SIZE)):
        raise StoreUnsuitable("put-if-absent", repr(store), _TAKEN)
