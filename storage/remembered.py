"""Who the store in a bucket is, as this machine saw it last: a process can begin to record while the bucket gives no answer."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from typing import Any

from storage.founding import Identity, is_hex
from storage.keys import STORE


def remember(folder: str, place: str, identity: Identity) -> None:
    """Write down who a store is.

    Args:
        folder: of this machine's record files of it, which is named by its id.
        place: the URL of the bucket.
        identity: who it is.

    Raises:
        OSError: it cannot be written.
    """
    told = {"place": place, "key_id": identity.key_id.hex()}
    draft = os.path.join(folder, f"{STORE}.{secrets.token_hex(8)}")
    with open(draft, "x", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(draft, os.path.join(folder, STORE))


def recall(spool: str, place: str) -> Identity | None:
    """Who the store at a place was, or None where this machine never wrote to it.

    Args:
        spool: the folder of the folders of record files.
        place: the URL of the bucket.
    """
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(spool)):
            told = _read(os.path.join(spool, name, STORE)) if is_hex(name, 16) else {}
            key_id = told.get("key_id")
            if told.get("place") == place and is_hex(key_id, 8):
                return Identity(bytes.fromhex(name), bytes.fromhex(key_id))
    return None


def _read(path: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, encoding="utf-8") as file:
        told: Any = json.load(file)
        if isinstance(told, dict):
            return told
    return {}
