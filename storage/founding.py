"""Making a store and checking one (docs/format.md, sections 1 and 2)."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import secrets
from typing import Any, Final, TypeGuard, cast

from storage.digest import KEY_BYTES, Mac
from storage.disk import OS_DISK
from storage.errors import StoreError

FORMAT: Final = 1
LOG: Final = "log"
_STORE: Final = "store.json"
_KEY: Final = "key"
_IGNORE: Final = ".gitignore"
_HEX: Final = re.compile(r"([0-9a-f]{2})+\Z")


def found(path: str) -> None:
    """Make a store where there is none. Several processes may do so at once: one wins, all use its store.

    Raises:
        StoreError: it cannot be made there.
    """
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        os.makedirs(os.path.join(path, LOG), 0o700, exist_ok=True)
        if os.path.exists(os.path.join(path, _STORE)):
            return
        _write_once(path, _IGNORE, "*\n", 0o644)
        _write_once(path, _KEY, f"{secrets.token_hex(KEY_BYTES)}\n", 0o600)
        # The key that is there, be it this process's or another's: the store is made for that one.
        told = {
            "format": FORMAT,
            "id": secrets.token_hex(16),
            "key_id": _read_key(path).key_id.hex(),
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        _write_once(path, _STORE, f"{json.dumps(told)}\n", 0o644)
    except OSError as error:
        raise StoreError(f"no store can be made at {path}: {error}") from error


def _write_once(path: str, name: str, text: str, mode: int) -> None:
    """Write a file unless it is there. Whoever sees it sees all of it."""
    draft = os.path.join(path, f".{name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, os.path.join(path, name))
    finally:
        os.unlink(draft)
    OS_DISK.sync_folder(path)


def inspect(path: str) -> tuple[bytes, Mac]:
    """(id, digests) of the store at a path.

    Raises:
        StoreError: there is none, it is newer than this code, or its key is not the one it was made with.
    """
    told = _read_store(path)
    made, store_id, key_id = told.get("format"), told.get("id"), told.get("key_id")
    if isinstance(made, int) and made > FORMAT:
        raise StoreError(f"the store at {path} is of format {made}; this kitchenlog reads {FORMAT}: install a newer one")
    if made != FORMAT or not _is_hex(store_id, 16) or not _is_hex(key_id, 8):
        raise StoreError(f"{os.path.join(path, _STORE)} does not describe a store")
    mac = _read_key(path)
    if mac.key_id.hex() != key_id:
        raise StoreError(f"{os.path.join(path, _KEY)} is the key {mac.key_id.hex()}; the store was made with {key_id}")
    return bytes.fromhex(store_id), mac


def _is_hex(text: Any, size: int) -> TypeGuard[str]:
    return isinstance(text, str) and len(text) == 2 * size and _HEX.match(text) is not None


def _read_store(path: str) -> dict[str, Any]:
    file = os.path.join(path, _STORE)
    try:
        with open(file, encoding="utf-8") as opened:
            told: Any = json.load(opened)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"no recordings in {path}: no store is there yet. Run an agent here first, or name another folder with "
            "configure(store=...), --store or kitchenlog.toml"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _read_key(path: str) -> Mac:
    file = os.path.join(path, _KEY)
    try:
        with open(file, encoding="ascii") as opened:
            text = opened.read().strip()
    except FileNotFoundError:
        raise StoreError(f"{file} is missing: a store is opened with the key it was made with") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    if not _is_hex(text, KEY_BYTES):
        raise StoreError(f"{file} is no key: it holds {2 * KEY_BYTES} hexadecimal digits")
    return Mac(bytes.fromhex(text))
