"""Record bodies (docs/format.md, section 5): positional, append-only fields."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

Ref = bytes | int | tuple[bytes, bytes] | None
"""A value: inline bytes, the record id of a value record of the trace, (trace id, digest) of another trace's, or none."""


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
    attributes: dict[str, Any]
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
    draws: dict[str, list[tuple[str, int]]] | None
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


BODIES: dict[int, type[msgspec.Struct]] = {
    Kind.HEADER: Header,
    Kind.INTENT: Intent,
    Kind.OUTCOME: Outcome,
    Kind.SPAN: Span,
    Kind.ANNOTATION: Annotation,
    Kind.LINK: Link,
    Kind.END: End,
}

REF_FIELD: dict[int, int] = {
    Kind.HEADER: 11,
    Kind.INTENT: 8,
    Kind.OUTCOME: 4,
    Kind.SPAN: 6,
    Kind.ANNOTATION: 2,
    Kind.LINK: 2,
    Kind.END: 4,
}
"""Where in each body its reference to a value stands."""

INLINE_BYTES = 512
"""Values shorter than this stand in the record itself."""
