"""One trace as it was stored: its records merged, and its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs
import msgspec

from storage import codec, frames
from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord
from storage.records import BODIES, Annotation, End, Header, Intent, Kind, Link, Outcome, Ref, Span

_decoders = {kind: msgspec.msgpack.Decoder(body) for kind, body in BODIES.items()}


class ValueLeftOut(CorruptRecord):
    """A value was too large to be stored."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the value was left out of the recording: {size:,} bytes are more than {codec.MAX_VALUE_BYTES:,}")


@attrs.define(eq=False)
class Stored:
    """The records of one trace."""

    trace_id: bytes
    header: Header
    intents: dict[int, Intent]
    outcomes: dict[int, Outcome]
    """By the record id of their intent."""
    spans: dict[int, Span]
    annotations: list[Annotation]
    links: list[Link]
    end: End | None
    state: str
    """whole, unfinished or damaged."""
    damage: list[str]
    manifest: bytes
    environment: bytes
    _values: dict[int, tuple[bytes, bytes, bool]]
    _mac: Mac
    _other: Callable[[bytes], Stored]
    _by_digest: dict[bytes, bytes] | None = None

    def value(self, ref: Ref) -> bytes:
        """The stored bytes that a reference stands for; nil for none.

        Raises:
            CorruptRecord: they are not there, or are not what was written.
            ValueLeftOut: they were never stored.
        """
        if ref is None:
            return b"\xc0"
        if isinstance(ref, bytes):
            return ref
        if isinstance(ref, int):
            return self._own(ref)
        trace, digest = ref
        try:
            found = self._other(trace).find(digest)
        except Exception as error:
            raise CorruptRecord(f"a value of trace {trace.hex()} is needed, which cannot be read: {error}") from error
        if found is None:
            raise CorruptRecord(f"trace {trace.hex()} no longer holds a value that this one reuses")
        return found

    def _own(self, number: int) -> bytes:
        found = self._values.get(number)
        if found is None:
            raise CorruptRecord(f"value {number} of trace {self.trace_id.hex()} is missing")
        digest, data, left_out = found
        if left_out:
            raise ValueLeftOut(int.from_bytes(data, "little"))
        if self._mac("value", data) != digest:
            raise CorruptRecord(f"value {number} of trace {self.trace_id.hex()} is not what was written")
        return data

    def digest(self, ref: Ref) -> bytes:
        """The keyed digest of the value that a reference stands for."""
        if isinstance(ref, tuple):
            return ref[1]
        if isinstance(ref, int) and ref in self._values:
            return self._values[ref][0]
        return self._mac("value", self.value(ref))

    def find(self, digest: bytes) -> bytes | None:
        """A value of this trace by its digest."""
        if self._by_digest is None:
            found = {of: data for of, data, left_out in self._values.values() if not left_out}
            for ref in self._refs():
                if isinstance(ref, bytes):
                    found.setdefault(self._mac("value", ref), ref)
            self._by_digest = found
        return self._by_digest.get(digest)

    def _refs(self) -> list[Ref]:
        refs: list[Ref] = [self.header.input]
        refs += [intent.request for intent in self.intents.values()]
        refs += [outcome.value for outcome in self.outcomes.values()]
        refs += [span.output for span in self.spans.values()]
        return refs


def merge(
    trace_id: bytes,
    found: list[frames.Frame],
    shared: dict[bytes, bytes],
    damage: list[str],
    mac: Mac,
    other: Callable[[bytes], Stored],
) -> Stored:
    """Put a trace together from its frames; duplicates and order do not matter.

    Raises:
        CorruptRecord: its header is missing or unreadable.
    """
    damage = list(damage)
    by_record: dict[int, frames.Frame] = {}
    for frame in found:
        known = by_record.get(frame.record)
        if known is not None and (known.kind, known.flags, known.body) != (frame.kind, frame.flags, frame.body):
            damage.append(f"two records {frame.record} that differ")
        by_record.setdefault(frame.record, frame)
    bodies: dict[int, Any] = {}
    values: dict[int, tuple[bytes, bytes, bool]] = {}
    for number, frame in sorted(by_record.items()):
        if frame.kind == Kind.VALUE:
            values[number] = (frame.body[:DIGEST_BYTES], frame.body[DIGEST_BYTES:], bool(frame.flags & frames.LEFT_OUT))
            continue
        decoder = _decoders.get(frame.kind)
        if decoder is None:
            continue  # a kind of a later minor version
        try:
            bodies[number] = decoder.decode(frame.body)
        except msgspec.MsgspecError as error:
            damage.append(f"record {number} cannot be read: {error}")
    header = next((body for body in bodies.values() if isinstance(body, Header)), None)
    if header is None:
        raise CorruptRecord(f"trace {trace_id.hex()} has lost its header; {len(found)} other records are there")
    end = next((body for body in bodies.values() if isinstance(body, End)), None)
    if end is not None and len(by_record) < end.records:
        damage.append(f"{end.records - len(by_record)} of {end.records} records are missing")
    manifest, environment = shared.get(header.manifest), shared.get(header.environment)
    if manifest is None or mac("value", manifest) != header.manifest:
        raise CorruptRecord(f"trace {trace_id.hex()} has lost the description of its agent")
    if environment is None or mac("value", environment) != header.environment:
        damage.append("the description of its environment is missing")
    complete = end is not None and len(by_record) >= end.records and not damage
    # Damage elsewhere in a file does not touch a trace all of whose records are there.
    state = "whole" if complete else "unfinished" if end is None and not damage else "damaged"
    intents = {number: body for number, body in bodies.items() if isinstance(body, Intent)}
    return Stored(
        trace_id,
        header,
        intents,
        {body.intent: body for body in bodies.values() if isinstance(body, Outcome)},
        {number: body for number, body in bodies.items() if isinstance(body, Span)},
        [body for body in bodies.values() if isinstance(body, Annotation)],
        [body for body in bodies.values() if isinstance(body, Link)],
        cast("End | None", end),
        state,
        damage,
        manifest,
        environment or b"\x80",
        values,
        mac,
        other,
    )
