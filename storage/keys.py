"""The names of objects and record files: made, taken apart and validated here and nowhere else (docs/format.md, section 1).

A trace lies under the hour of its own id, whoever wrote it and when: what is said of it later comes to lie beside it.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, NamedTuple

from storage.ids import trace_seconds

HOT: Final = "hot/"
LOG: Final = "log"
STORE: Final = "store.json"
QUARANTINE: Final = "quarantine/"

_HOUR: Final = "%Y%m%d-%H"
_PACK: Final = re.compile(r"hot/(\d{8}-\d\d)/([0-9a-f]{16})-(\d{6,9})\.pack\Z")
_LOG_FILE: Final = re.compile(r"([0-9a-f]{16})-(\d{6,9})\.log\Z")


class FileName(NamedTuple):
    """What the name of a record file says."""

    writer: bytes
    sequence: int


class PackKey(NamedTuple):
    """What the key of a pack says."""

    hour: str
    writer: bytes
    sequence: int


def hour_of(trace_id: bytes) -> str:
    """The hour of a trace, UTC, as 20261125-09."""
    return dt.datetime.fromtimestamp(trace_seconds(trace_id), dt.UTC).strftime(_HOUR)


def hour_ends(hour: str) -> dt.datetime:
    """When an hour is over."""
    return dt.datetime.strptime(hour, _HOUR).replace(tzinfo=dt.UTC) + dt.timedelta(hours=1)


def log_file(writer: bytes, sequence: int) -> str:
    """The name of a record file."""
    return f"{writer.hex()}-{sequence:06d}.log"


def parse_log_file(name: str) -> FileName | None:
    """What the name of a record file says, or None for any other."""
    told = _LOG_FILE.match(name)
    return None if told is None else FileName(bytes.fromhex(told[1]), int(told[2]))


def hour_prefix(hour: str) -> str:
    """What the keys of an hour's packs begin with."""
    return f"{HOT}{hour}/"


def pack(hour: str, writer: bytes, sequence: int) -> str:
    """The key of a pack."""
    return f"{HOT}{hour}/{writer.hex()}-{sequence:06d}.pack"


def parse_pack(key: str) -> PackKey | None:
    """What the key of a pack says, or None for any other."""
    told = _PACK.match(key)
    return None if told is None else PackKey(told[1], bytes.fromhex(told[2]), int(told[3]))


def rows(pack_key: str) -> str:
    """The key of the index rows of a pack."""
    return f"{pack_key.removesuffix('.pack')}.parquet"


def quarantined(pack_key: str) -> str:
    """The key of the note that a pack is damaged."""
    return f"{QUARANTINE}{pack_key}.json"
