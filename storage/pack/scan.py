"""Reading the traces of a pack one after the other, a block at a time.

Of a trace that is whole, every record is decoded and nothing else is made; whatever is unusual about one is left to
`Stored`, which says what it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from storage.codec import Codec
from storage.digest import DIGEST_BYTES, Mac
from storage.frames import FRAME_HEADER_BYTES, LEFT_OUT, MAX_BODY_BYTES
from storage.pack import block
from storage.pack.block import ELSEWHERE, IN_BLOCK, IN_LARGE, IN_VECTORS, Stub
from storage.pack.layout import Part
from storage.pack.reader import PackReader, ReadRange, ReadTail
from storage.records import LATE, Annotation, End, Header, Intent, Kind, Outcome, Record, Ref, Span, decode

_HEAD: Final = struct.Struct("<BBHIII16s")
_VALUE: Final = int(Kind.VALUE)
_INTENT: Final = int(Kind.INTENT)
_OUTCOME: Final = int(Kind.OUTCOME)
_SPAN: Final = int(Kind.SPAN)
# An intent holds no value of a type that is not known, so the bare decoder takes what `records.decode` takes.
_decode_intent: Final = msgspec.msgpack.Decoder(Intent).decode
_decode_outcome: Final[Callable[[bytes], Outcome]] = Codec(Outcome).decode
_decode_span: Final[Callable[[bytes], Span]] = Codec(Span).decode
_OFFSET_BYTES: Final = 4
_PLACE_BYTES: Final = DIGEST_BYTES + 8
_READ_AHEAD: Final = 4 * 1024 * 1024
"""What is read at once of a pack that is read from its beginning to its end."""
_WINDOWS: Final = 2
"""Blocks and vectors lie apart, and are read in step."""


class Unusual(Exception):
    """A trace that is not plainly whole; `Store.load` tells what it is."""


class Scanned:
    """A trace of which every record is there and can be read. Its values are compared with their digests as they are used."""

    __slots__ = (
        "_checked", "_mac", "annotations", "end", "header", "intents", "manifest", "numbers", "outcomes", "refs", "spans",
        "trace", "values",
    )  # fmt: skip

    header: Header
    end: End
    spans: list[tuple[int, Span]]
    intents: list[tuple[int, Intent]]
    outcomes: dict[int, Outcome]
    """By the record id of their intent."""
    annotations: list[Annotation]
    manifest: bytes
    """The agent's, as stored; compared with its digest."""

    def __init__(self, trace: bytes, mac: Mac) -> None:
        self.trace = trace
        self.numbers: list[int] = []
        """Record ids."""
        self.spans, self.intents, self.annotations = [], [], []
        self.outcomes = {}
        self.refs: list[Ref] = []
        self.values: dict[int, tuple[bytes, bytes]] = {}
        """Digest and content, which may not be compared yet."""
        self._checked: dict[int, bytes] = {}
        self._mac = mac

    def add_compared(self, number: int, digest: bytes, content: bytes) -> None:
        """Take in a value that has its digest."""
        self.values[number] = (digest, content)
        self._checked[number] = content

    def add(self, record: Record | None) -> None:
        """Take in what a trace has one of, or few.

        Raises:
            Unusual: it is one too many, or none that is known.
        """
        if isinstance(record, Annotation):
            self.annotations.append(record)
            self.refs.append(record.value)
        elif isinstance(record, Header) and not hasattr(self, "header"):
            self.header = record
            self.refs.append(record.input)
        elif isinstance(record, End) and not hasattr(self, "end"):
            self.end = record
            self.refs.append(record.output)
        else:
            raise Unusual

    def finish(self) -> None:
        """Compare what there is with what the end says.

        Raises:
            Unusual: something is missing.
        """
        numbers = set(self.numbers)
        if not hasattr(self, "header") or not hasattr(self, "end") or self.end.lost or len(numbers) != len(self.numbers):
            raise Unusual
        counted = len(numbers) if max(numbers) < LATE else sum(number < LATE for number in numbers)
        if counted < self.end.records or not self.values.keys() >= {ref for ref in self.refs if type(ref) is int}:
            raise Unusual

    def value(self, ref: Ref) -> bytes:
        """The stored bytes that a reference stands for.

        Raises:
            Unusual: they are in another trace, or not what was written.
        """
        if type(ref) is bytes:
            return ref
        if type(ref) is not int:
            raise Unusual
        known = self._checked.get(ref)
        if known is not None:
            return known
        digest, content = self.values[ref]
        if self._mac("value", content) != digest:
            raise Unusual
        self._checked[ref] = content
        return content


