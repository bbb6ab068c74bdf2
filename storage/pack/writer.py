"""Making a pack of the records of traces (docs/pack.md)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord
from storage.frames import FRAME_HEADER_BYTES, PERSONAL, Frame, pack_frame_header
from storage.ids import NO_TRACE
from storage.pack import footer, plan
from storage.pack.block import ELSEWHERE, IN_LARGE, IN_SHARED, IN_VECTORS
from storage.pack.compression import compress
from storage.pack.digest import SectionMac, SectionUse
from storage.pack.layout import (
    HAS_HEADER,
    HAS_LARGE,
    HAS_VECTORS,
    KNOWN_FEATURES,
    MINOR,
    USES_SHARED,
    Header,
    Large,
    Part,
    Section,
    Trailer,
    pack_header,
    pack_trailer,
)
from storage.pack.plan import Limits, PlannedPart
from storage.pack.summary import flags_of, summarize
from storage.records import Kind
from storage.turns import taking_turns

_VALUE: Final = int(Kind.VALUE)
TURN_TRACES: Final = 4
_STORE_BYTES: Final = 16
_WRITER_BYTES: Final = 8


class PackWriter:
    """Takes traces and makes one pack of them. Equal traces make equal packs, in whatever order they came.

    Args:
        store_id: 16 bytes.
        writer_id: 8 bytes, of the process.
        mac: the store's digests.
        replaces: keys, relative to the store, of the packs that this one stands for.
        limits: how large the pieces may grow.
    """

    def __init__(
        self, store_id: bytes, writer_id: bytes, mac: Mac, *, replaces: Sequence[str] = (), limits: Limits | None = None
    ) -> None:
        if len(store_id) != _STORE_BYTES or len(writer_id) != _WRITER_BYTES:
            raise ValueError(f"a store id is {_STORE_BYTES} bytes and a writer id {_WRITER_BYTES}")
        self._header = Header(MINOR, store_id, writer_id, mac.key_id, KNOWN_FEATURES)
        self._mac = mac
        self._replaces = sorted(map(footer.check_name, replaces))
        self._limits = limits or Limits()
        self._traces: dict[bytes, list[Frame]] = {}
        self._shared: dict[bytes, bytes] = {}

    def add(self, frames: Iterable[Frame]) -> None:
        """Take in records of one trace; more of a trace that is here already come after those.

        Raises:
            ValueError: they are of several traces or of none, or a value was left in another pack.
        """
        taken = list(frames)
        traces = {frame.trace for frame in taken}
        if len(traces) != 1 or NO_TRACE in traces:
            raise ValueError(f"records of one trace can be added at a time, not of {len(traces)}, and none that belong to a file")
        for frame in taken:
            if frame.flags & ELSEWHERE:
                raise ValueError(f"the content of value {frame.record} of trace {frame.trace.hex()} was not read from its pack")
        self._traces.setdefault(taken[0].trace, []).extend(taken)

    def share(self, digest: bytes, data: bytes) -> None:
        """Take in a manifest or an environment, which belongs to no trace.

        Raises:
            CorruptRecord: the stored bytes do not have the digest.
        """
        if self._mac("value", data) != digest:
            raise CorruptRecord(f"shared value {digest.hex()} does not have its digest")
        self._shared[digest] = data

    def build(self) -> bytes:
        """The pack."""
        return _Build(self._header, self._mac, self._limits).run(self._traces, self._shared, self._replaces)


class _Build:
    """One pack, as it is laid down."""

    def __init__(self, header: Header, mac: Mac, limits: Limits) -> None:
        self._header, self._mac, self._limits = header, mac, limits
        self._section_mac = SectionMac(mac)
        self._out = [pack_header(header)]
        self._offset = len(self._out[0])
        self._large: dict[tuple[bytes, bytes], bytes] = {}

    def run(self, traces: dict[bytes, list[Frame]], shared: dict[bytes, bytes], replaces: Sequence[str]) -> bytes:
        """The bytes of the pack."""
        contents = plan.group(self._parts(traces), self._limits)
        kept = self._keep(shared, plan.used_by_many(contents, self._mac))
        blocks: list[Section] = []
        placed: list[tuple[PlannedPart, Part]] = []
        for number, content in enumerate(taking_turns(1, (one.without(kept) for one in contents))):
            placed += [
                (part, self._entry(part, number, *span, shared=bool(kept)))
                for part, span in taking_turns(TURN_TRACES, zip(content.parts, content.spans, strict=True))
            ]
            blocks.append(self._section(bytes(content.data), len(content.parts), "block"))
        parts = sorted(self._with_vectors(part, entry) for part, entry in taking_turns(TURN_TRACES, placed))
        large = [self._large_entry(key, content) for key, content in sorted(self._large.items())]
        frames = [pack_frame_header(_VALUE, 0, number, NO_TRACE, body) + body for number, body in enumerate(kept, 1)]
        starts = self._offset
        section = Section(self._offset, 0, 0, 0, 0, bytes(DIGEST_BYTES))
        if kept:
            section = self._section(b"".join(frames), len(kept), "shared")
        told = {part.trace: part.summary.otel for part, _ in placed if part.summary.otel is not None}
        otel = sorted((told[part.trace], number) for number, part in enumerate(parts) if not part.number and part.trace in told)
        count = sum(map(len, traces.values()))
        data = footer.encode(footer.Contents(self._header, parts, blocks, large, otel, replaces, section, count))
        digest = self._section_mac("footer", data)
        trailer = Trailer(self._offset, len(data), starts, digest, zlib.crc32(data), self._header.features)
        return b"".join([*self._out, data, pack_trailer(trailer)])

    def _parts(self, traces: dict[bytes, list[Frame]]) -> list[PlannedPart]:
        found: list[PlannedPart] = []
        for trace, frames in taking_turns(TURN_TRACES, traces.items()):
            placed = [plan.place(frame, self._mac, self._limits) for frame in frames]
            found += plan.cut(trace, placed, summarize(trace, frames), self._limits)
        return sorted(found, key=lambda part: (*part.summary[:3], part.trace, part.number))

    def _keep(self, shared: dict[bytes, bytes], used_by_many: Iterable[bytes]) -> dict[bytes, None]:
        """The bodies of the shared section. What it has no room for lies apart, or stays in the blocks."""
        kept: dict[bytes, None] = {}
        room = self._limits.content
        for digest in sorted(shared):
            body = digest + shared[digest]
            size = FRAME_HEADER_BYTES + len(body)
            if size > room:
                self._large[digest, NO_TRACE] = shared[digest]
                continue
            kept[body] = None
            room -= size
        for body in used_by_many:
            size = FRAME_HEADER_BYTES + len(body)
            if size <= room and body[:DIGEST_BYTES] not in shared:
                kept[body] = None
                room -= size
        return kept

    def _entry(self, part: PlannedPart, block: int, offset: int, length: int, places: int, *, shared: bool) -> Part:
        flags = part.summary.flags
        for one in part.frames:
            flags |= flags_of(one.frame)
        if places & IN_SHARED or (shared and flags & HAS_HEADER):
            flags |= USES_SHARED
        flags |= HAS_VECTORS * bool(places & IN_VECTORS) | HAS_LARGE * bool(places & IN_LARGE)
        told = part.summary
        return Part(part.trace, block, offset, length, flags, part.number, 0, 0, 0, told.began, told.ended, told.subject)

    def _with_vectors(self, part: PlannedPart, entry: Part) -> Part:
        """Lay down what of a part lies apart: its entry, which says where."""
        for one in part.frames:
            if one.place == IN_LARGE:
                scope = part.trace if one.frame.flags & PERSONAL else NO_TRACE
                self._large[one.frame.body[:DIGEST_BYTES], scope] = one.frame.body[DIGEST_BYTES:]
        vectors = b"".join(one.frame.body[DIGEST_BYTES:] for one in part.frames if one.place == IN_VECTORS)
        if not vectors:
            return entry
        offset, stored = self._put(compress(vectors))
        return entry._replace(vectors=offset, vectors_length=len(stored), vectors_check=zlib.crc32(stored))

    def _large_entry(self, key: tuple[bytes, bytes], content: bytes) -> Large:
        offset, stored = self._put(compress(content))
        return Large(*key, offset, len(stored), len(content), zlib.crc32(stored))

    def _section(self, content: bytes, count: int, use: SectionUse) -> Section:
        offset, stored = self._put(compress(content))
        return Section(offset, len(stored), len(content), zlib.crc32(stored), count, self._section_mac(use, stored))

    def _put(self, stored: bytes) -> tuple[int, bytes]:
        offset = self._offset
        self._out.append(stored)
        self._offset += len(stored)
        return offset, stored
