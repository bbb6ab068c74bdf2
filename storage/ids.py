"""Ids: made, validated and printed here and nowhere else (docs/format.md, section 2)."""

from __future__ import annotations

import os
import random
import re
import time
from typing import Final

from storage.errors import InvalidId

TRACE_BYTES: Final = 16
NO_TRACE: Final = bytes(TRACE_BYTES)
"""The trace id of records that belong to a file and not to a trace."""

_PREFIX: Final = re.compile(r"[0-9a-f]{1,32}\Z")
_SPAN: Final = re.compile(r"[0-9a-f]{16}\Z")
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")

# Span ids need to be unique, not secret: a generator seeded by the system is ten times cheaper than os.urandom.
_generator = random.Random(os.urandom(32))


_pool: list[bytes] = []
_spans: list[bytes] = []


def random_bytes(count: int) -> bytes:
    """At most 32 bytes from the system's generator, read many at a time: each read gives the interpreter lock away."""
    while True:
        try:
            return _pool.pop()[:count]
        except IndexError:
            drawn = os.urandom(32 * 128)
            _pool.extend(drawn[at : at + 32] for at in range(0, len(drawn), 32))


def _reseed() -> None:
    _pool.clear()
    _spans.clear()
    _generator.seed(os.urandom(32))


os.register_at_fork(after_in_child=_reseed)


def new_trace_id() -> bytes:
    """16 bytes: 5 random, 4 of unix seconds, 7 random."""
    noise = random_bytes(12)
    return noise[:5] + int(time.time()).to_bytes(4, "big") + noise[5:]


def new_span_id() -> bytes:
    """8 random bytes, not all zero."""
    while True:
        try:
            return _spans.pop()
        except IndexError:
            drawn = _generator.randbytes(8 * 512)
            _spans.extend(one for at in range(0, len(drawn), 8) if any(one := drawn[at : at + 8]))


def trace_seconds(trace_id: bytes) -> int:
    """The unix second in which a trace id was made."""
    return int.from_bytes(trace_id[5:9], "big")


def check_trace_prefix(text: str) -> str:
    """A trace id or a prefix of one, lower case.

    Raises:
        InvalidId: it is not 1 to 32 hexadecimal digits.
    """
    lowered = text.strip().lower() if isinstance(text, str) else ""
    if not _PREFIX.match(lowered):
        raise InvalidId(text)
    return lowered


def is_span_id(text: str) -> bool:
    """Whether this is a printed span id."""
    return _SPAN.match(text) is not None


def parse_traceparent(text: str) -> tuple[str, str, int] | None:
    """(trace id, parent span id, flags) of a W3C `traceparent` header, or None where it is not a valid one."""
    found = _TRACEPARENT.match(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return found[2], found[3], int(found[4], 16)