class PackScan(PackReader):
    """A pack that is read from its beginning to its end. Not for several threads at once.

    Args:
        read_tail: as of `PackReader`.
        read_range: as of `PackReader`.
        mac: the store's digests.
        name: what the pack is called in errors.
    """

    def __init__(self, read_tail: ReadTail, read_range: ReadRange, *, mac: Mac, name: str) -> None:
        self._windows: list[tuple[int, bytes]] = []
        self._digests = mac
        self._targets: tuple[int, dict[int, tuple[bytes, bytes]]] = (-1, {})
        """Of one block, values that several traces share: where they lie, digest and content, content."""
        self._compared_shared: set[bytes] = set()
        super().__init__(read_tail, read_range, mac=mac, name=name)

    def begin(self, trace: bytes) -> Scanned:
        """A trace of which nothing was read yet."""
        return Scanned(trace, self._digests)

    def gather(self, part: Part, found: Scanned) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop over bytes: calls would be a tenth of it
        """Read a part of a trace.

        Raises:
            Unusual: it holds anything that a whole trace does not, or less.
            CorruptRecord: it cannot be read.
        """
        view = self._block(part.block)
        content: bytes = view.obj  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        at, end = part.offset, part.offset + part.length
        if end > len(content):
            raise Unusual
        trace, numbers, refs, values = part.trace, found.numbers, found.refs, found.values
        intents, outcomes, spans = found.intents, found.outcomes, found.spans
        vectors: list[Stub] = []
        unpack, crc32 = _HEAD.unpack_from, zlib.crc32
        while at < end:
            body = at + FRAME_HEADER_BYTES
            if body > end:
                raise Unusual
            kind, _, flags, length, check, number, owner = unpack(content, at)
            if owner != trace:
                raise Unusual
            numbers.append(number)
            if flags & ELSEWHERE:
                stub = next(block.read(view[:end], at, end))
                if not isinstance(stub, Stub):
                    raise Unusual
                if stub.place == IN_VECTORS:
                    vectors.append(stub)
                else:
                    self._add_stub(view, part, stub, found)
                at = body + (_OFFSET_BYTES if stub.place == IN_BLOCK else _PLACE_BYTES)
                continue
            stop = body + length
            if stop > end or length > MAX_BODY_BYTES or crc32(content[at + 12 : stop], crc32(content[at : at + 8])) != check:
                raise Unusual
            if kind == _INTENT:
                intent = _decode_intent(content[body:stop])
                intents.append((number, intent))
                refs.append(intent.request)
            elif kind == _OUTCOME:
                outcome = _decode_outcome(content[body:stop])
                if outcome.intent in outcomes:
                    raise Unusual
                outcomes[outcome.intent] = outcome
                refs.append(outcome.value)
            elif kind == _SPAN:
                span = _decode_span(content[body:stop])
                spans.append((number, span))
                refs.append(span.output)
            elif kind != _VALUE:
                found.add(decode(kind, content[body:stop]))
            elif flags & LEFT_OUT:
                raise Unusual
            else:
                start = body + DIGEST_BYTES
                values[number] = (content[body:start], content[start:stop])
            at = stop
        if vectors:
            for stub, data in zip(vectors, self._vectors(part, vectors), strict=True):
                block.restore(stub, data)
                found.add_compared(stub.record, stub.digest, data)

    def whole_shared(self, digest: bytes) -> bytes | None:
        """A manifest or an environment, or None where it is not here with its digest."""
        data = self.shared(digest)
        if data is None or digest in self._compared_shared:
            return data
        if self._digests("value", data) != digest:
            return None
        self._compared_shared.add(digest)
        return data

    def _add_stub(self, content: memoryview, part: Part, stub: Stub, found: Scanned) -> None:
        """Take in a value that lies elsewhere in the pack. Those that traces share are compared with their digests once."""
        if stub.place == IN_BLOCK:
            if self._targets[0] != part.block:
                self._targets = (part.block, {})
            known = self._targets[1].get(stub.target)
            if known is None:
                body = block.target_content(content, stub)
                known = (body, self._compared(body[:DIGEST_BYTES], body[DIGEST_BYTES:]))
                self._targets[1][stub.target] = known
            block.restore(stub, known[0])
            found.add_compared(stub.record, b"", known[1])
            return
        if stub.place == IN_LARGE:
            data = self._elsewhere("large", 0, content, stub)
        else:
            data = self._shared_values().get(stub.digest)
            if stub.digest not in self._compared_shared and data is not None:
                self._compared(stub.digest, data)
                self._compared_shared.add(stub.digest)
        if data is None:
            raise Unusual
        block.restore(stub, data)
        found.add_compared(stub.record, stub.digest, data)

    def _compared(self, digest: bytes, content: bytes) -> bytes:
        if self._digests("value", content) != digest:
            raise Unusual
        return content

    def _read(self, name: str, offset: int, length: int) -> bytes:
        for place, (start, data) in enumerate(self._windows):
            if start <= offset and offset + length <= start + len(data):
                if place:
                    self._windows.reverse()
                return data[offset - start : offset - start + length]
        data = super()._read(name, offset, min(max(length, _READ_AHEAD), self.size - offset))
        self._windows = [(offset, data), *self._windows[: _WINDOWS - 1]]
        return data[:length]
