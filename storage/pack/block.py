"""The content of a block: frames, and stubs for values that lie elsewhere in the pack (docs/pack.md, section 5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from storage.digest import DIGEST_BYTES
from storage.errors import CorruptRecord
from storage.frames import FRAME_HEADER_BYTES, LEFT_OUT, PERSONAL, Frame, pack_frame_header, unpack_frame
from storage.records import Kind

IN_BLOCK: Final = 0x0100
IN_SHARED: Final = 0x0200
IN_VECTORS: Final = 0x0400
IN_LARGE: Final = 0x0800
ELSEWHERE: Final = IN_BLOCK | IN_SHARED | IN_VECTORS | IN_LARGE
"""The flags of which a stub has one and a frame has none."""

_HEAD: Final = struct.Struct("<BBHIII16s")
_PLACE: Final = struct.Struct(f"<{DIGEST_BYTES}sQ")
_OFFSET: Final = struct.Struct("<I")


class Stub(NamedTuple):
    """What stands for a value whose content is elsewhere."""

    offset: int
    flags: int
    """Those of the frame it stands for."""
    place: int
    """Which of the four flags of stubs it has."""
    record: int
    trace: bytes
    check: int
    """CRC-32 of the frame it stands for."""
    target: int
    """Where in the block the content is, for one that is `IN_BLOCK`."""
    digest: bytes
    """Of the value, for any other."""
    size: int
    """Bytes of its content, for any other."""


def head_bytes(frame: Frame) -> bytes:
    """What a frame has before its body in the log."""
    return pack_frame_header(frame.kind, frame.flags, frame.record, frame.trace, frame.body)


def stub_bytes(head: bytes, value: bytes, place: int, target: int = 0) -> bytes:
    """What stands for a value's frame whose content is elsewhere.

    Args:
        head: of the whole frame.
        value: its body.
        place: one of the four flags of stubs.
        target: where in the block the content is, for `IN_BLOCK`.
    """
    kind, version, flags, _, check, record, trace = _HEAD.unpack(head)
    body = _OFFSET.pack(target) if place == IN_BLOCK else _PLACE.pack(value[:DIGEST_BYTES], len(value) - DIGEST_BYTES)
    return _HEAD.pack(kind, version, flags | place, len(body), check, record, trace) + body


def read(content: memoryview, start: int, end: int) -> Iterator[Frame | Stub]:
    """The frames and stubs of a stretch of a block's content.

    Raises:
        CorruptRecord: they do not fill it.
    """
    view = content[:end]
    at = start
    while at < end:
        one = _read_one(view, at)
        yield one
        at += FRAME_HEADER_BYTES + (len(one.body) if isinstance(one, Frame) else _stub_length(one.place))


def _stub_length(place: int) -> int:
    return _OFFSET.size if place == IN_BLOCK else _PLACE.size


def _read_one(view: memoryview, at: int) -> Frame | Stub:
    if at + FRAME_HEADER_BYTES > len(view):
        raise CorruptRecord(f"its content ends inside the frame at {at}")
    place = int.from_bytes(view[at + 2 : at + 4], "little") & ELSEWHERE
    if place:
        return _read_stub(view, at, place)
    frame = unpack_frame(view, at)
    if frame is None:
        raise CorruptRecord(f"its content has no whole frame at {at}")
    return frame


def _read_stub(view: memoryview, at: int, place: int) -> Stub:
    kind, version, flags, length, check, record, trace = _HEAD.unpack_from(view, at)
    body = at + FRAME_HEADER_BYTES
    if (
        place & (place - 1)
        or kind != Kind.VALUE
        or version != 1
        or flags & LEFT_OUT
        or length != _stub_length(place)
        or body + length > len(view)
    ):
        raise CorruptRecord(f"its content has no stub of this format at {at}")
    if flags & PERSONAL and place in {IN_BLOCK, IN_SHARED}:
        raise CorruptRecord(f"its content has at {at} a value of a subject that is kept with others' values")
    own = flags & ~ELSEWHERE
    if place == IN_BLOCK:
        return Stub(at, own, place, record, trace, check, _OFFSET.unpack_from(view, body)[0], b"", 0)
    digest, size = _PLACE.unpack_from(view, body)
    return Stub(at, own, place, record, trace, check, 0, digest, size)


def target_content(content: memoryview, stub: Stub) -> bytes:
    """The content of the value in the same block that a stub names, its digest before it.

    Raises:
        CorruptRecord: there is none, or it is not one that others may use.
    """
    found = _read_one(content, stub.target)
    if not isinstance(found, Frame) or found.kind != Kind.VALUE or found.flags:
        raise CorruptRecord(f"its content has at {stub.offset} a stub for what is no shared value")
    return found.body


def restore(stub: Stub, content: bytes) -> Frame:
    """The frame that a stub stands for.

    Args:
        stub: it.
        content: the value's, with its digest before it where the stub does not tell it.

    Raises:
        CorruptRecord: it is not that of the frame.
    """
    body = stub.digest + content
    head = pack_frame_header(Kind.VALUE, stub.flags, stub.record, stub.trace, body)
    if int.from_bytes(head[8:12], "little") != stub.check:
        raise CorruptRecord(f"value {stub.record} of trace {stub.trace.hex()} is not what was written")
    return Frame(stub.offset, int(Kind.VALUE), stub.flags, stub.record, stub.trace, body)


def left(stub: Stub) -> Frame:
    """A stub as a frame, for a reader that did not ask for its content: its flag, and a body of digest and size."""
    return Frame(
        stub.offset, int(Kind.VALUE), stub.flags | stub.place, stub.record, stub.trace, _PLACE.pack(stub.digest, stub.size)
    )
