"""Record bodies (docs/format.md, section 5): positional, append-only fields."""

from __future__ import annotations

import enum
from typing import Any, Final

import msgspec

from storage.codec import Codec

Ref = bytes | int | tuple[bytes, bytes] | None
"""Stored bytes inline; record id of a value of this trace; (trace id, digest) of another's; or nothing."""


class Kind(enum.IntEnum):
    """The kind byte of a frame."""

    HEADER = 1
    INTENT = 2
    OUTCOME = 3
    SPAN = 4
    VALUE = 5
    ANNOTATION = 6
    TOMBSTONE = 7
    LINK = 8
    END = 9


class Error(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A recorded exception."""

    type: str
    message: str
    args: bytes | None
    data: bytes | None
    retryable: bool


class Header(msgspec.Struct, array_like=True, frozen=True):
    """What a trace is of."""

    minor: int
    features: int
    agent: str
    fingerprint: bytes
    manifest: bytes
    environment: bytes
    wall: int
    seed: bytes
    subject: bytes | None
    attributes: dict[str, Any] | None
    otel: tuple[str, str, int] | None
    input: Ref
    kind: str


class Intent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call that is about to be made inside a span."""

    parent: int
    call: int
    name: str
    attempt: int
    lane: str
    start: int
    nth: int
    time: int
    request: Ref
    flags: int
    callee: bytes


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What an effect ended in."""

    intent: int
    completion: int
    time: int
    status: int
    value: Ref
    error: Error | None
    attributes: dict[str, Any] | None
    findings: list[str] | None


class Span(msgspec.Struct, array_like=True, frozen=True):
    """What a node or a nested step ended in."""

    node: int
    intent: int
    span_id: bytes
    start: int
    duration: int
    status: int
    output: Ref
    error: Error | None
    attempts: list[tuple[int, int, int, Error | None]] | None
    attributes: dict[str, Any] | None
    draws: dict[str, list[tuple[str, Any]]] | None
    log: list[Any] | None
    findings: list[str] | None
    fingerprint: bytes
    completion: int
    wall: int


class Annotation(msgspec.Struct, array_like=True, frozen=True):
    """What was said of a trace."""

    kind: str
    wall: int
    value: Ref


class Link(msgspec.Struct, array_like=True, frozen=True):
    """Another trace that this one stands in a relation to."""

    relation: str
    trace: bytes
    value: Ref


class End(msgspec.Struct, array_like=True, frozen=True):
    """The last record of a whole trace."""

    status: int
    wall: int
    duration: int
    records: int
    output: Ref
    error: Error | None
    lost: int


Record = Header | Intent | Outcome | Span | Annotation | Link | End

REF_FIELD: Final[dict[int, int]] = {
    Kind.HEADER: 11,
    Kind.INTENT: 8,
    Kind.OUTCOME: 4,
    Kind.SPAN: 6,
    Kind.ANNOTATION: 2,
    Kind.LINK: 2,
    Kind.END: 4,
}
"""Where in the body of each kind its one reference to a value is."""
MANIFEST_FIELD: Final = 4
ENVIRONMENT_FIELD: Final = 5
"""Where a header names its two shared values."""
RECORDS_FIELD: Final = 3
LOST_FIELD: Final = 6
"""Where an end holds the counts that only the writer knows."""

LATE: Final = 0x8000_0000
"""Record ids from here on were given after the end of the trace, and `End.records` does not count them."""

_CODECS: Final[dict[int, Codec]] = {
    Kind.HEADER: Codec(Header),
    Kind.INTENT: Codec(Intent),
    Kind.OUTCOME: Codec(Outcome),
    Kind.SPAN: Codec(Span),
    Kind.ANNOTATION: Codec(Annotation),
    Kind.LINK: Codec(Link),
    Kind.END: Codec(End),
}


def decode(kind: int, body: bytes) -> Record | None:
    """The record of a body, or None for a kind without fields and for one that is newer than this reader.

    Raises:
        TypeError: the fields are not those of the kind.
        CorruptRecord: the body is no MessagePack.
    """
    codec = _CODECS.get(kind)
    if codec is None:
        return None
    record: Record = codec.decode(body)
    return record


def ref_of(record: Record) -> Ref:
    """The one reference of a record."""
    if isinstance(record, Header):
        return record.input
    if isinstance(record, Intent):
        return record.request
    if isinstance(record, (Span, End)):
        return record.output
    return record.value
