"""What the trace table tells of a trace, read off its records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from storage.errors import CorruptRecord
from storage.frames import PERSONAL, Frame
from storage.ids import TRACE_BYTES, trace_seconds
from storage.pack.layout import HAS_END, HAS_HEADER, PERSONAL_VALUES, REPLAY
from storage.records import Annotation, End, Header, Kind, Record, Span, decode

NO_SUBJECT: Final = bytes(16)
_TOLD: Final = frozenset({Kind.HEADER, Kind.END, Kind.ANNOTATION})
_LATEST: Final = (1 << 64) - 1


class Summary(NamedTuple):
    """Of a trace, as far as its records are in this pack. Times are unix nanoseconds."""

    agent: str
    fingerprint: bytes
    began: int
    ended: int
    subject: bytes
    otel: bytes | None
    flags: int
    """`REPLAY`, or nothing."""


def summarize(trace: bytes, frames: Iterable[Frame]) -> Summary:
    """What the records of a trace say of it. One that cannot be read says nothing."""
    header: Header | None = None
    end: End | None = None
    latest = 0
    spans: list[Frame] = []
    for frame in frames:
        if frame.kind == Kind.SPAN:
            spans.append(frame)
        if frame.kind not in _TOLD:
            continue
        record = _record(frame)
        latest = max(latest, _wall(record))
        header = header or (record if isinstance(record, Header) else None)
        end = end or (record if isinstance(record, End) else None)
    if end is None:
        latest = max([latest, *(_wall(_record(frame)) for frame in spans)])
    began = trace_seconds(trace) * 10**9 if header is None else _time(header.wall)
    ended = max(began, latest) if end is None else _time(end.wall)
    if header is None:
        return Summary("", b"", began, ended, NO_SUBJECT, None, 0)
    subject = header.subject if header.subject is not None and len(header.subject) == len(NO_SUBJECT) else NO_SUBJECT
    flags = REPLAY if header.kind == "replay" else 0
    return Summary(header.agent, header.fingerprint, began, ended, subject, _otel(header), flags)


def flags_of(frame: Frame) -> int:
    """What one frame adds to the flags of its part."""
    flags = PERSONAL_VALUES if frame.flags & PERSONAL else 0
    if frame.kind == Kind.HEADER:
        flags |= HAS_HEADER
    elif frame.kind == Kind.END:
        flags |= HAS_END
    return flags


def _record(frame: Frame) -> Record | None:
    try:
        return decode(frame.kind, frame.body)
    except (TypeError, CorruptRecord):  # carried as it is: loading the trace says so
        return None


def _wall(record: Record | None) -> int:
    return _time(record.wall) if isinstance(record, (Header, Span, Annotation)) else 0


def _time(wall: int) -> int:
    return min(max(wall, 0), _LATEST)


def _otel(header: Header) -> bytes | None:
    if header.otel is None:
        return None
    try:
        made = bytes.fromhex(header.otel[0])
    except ValueError:
        return None
    return made if len(made) == TRACE_BYTES else None
