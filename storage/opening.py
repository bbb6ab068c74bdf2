"""From what a user calls a store to the store: where its objects are, its key, and this machine's record files of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import attrs

from storage import founding, remembered, store_key
from storage.digest import Mac
from storage.errors import StoreError
from storage.keys import LOG
from storage.objects.contract import ObjectStore, StoreUnavailable
from storage.objects.folder import FolderObjectStore
from storage.objects.locate import is_remote, locate
from storage.objects.probe import ask_again
from storage.objects.s3_settings import S3Settings
from storage.store import Store

SPOOL: Final = "spool"
_IGNORE: Final = ".gitignore"


@attrs.frozen(kw_only=True)
class Settings:
    """How a store is reached, beyond its place. None of it is for a folder.

    Args:
        s3: how the bucket is reached.
        key: the store's key, 64 hexadecimal digits; by default that of KITCHENLOG_KEY, else that of `key_file`.
        key_file: the file that holds the key; made with a new key where the store is new and the file is not there.
        spool: the folder that record files wait in until their packs are in the bucket.
        tell: what a new key is told to, in words: it is printed once and kept nowhere.
    """

    s3: S3Settings | None = None
    key: str | None = attrs.field(default=None, repr=False)
    key_file: str | None = None
    spool: str = f".kitchenlog/{SPOOL}"
    tell: Callable[[str], None] = lambda text: print(f"kitchenlog: {text}", file=sys.stderr)  # noqa: T201 - it must be seen


def open_store(place: str | os.PathLike[str] | ObjectStore, *, create: bool, settings: Settings | None = None) -> Store:
    """The store at a place, made there if it is to be.

    Args:
        place: a folder, `s3://bucket/prefix`, or an object store.
        create: make it where there is none, and write to it: a bucket is asked whether it keeps what recordings need.
        settings: for a bucket or an object store.

    Raises:
        StoreError: there is none, it is newer than this code, its key is not the one it was made with, or it is no place
            that recordings can be kept in.
        StoreUnavailable: it gave no answer. A bucket that this machine has written to before is opened for writing all the same.
    """
    told = settings or Settings()
    if isinstance(place, (str, os.PathLike)):
        if not is_remote(place):
            return _open_folder(place, create=create)
        return _open_objects(str(place), locate(place, settings=told.s3), told, create=create, remote=True)
    return _open_objects(repr(place), place, told, create=create, remote=False)


def _open_folder(place: str | os.PathLike[str], *, create: bool) -> Store:
    locate(place)  # refuses what is written as the URL of something else
    path = str(Path(place).absolute())
    with _told(f"no store can be made at {path}") if create else contextlib.nullcontext():
        objects = FolderObjectStore(path, create=create)
        log_folder = os.path.join(path, LOG)
        if create:
            _make_private(log_folder)
            _ignore(path)
        elif not os.path.isdir(path):
            raise _no_store(path)
        identity = founding.read(objects, path)
        if identity is None and create:
            identity = founding.found(objects, store_key.make_beside(objects, path), path)
    if identity is None:
        raise _no_store(path)
    source = os.path.join(path, store_key.KEY_FILE)
    mac = store_key.read(source)
    identity.check(mac, source, path)
    return Store(path, objects, identity, mac, log_folder)


def _open_objects(name: str, objects: ObjectStore, told: Settings, *, create: bool, remote: bool) -> Store:
    asked = True
    try:
        identity = founding.read(objects, name)
    except StoreUnavailable as error:
        identity = remembered.recall(told.spool, name) if create and remote else None
        if identity is None:
            raise
        asked = False
        told.tell(f"{error}. What is recorded meanwhile waits in {told.spool}")
    if identity is None and not create:
        raise _no_store(name)
    mac, source = _key_of(name, told, new=identity is None)
    known = identity is not None
    if identity is None:
        identity = founding.found(objects, mac, name)
    identity.check(mac, source, name)
    if known and create and asked:  # after the check: who has not its key writes nothing to it
        ask_again(objects)
    log_folder = os.path.join(os.path.abspath(told.spool), identity.id.hex())
    if create:
        with _told(f"no record files can be kept in {log_folder}"):
            _make_private(log_folder)
            _ignore(os.path.dirname(log_folder))
            if remote and asked:
                remembered.remember(log_folder, name, identity)
    return Store(name, objects, identity, mac, log_folder, asked=asked)


def _key_of(name: str, told: Settings, *, new: bool) -> tuple[Mac, str]:
    """The key, and where it is from."""
    if told.key is not None:
        return store_key.parse(told.key, "key="), "key="
    if variable := os.environ.get(store_key.VARIABLE):
        return store_key.parse(variable, store_key.VARIABLE), store_key.VARIABLE
    if told.key_file is not None:
        made = store_key.make_file(told.key_file) if new else store_key.read(told.key_file)
        return made, told.key_file
    if not new:
        raise StoreError(
            f"the store at {name} is opened with the key it was made with: give key=..., set {store_key.VARIABLE}, "
            "or name a key_file in kitchenlog.toml"
        )
    key = store_key.new_key()
    told.tell(
        f"a new store at {name}, with the key\n  {store_key.VARIABLE}={key}\n"
        "Keep it: every process needs it, and it is kept nowhere else"
    )
    return store_key.parse(key, "key="), "the new key"


def _make_private(folder: str) -> None:
    os.makedirs(folder, 0o700, exist_ok=True)


def _ignore(folder: str) -> None:
    with contextlib.suppress(FileExistsError), open(os.path.join(folder, _IGNORE), "x", encoding="ascii") as file:
        file.write("*\n")


@contextlib.contextmanager
def _told(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error}") from error


def _no_store(place: str) -> StoreError:
    return StoreError(
        f"no recordings in {place}: no store is there yet. Run an agent here first, or name another one with "
        "configure(store=...), --store or kitchenlog.toml"
    )
