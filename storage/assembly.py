"""Records to frames: encoding, value digests, and storing each value once."""

from __future__ import annotations

from typing import Any, Final

from storage import codec
from storage.digest import Mac
from storage.frames import FRAME_HEADER_BYTES, LEFT_OUT, MAX_BODY_BYTES, PERSONAL, pack_frame_header
from storage.ids import NO_TRACE
from storage.records import (
    ENVIRONMENT_FIELD,
    LATE,
    LOST_FIELD,
    MANIFEST_FIELD,
    RECORDS_FIELD,
    REF_FIELD,
    Kind,
)
from storage.sink import Sink

INLINE_BYTES: Final = 512
"""Values from this size on are records of their own."""
_HEADER, _VALUE, _END = int(Kind.HEADER), int(Kind.VALUE), int(Kind.END)
_MOVES: Final = frozenset({int(Kind.ANNOTATION), int(Kind.LINK)})
_ARRAY_HEADS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
REF_AT: Final = tuple(REF_FIELD.get(kind, 0) for kind in range(max(Kind) + 1))
"""`REF_FIELD` as a table: the request path looks it up for every record."""


class Assembler:
    """Makes the frames of records. One thread uses it.

    Args:
        mac: the store's digests.
        shared: values of the agent and not of a trace, by digest. Others add to it.
    """

    __slots__ = ("_in_file", "_mac", "_shared", "size")

    size: int
    """Bytes assembled since this was last set to 0."""

    def __init__(self, mac: Mac, shared: dict[bytes, bytes]) -> None:
        self._mac = mac
        self._shared = shared
        self.size = 0
        self._in_file: set[bytes] = set()

    def begin_file(self) -> None:
        """Forget which shared values the file has."""
        self._in_file.clear()

    def add(self, out: list[bytes], sink: Sink, kind: int, record: int, fields: tuple[Any, ...]) -> int:
        """Append the frames of a record to `out` and say how many there are for its trace.

        Raises:
            Exception: it cannot be encoded. Take back what was appended, and forget the trace's values.
        """
        count = 1
        if sink.ended and kind in _MOVES:
            record |= LATE
        at = REF_AT[kind]
        value = fields[at]
        if type(value) is bytes and len(value) >= INLINE_BYTES:
            ref, new = self._add_value(out, sink, value)
            count += new
            fields = (*fields[:at], ref, *fields[at + 1 :])
        if kind == _END:
            total = sink.written + count
            fields = (*fields[:RECORDS_FIELD], total, *fields[RECORDS_FIELD + 1 : LOST_FIELD], sink.lost)
        body = codec.encode(fields)
        if body[0] not in _ARRAY_HEADS:  # the encoder never raises: it gives a stand-in for what it cannot encode
            raise ValueError(f"the fields of a {Kind(kind).name.lower()} cannot be encoded")
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"the fields of a {Kind(kind).name.lower()} have {len(body):,} bytes")
        head = pack_frame_header(kind, 0, record, sink.trace_id, body)
        if kind == _HEADER:  # last of what can fail, so that what is taken back is never a shared value
            self._add_shared(out, fields[MANIFEST_FIELD])
            self._add_shared(out, fields[ENVIRONMENT_FIELD])
        out += (head, body)
        self.size += len(body) + FRAME_HEADER_BYTES
        if kind == _END:
            sink.ended = True
            sink.latest = None
        return count

    def _add_value(self, out: list[bytes], sink: Sink, value: bytes) -> tuple[int, int]:
        """(record id of the value, frames added)."""
        latest = sink.latest
        if latest is not None and latest[0] == value:
            return latest[1], 0
        digest = self._mac("value", value)
        known = sink.values.get(digest)
        if known is not None:
            return known, 0
        record = sink.next_id()
        if sink.ended:
            record |= LATE
        flags = PERSONAL if sink.personal else 0
        if len(value) > codec.MAX_VALUE_BYTES:
            flags |= LEFT_OUT
            body = digest + len(value).to_bytes(8, "little")
        else:
            body = digest + value
        out += (pack_frame_header(_VALUE, flags, record, sink.trace_id, body), body)
        self.size += len(body) + FRAME_HEADER_BYTES
        sink.values[digest] = record
        sink.latest = (value, record)
        return record, 1

    def _add_shared(self, out: list[bytes], digest: bytes) -> None:
        value = self._shared.get(digest)
        if value is None or digest in self._in_file:
            return
        self._in_file.add(digest)
        body = digest + value
        out += (pack_frame_header(_VALUE, 0, len(self._in_file), NO_TRACE, body), body)
