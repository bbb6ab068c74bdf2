"""What one pack holds of a trace, without its vectors and large values: for rows, which say nothing of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from storage.by_kind import ByKind
from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord
from storage.frames import LEFT_OUT, Frame
from storage.pack.block import IN_LARGE, IN_VECTORS
from storage.pack.reader import PackReader
from storage.records import LATE, Header, Kind, Record, Ref, decode, ref_of
from storage.rows.trace import Part, RowMaker, TraceRows

_NOT_HERE = LEFT_OUT | IN_LARGE | IN_VECTORS


class PackedTrace:
    """The records of a trace that one pack holds.

    Args:
        trace_id: 16 bytes.
        frames: its records.
        reader: of the pack.
        mac: the store's digests.

    Raises:
        CorruptPack: the shared section of the pack cannot be read.
    """

    def __init__(self, trace_id: bytes, frames: Iterable[Frame], reader: PackReader, mac: Mac) -> None:
        self.trace_id = trace_id
        self._reader, self._mac = reader, mac
        self._values: dict[int, bytes | None] = {}
        self._damaged = False
        seen = self._merge(frames)
        kinds = ByKind({number: record for number, record in seen.items() if record is not None})
        self.head, self.end = kinds.header, kinds.end
        self.intents, self.outcomes, self.spans = kinds.intents, kinds.outcomes, kinds.spans
        self.annotations, self.links = kinds.annotations, kinds.links
        self._damaged |= bool(kinds.doubled)
        self._damaged |= any(isinstance(ref, int) and ref not in self._values for ref in self._refs(seen))
        self._counted = sum(number < LATE for number in seen)
        if self.head is not None:
            self._damaged |= any(reader.shared(digest) is None for digest in (self.head.manifest, self.head.environment))

    def _merge(self, frames: Iterable[Frame]) -> dict[int, Record | None]:
        told: dict[int, Frame] = {}
        records: dict[int, Record | None] = {}
        for frame in frames:
            known = told.setdefault(frame.record, frame)
            if known is not frame:
                self._damaged |= (known.kind, known.flags, known.body) != (frame.kind, frame.flags, frame.body)
                continue
            records[frame.record] = None
            if frame.kind == Kind.VALUE:
                self._values[frame.record] = None if frame.flags & _NOT_HERE else frame.body
                continue
            try:
                records[frame.record] = decode(frame.kind, frame.body)
            except (TypeError, CorruptRecord):
                self._damaged = True
        return records

    def _refs(self, records: dict[int, Record | None]) -> Iterator[Ref]:
        return (ref_of(record) for record in records.values() if record is not None)

    @property
    def header(self) -> Header:
        """What the trace is of.

        Raises:
            CorruptRecord: it is not in this pack.
        """
        if self.head is None:
            raise CorruptRecord(f"{self._reader.name} does not hold the header of trace {self.trace_id.hex()}")
        return self.head

    @property
    def state(self) -> Literal["whole", "unfinished", "damaged"]:
        """As far as this pack tells."""
        end = self.end
        if self._damaged or (end is not None and (end.lost or self._counted < end.records)):
            return "damaged"
        return "unfinished" if end is None else "whole"

    @property
    def part(self) -> Part:
        """How much of the trace is here."""
        if self.head is not None and self.state == "whole":
            return "whole"
        apart = self.head or self.end or self.intents or self.outcomes or self.spans
        return "some" if apart or self._damaged else "late"

    @property
    def manifest(self) -> bytes:
        """The agent's, as stored.

        Raises:
            CorruptRecord: it is missing.
        """
        data = self._reader.shared(self.header.manifest)
        if data is None:
            raise CorruptRecord(f"{self._reader.name} does not hold the manifest of trace {self.trace_id.hex()}")
        return data

    def value(self, ref: Ref) -> bytes:
        """The stored bytes that a reference stands for.

        Raises:
            CorruptRecord: they are missing, not what was written, or not among what was read.
        """
        if isinstance(ref, bytes):
            return ref
        body = self._values.get(ref) if isinstance(ref, int) else None
        if body is None:
            raise CorruptRecord(f"value {ref} of trace {self.trace_id.hex()} was not read from {self._reader.name}")
        if self._mac("value", body[DIGEST_BYTES:]) != body[:DIGEST_BYTES]:
            raise CorruptRecord(f"value {ref} of trace {self.trace_id.hex()} does not have its digest")
        return body[DIGEST_BYTES:]


def rows_of_pack(reader: PackReader, mac: Mac, maker: RowMaker, damage: list[str]) -> Iterator[TraceRows]:
    """The rows of every trace of a pack, in the order in which they lie there, so that each block is read once.

    Args:
        reader: of the pack.
        mac: the store's digests.
        maker: makes the rows.
        damage: told what cannot be read. Its trace is told as damaged.
    """
    footer = reader.footer
    first: dict[bytes, tuple[int, int]] = {}
    for part in map(footer.part, range(footer.counts.parts)):
        first.setdefault(part.trace, (part.block, part.offset))
    for trace in sorted(first, key=first.__getitem__):
        try:
            found = PackedTrace(trace, reader.frames(trace, vectors=False, large=False), reader, mac)
        except CorruptRecord as error:
            damage.append(str(error))
            yield maker.lost(trace)
            continue
        if found.part == "late":
            yield maker.late(found)
        elif found.head is None:
            yield maker.lost(trace)
        else:
            yield maker.rows(found, found.part)
