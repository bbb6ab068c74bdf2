"""What reading and writing recordings can refuse.

KitchenlogError
  StorageError
    InvalidId          text that is no trace id
    TraceNotFound      no trace of that id here
    AmbiguousTrace     a prefix of several
    CorruptRecord      bytes that are not what was written
    StoreError         the folder is not a usable store
    ValueLeftOut       a value too large to be stored
    RecordsLost        records that may not have reached the disk
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = (
    "AmbiguousTrace",
    "CorruptRecord",
    "InvalidId",
    "KitchenlogError",
    "RecordsLost",
    "StorageError",
    "StoreError",
    "TraceNotFound",
    "ValueLeftOut",
)


class KitchenlogError(Exception):
    """Base of every error this project raises on purpose."""


class StorageError(KitchenlogError):
    """Base of what the store refuses."""


class StoreError(StorageError):
    """The place named is not a usable store."""


class InvalidId(StorageError, ValueError):
    """The text is no trace id: not 1 to 32 hexadecimal digits."""

    def __init__(self, text: object) -> None:
        self.text = text
        super().__init__(f"{text!r} is no trace id: give 1 to 32 of its hexadecimal digits, as `kitchenlog list` prints them")


class TraceNotFound(StorageError, LookupError):
    """No trace of that id is in the store that was searched."""

    def __init__(self, wanted: str, place: str, count: int) -> None:
        self.wanted, self.place, self.count = wanted, place, count
        held = "holds no trace yet" if count == 0 else f"holds {count:,} trace{'s' if count != 1 else ''}"
        super().__init__(
            f"no trace {wanted} in {place}, which {held}; `kitchenlog list` shows them, and "
            "configure(store=...) or --store names another store"
        )


class AmbiguousTrace(StorageError, LookupError):
    """The prefix fits several traces; the newest five are listed."""

    def __init__(self, wanted: str, newest: Sequence[str], count: int) -> None:
        self.wanted, self.newest, self.count = wanted, tuple(newest), count
        listed = "".join(f"\n  {trace}" for trace in newest)
        super().__init__(f"{wanted} is the start of {count:,} traces; give more digits. The newest:{listed}")


class CorruptRecord(StorageError):
    """Stored bytes are not what was written."""


class ValueLeftOut(StorageError):
    """The value was too large to be stored: only its size and its digest are."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the value was left out of the recording: it has {size:,} bytes")


class RecordsLost(StorageError, OSError):
    """Records that were given to the log may not have reached the disk."""
