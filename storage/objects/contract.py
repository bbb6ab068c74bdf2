"""The object store contract: immutable objects under keys, written once.

Every call ends in one of three ways: found, absent (`ObjectNotFound`), or failed (`StoreUnavailable`, and `StoreRefused`
where asking again would not help). A failure is never read as absence: a listing is whole or it raises.

    StorageError
      InvalidKey            text that is no key
      ObjectNotFound        no object of that key
      ObjectTooLarge        it has more bytes than the caller takes
      StoreUnavailable      no answer within the time there was
      StoreError
        StoreRefused        credentials, rights, a bucket or folder that is not there
        StoreUnsuitable     it answers, but not as this contract asks

A key is relative, of segments of `[a-z0-9._-]` joined by `/`. No key is the folder of another (`a` and `a/b`): a folder
cannot hold both, some S3 servers cannot either, and whoever makes the keys sees to it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, runtime_checkable

import attrs

from storage.errors import StorageError, StoreError
from storage.view import View

__all__ = (
    "MAX_KEY_LENGTH",
    "MAX_SEGMENT_LENGTH",
    "InvalidKey",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectTooLarge",
    "StoreRefused",
    "StoreUnavailable",
    "StoreUnsuitable",
    "Tail",
    "Viewable",
    "check_key",
    "check_prefix",
    "check_range",
    "is_key",
)

MAX_KEY_LENGTH: Final = 512
"""Characters in a key; S3 takes 1,024 bytes, the store's prefix among them."""
MAX_SEGMENT_LENGTH: Final = 200
"""Characters between two slashes; a file name takes 255 bytes."""

_SEGMENT: Final = rf"[a-z0-9_-][a-z0-9._-]{{0,{MAX_SEGMENT_LENGTH - 1}}}"
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*\Z")
_SHOWN: Final = 80


@attrs.frozen
class ObjectInfo:
    """What a listing tells of an object.

    Args:
        key: its key.
        size: its bytes.
        modified: when it was written, by the clock that the store's `now` reads.
    """

    key: str
    size: int
    modified: dt.datetime


class Tail(NamedTuple):
    """The end of an object."""

    data: bytes
    size: int
    """Bytes of the whole object."""


@runtime_checkable
class ObjectStore(Protocol):
    """Immutable objects under keys. Its methods block, may be called from any thread, and belong in worker threads.

    Every method raises `StoreUnavailable` and `StoreRefused`, every method that takes a key or prefix `InvalidKey`.
    """

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object if none is there. When this returns, it is durable; whoever sees it sees all of it.

        Returns:
            Whether the object there is now of these bytes: False if another was there. An equal one counts as written, since
            a lost reply looks the same: data that tells its writer has one winner among any number of writers.

        Raises:
            StoreUnavailable: it may have been written or may yet be. Putting it again is safe.
        """
        ...

    def get(self, key: str, limit: int) -> bytes:
        """The whole object.

        Args:
            key: its key.
            limit: the most bytes to take.

        Raises:
            ObjectNotFound: there is none.
            ObjectTooLarge: it has more bytes; no more than the limit was held.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes from the middle of an object: `length` of them, fewer only where it ends, none from its end on.

        Args:
            key: its key.
            start: offset of the first byte, from 0.
            length: number of bytes, at least 1.

        Raises:
            ObjectNotFound: there is none.
        """
        ...

    def get_tail(self, key: str, length: int) -> Tail:
        """The last bytes of an object, all of a shorter one, and its size.

        Args:
            key: its key.
            length: number of bytes, at least 1.

        Raises:
            ObjectNotFound: there is none.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose keys begin so, in the order of their keys' bytes.

        The call returns once all are known: a listing that breaks off yields nothing, so nobody acts on half of one.

        Args:
            prefix: the start of a key, with or without a slash at its end; the empty text for all.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object, if it is there. When this returns, that is durable."""
        ...

    def now(self) -> dt.datetime:
        """The store's time, in UTC, to the second or better: what `ObjectInfo.modified` is compared with."""
        ...

    def close(self) -> None:
        """Give back connections and memory. May be called twice; nothing else is called after it."""
        ...


@runtime_checkable
class Viewable(Protocol):
    """A store whose objects can be looked into at next to no cost, many small reads at a time."""

    def view(self, key: str) -> View:
        """Look into an object.

        Raises:
            ObjectNotFound: there is none.
        """
        ...


class InvalidKey(StorageError, ValueError):
    """The text is no key, or no object can have it."""

    def __init__(self, key: object, why: str) -> None:
        self.key, self.why = key, why
        text = repr(key)
        super().__init__(f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} is no key of an object: {why}")


class ObjectNotFound(StorageError, LookupError):
    """No object of that key is in the store."""

    def __init__(self, key: str, place: str) -> None:
        self.key, self.place = key, place
        super().__init__(f"no object {key} in {place}")


class ObjectTooLarge(StorageError):
    """The object has more bytes than the caller takes."""

    def __init__(self, key: str, size: int, limit: int) -> None:
        self.key, self.size, self.limit = key, size, limit
        super().__init__(
            f"{key} has {size:,} bytes or more; at most {limit:,} are read at once: read a range, or give a higher limit"
        )


class StoreUnavailable(StorageError):
    """The store gave no answer within the time there was. What was asked for may have been done."""

    def __init__(self, operation: str, key: str, place: str, attempts: int, seconds: float, last: str) -> None:
        self.operation, self.key, self.place = operation, key, place
        self.attempts, self.seconds, self.last = attempts, seconds, last
        tries = f"{attempts} attempt{'s' if attempts != 1 else ''} in {seconds:.1f} s"
        super().__init__(
            f"{_named(operation, key, place)} failed after {tries}, the last of them: {last}. "
            "It may be done again once the store answers"
        )


class StoreRefused(StoreError):
    """The store answered that it will not, and asking again would not help."""

    def __init__(self, operation: str, key: str, place: str, why: str) -> None:
        self.operation, self.key, self.place, self.why = operation, key, place, why
        super().__init__(f"{_named(operation, key, place)} was refused: {why}")


class StoreUnsuitable(StoreError):
    """The store answers, but lacks a property that recordings are kept safe by."""

    def __init__(self, missing: str, place: str, why: str) -> None:
        self.missing, self.place, self.why = missing, place, why
        super().__init__(f"{place} cannot keep recordings, {missing} is missing: {why}. Use another server or folder")


def _named(operation: str, key: str, place: str) -> str:
    return f"{operation} of {key} in {place}" if key else f"{operation} in {place}"


def is_key(text: str) -> bool:
    """Whether it is one: what lies in a store under any other name is not ours."""
    return len(text) <= MAX_KEY_LENGTH and _KEY.match(text) is not None and ".." not in text


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        InvalidKey: it is none.
    """
    if not isinstance(key, str) or not is_key(key):
        raise InvalidKey(
            key,
            f"one has segments of a-z, 0-9, '.', '_' and '-' joined by '/', none begins with '.' or holds '..', "
            f"at most {MAX_SEGMENT_LENGTH} characters in each and {MAX_KEY_LENGTH} in all",
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself.

    Raises:
        InvalidKey: no key can begin so.
    """
    if prefix != "":
        check_key(prefix.removesuffix("/") if isinstance(prefix, str) else prefix)
    return prefix


def check_range(start: int, length: int) -> None:
    """Refuse a range that no object has.

    Raises:
        ValueError: it begins before the object or takes no byte.
    """
    if start < 0 or length < 1:
        raise ValueError(f"{length} bytes from offset {start} are no range: the offset is at least 0, the length at least 1")
