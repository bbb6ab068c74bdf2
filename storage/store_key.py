"""The secret key of a store: 32 bytes, kept beside a folder of recordings and never in a bucket (docs/format.md, section 2)."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import Final

from storage.digest import KEY_BYTES, Mac
from storage.errors import StoreError
from storage.objects.contract import ObjectStore

VARIABLE: Final = "KITCHENLOG_KEY"
KEY_FILE: Final = "key"
_HEX: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}\Z")


def new_key() -> str:
    """A key, as text."""
    return secrets.token_hex(KEY_BYTES)


def parse(text: str, source: str) -> Mac:
    """The digests of a key.

    Args:
        text: the key, as 64 hexadecimal digits.
        source: where it is from, for the error. The error never holds the text.

    Raises:
        StoreError: it is no key.
    """
    if not _HEX.match(text.strip().lower()):
        raise StoreError(f"{source} is no key: it holds {2 * KEY_BYTES} hexadecimal digits")
    return Mac(bytes.fromhex(text.strip()))


def read(path: str) -> Mac:
    """The digests of the key in a file.

    Raises:
        StoreError: the file is missing, or holds no key.
    """
    try:
        with open(path, encoding="ascii") as opened:
            text = opened.read(4 * KEY_BYTES)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: a store is opened with the key it was made with") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    return parse(text, path)


def make_beside(objects: ObjectStore, folder: str) -> Mac:
    """The key beside a folder of recordings: the one that is there, or a new one. Several processes agree on one.

    Raises:
        StoreError: it cannot be written or read.
    """
    objects.put_new(KEY_FILE, f"{new_key()}\n".encode())
    return read(os.path.join(folder, KEY_FILE))


def make_file(path: str) -> Mac:
    """The key in a file of the user's choice: the one that is there, or a new one.

    Raises:
        StoreError: it cannot be written or read.
    """
    draft = f"{path}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{new_key()}\n")
                file.flush()
                os.fsync(file.fileno())
            # By a link, so that another process that looks sees all of it.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            os.unlink(draft)
    except OSError as error:
        raise StoreError(f"no key can be written to {path}: {error}") from error
    return read(path)
