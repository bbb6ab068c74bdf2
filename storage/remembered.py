"""Who the store in a bucket is, as this machine saw it last: a process can begin to record while the bucket gives no answer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from typing import Any, Final

from storage.founding import Identity

_FILE: Final = "store.json"
_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}\Z")


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
    draft = os.path.join(folder, f"{_FILE}.{secrets.token_hex(8)}")
    with open(draft, "x", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(draft, os.path.join(folder, _FILE))


def recall(spool: str, place: str) -> Identity | None:
    """Who the store at a place was, or None where this machine never wrote to it.

    Args:
        spool: the folder of the folders of record files.
        place: the URL of the bucket.
    """
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(spool)):
            told = _read(os.path.join(spool, name, _FILE)) if _ID.match(name) else {}
            key_id = told.get("key_id")
            if told.get("place") == place and isinstance(key_id, str) and _KEY_ID.match(key_id):
                return Identity(bytes.fromhex(name), bytes.fromhex(key_id))
    return None


def _read(path: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, encoding="utf-8") as file:
        told: Any = json.load(file)
        if isinstance(told, dict):
            return told
    return {}
