"""`store.json`: who a store is, made once and never changed (docs/format.md, section 2)."""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
from typing import Any, Final, NamedTuple, TypeGuard, cast

from storage.digest import Mac
from storage.errors import StoreError
from storage.keys import STORE
from storage.objects.contract import ObjectNotFound, ObjectStore, ObjectTooLarge
from storage.objects.probe import probe

FORMAT: Final = 1
_MAX_BYTES: Final = 64 * 1024
_HEX: Final = re.compile(r"([0-9a-f]{2})+\Z")


class Identity(NamedTuple):
    """Who a store is."""

    id: bytes
    key_id: bytes

    def check(self, mac: Mac, source: str, place: str) -> None:
        """Refuse a key that is not the store's.

        Raises:
            StoreError: it was made with another.
        """
        if mac.key_id != self.key_id:
            raise StoreError(f"{source} is the key {mac.key_id.hex()}; the store at {place} was made with {self.key_id.hex()}")


def found(objects: ObjectStore, mac: Mac, place: str) -> Identity:
    """Make a store where there is none. Several processes may do so at once: one wins, all use its store.

    Args:
        objects: where.
        mac: the digests of its key.
        place: what it is called in errors.

    Raises:
        StoreUnsuitable: what is there cannot keep recordings.
        StoreUnavailable: it gave no answer.
        StoreError: it refused.
    """
    told = {
        "format": FORMAT,
        "id": secrets.token_hex(16),
        "key_id": mac.key_id.hex(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "checked": list(probe(objects)),
    }
    objects.put_new(STORE, f"{json.dumps(told)}\n".encode())
    made = read(objects, place)
    if made is None:
        raise StoreError(f"{STORE} was written to {place}, and is not there")
    return made


def read(objects: ObjectStore, place: str) -> Identity | None:
    """Who the store is, or None where there is none.

    Raises:
        StoreError: it is newer than this code, or is none.
    """
    name = f"{place.rstrip('/')}/{STORE}"
    try:
        told: Any = json.loads(objects.get(STORE, _MAX_BYTES))
    except ObjectNotFound:
        return None
    except (ValueError, RecursionError, ObjectTooLarge) as error:
        raise StoreError(f"{name} cannot be read: {error}") from error
    fields = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    made, store_id, key_id = fields.get("format"), fields.get("id"), fields.get("key_id")
    if isinstance(made, int) and made > FORMAT:
        raise StoreError(f"the store at {place} is of format {made}; this kitchenlog reads {FORMAT}: install a newer one")
    if made != FORMAT or not is_hex(store_id, 16) or not is_hex(key_id, 8):
        raise StoreError(f"{name} does not describe a store")
    return Identity(bytes.fromhex(store_id), bytes.fromhex(key_id))


def is_hex(text: Any, size: int) -> TypeGuard[str]:
    """Whether it is so many bytes as hexadecimal digits."""
    return isinstance(text, str) and len(text) == 2 * size and _HEX.match(text) is not None
