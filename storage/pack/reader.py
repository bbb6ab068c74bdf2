"""Reading traces from a pack with few reads (docs/pack.md, section 1)."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Final, Self

from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord, StoreError, TraceNotFound
from storage.frames import PERSONAL, Frame
from storage.ids import NO_TRACE
from storage.pack import block, compression
from storage.pack.block import Stub
from storage.pack.digest import SectionMac, SectionUse
from storage.pack.errors import CorruptPack
from storage.pack.footer import MAX_FOOTER_BYTES, Footer
from storage.pack.layout import HEADER_BYTES, TAIL_BYTES, TRAILER_BYTES, Part, Section, Trailer, unpack_trailer
from storage.records import Kind
from storage.view import View, Window

ReadTail = Callable[[int], tuple[bytes, int]]
"""The last bytes of a pack, at most so many, and how many bytes it has in all."""
ReadRange = Callable[[int, int], bytes]
"""The bytes of a pack from an offset on, so many."""

_SHARED_AHEAD: Final = 4 * 1024 * 1024
"""Up to this many bytes of the shared section are read together with a footer that did not fit."""


def glance(pack: View, name: str) -> Footer:
    """The footer of a pack, of which no more is read than is looked at.

    Its digest is not compared. What is found by it has to be read by a `PackReader`, which does; where nothing is found by it,
    only a `PackReader` can say that there is nothing.

    Args:
        pack: the whole of it.
        name: what it is called in errors.

    Raises:
        CorruptPack: its end is not that of a pack.
        StoreError: it is of a newer major version, or needs a feature not known here.
    """
    end = max(0, len(pack) - TRAILER_BYTES)
    try:
        trailer = unpack_trailer(pack[end : len(pack)])
        if trailer.footer + trailer.length != end:
            raise CorruptRecord(f"its footer does not end where it begins, in {len(pack):,} bytes")
        return Footer(Window(pack, trailer.footer, trailer.length), trailer.minor)
    except StoreError as error:
        raise StoreError(f"{name} cannot be read: {error}") from None
    except CorruptRecord as error:
        raise CorruptPack(name, "footer", end, str(error)) from error


class PackReader:
    """A pack that is read piece by piece. Not for several threads at once.

    Args:
        read_tail: reads its end. What it raises is passed on.
        read_range: reads from its middle, as above.
        mac: the store's digests; without them what is read is consistent, not authentic.
        name: what the pack is called in errors.

    Raises:
        CorruptPack: its end is not that of a pack.
        StoreError: it is of a newer major version, needs a feature not known here, or was made with another key.
    """

    size: int
    """Of the pack, in bytes."""
    reads: int
    """How often one of the two callables was called."""
    footer: Footer
    trailer: Trailer

    def __init__(self, read_tail: ReadTail, read_range: ReadRange, *, mac: Mac | None = None, name: str = "a pack") -> None:
        self.name = name
        self._read_range = read_range
        self._mac = mac
        self._section_mac = None if mac is None else SectionMac(mac)
        self._content: tuple[int, memoryview] | None = None
        self._shared: dict[bytes, bytes] | None = None
        self._tail, self.size = read_tail(TAIL_BYTES)
        self.reads = 1
        if len(self._tail) != min(TAIL_BYTES, self.size):
            raise CorruptPack(name, "trailer", self.size, f"{len(self._tail)} bytes of its end were read of {self.size}")
        end = max(0, self.size - TRAILER_BYTES)
        with self._naming("trailer", end):
            try:
                self.trailer = unpack_trailer(self._tail[-TRAILER_BYTES:])
            except StoreError as error:
                raise StoreError(f"{name} cannot be read: {error}") from None
        self.footer = self._open(end)

    @classmethod
    def of_bytes(cls, pack: bytes, *, mac: Mac | None = None, name: str = "a pack") -> Self:
        """A reader of a pack in memory. Raises what making any other does."""
        return cls(
            lambda count: (pack[-count:], len(pack)),
            lambda offset, length: pack[offset : offset + length],
            mac=mac, name=name,
        )  # fmt: skip

    def _open(self, end: int) -> Footer:
        trailer, mac = self.trailer, self._mac
        if trailer.footer + trailer.length != end or trailer.footer < HEADER_BYTES or trailer.shared > trailer.footer:
            raise CorruptPack(self.name, "trailer", end, f"its footer does not end where it begins, in {self.size:,} bytes")
        if trailer.length > MAX_FOOTER_BYTES:
            raise CorruptPack(self.name, "footer", trailer.footer, f"it has {trailer.length:,} bytes, over the limit")
        begins = self.size - len(self._tail)
        if trailer.footer < begins:
            start = trailer.shared if trailer.footer - trailer.shared <= _SHARED_AHEAD else trailer.footer
            self._tail = self._read("footer", start, begins - start) + self._tail
        data = self._bytes("footer", trailer.footer, trailer.length)
        self._compare("footer", trailer.footer, data, trailer.check)
        with self._naming("footer", trailer.footer):
            footer = Footer(data, trailer.minor)
        key_id = footer.header.key_id
        if mac is not None and mac.key_id != key_id:
            raise StoreError(f"{self.name} was made with key {key_id.hex()}, not with key {mac.key_id.hex()}")
        self._authenticate("footer", trailer.footer, data, "footer", trailer.digest)
        return footer

    @property
    def held(self) -> int:
        """Bytes of it that are in memory."""
        shared = 0 if self._shared is None else self.footer.shared.size
        return len(self._tail) + shared + (0 if self._content is None else len(self._content[1]))

    # traces

    def ids(self) -> Iterator[bytes]:
        """The traces, by id."""
        return self.footer.ids()

    def find(self, prefix: str) -> list[bytes]:
        """The traces whose printed id begins so, by id.

        Raises:
            InvalidId: these are not 1 to 32 hexadecimal digits.
        """
        return self.footer.find(prefix)

    def frames(self, trace_id: bytes, *, vectors: bool = True, large: bool = True) -> list[Frame]:
        """The records of a trace as they were given to the writer. Offsets are those in the content of the block.

        Args:
            trace_id: the trace.
            vectors: read vectors. Otherwise the frame of each has the flag `IN_VECTORS`, and a body of digest and size.
            large: read large values. Otherwise as above, with the flag `IN_LARGE`.

        Raises:
            TraceNotFound: it is not in this pack.
            CorruptPack: what was written of it cannot be read.
        """
        parts = self.footer.parts_of(trace_id)
        if not parts:
            raise TraceNotFound(trace_id.hex(), self.name, self.footer.counts.traces)
        return [frame for part in parts for frame in self._part(part, vectors=vectors, large=large)]

    def shared(self, digest: bytes) -> bytes | None:
        """The stored bytes of a manifest, an environment or another value of the shared section; None if it is not here.

        Raises:
            CorruptPack: they cannot be read.
        """
        found = self._shared_values().get(digest)
        if found is None and self.footer.find_large(digest, NO_TRACE) is not None:
            return self._large_value(digest, NO_TRACE)
        return found

    # pieces

    def _part(self, part: Part, *, vectors: bool, large: bool) -> Iterator[Frame]:
        with self._naming("footer", self.trailer.footer):
            section = self.footer.block(part.block)
        content = self._block(part.block)
        name = f"block {part.block}"
        with self._naming(name, section.offset):
            if part.offset + part.length > len(content):
                raise CorruptRecord(f"trace {part.trace.hex()} is to end at {part.offset + part.length} of {len(content)}")
            pieces = list(block.read(content, part.offset, part.offset + part.length))
            for piece in pieces:
                if piece.trace != part.trace:
                    raise CorruptRecord(f"its content has at {piece.offset} a record of another trace than {part.trace.hex()}")
        stubs = [piece for piece in pieces if isinstance(piece, Stub) and piece.place == block.IN_VECTORS] if vectors else []
        values = self._vectors(part, stubs) if stubs else iter(())
        for piece in pieces:
            if isinstance(piece, Frame):
                yield piece
            elif piece.place == block.IN_VECTORS:
                yield self._restore("vectors", part.vectors, piece, next(values)) if vectors else block.left(piece)
            elif piece.place == block.IN_LARGE and not large:
                yield block.left(piece)
            else:
                yield self._restore(name, section.offset, piece, self._elsewhere(name, section.offset, content, piece))

    def _elsewhere(self, name: str, offset: int, content: memoryview, stub: Stub) -> bytes | None:
        """What a stub stands for, unless it is a vector."""
        if stub.place == block.IN_SHARED:
            return self._shared_values().get(stub.digest)
        if stub.place == block.IN_LARGE:
            return self._large_value(stub.digest, stub.trace if stub.flags & PERSONAL else NO_TRACE)
        with self._naming(name, offset):
            return block.target_content(content, stub)

    def _restore(self, name: str, offset: int, stub: Stub, content: bytes | None) -> Frame:
        with self._naming(name, offset):
            if content is None:
                raise CorruptRecord(f"value {stub.record} of trace {stub.trace.hex()} is missing")
            return block.restore(stub, content)

    def _block(self, number: int) -> memoryview:
        if self._content is None or self._content[0] != number:
            self._content = None  # not two at once in memory
            data = self._section(f"block {number}", self.footer.block(number), "block")
            self._content = (number, memoryview(data))
        return self._content[1]

    def _shared_values(self) -> dict[bytes, bytes]:
        if self._shared is None:
            section = self.footer.shared
            content = memoryview(self._section("shared", section, "shared") if section.length else b"")
            made: dict[bytes, bytes] = {}
            with self._naming("shared", section.offset):
                for frame in block.read(content, 0, len(content)):
                    if not isinstance(frame, Frame) or frame.kind != Kind.VALUE or frame.flags or frame.trace != NO_TRACE:
                        raise CorruptRecord(f"its content has at {frame.offset} something else than a shared value")
                    made[frame.body[:DIGEST_BYTES]] = frame.body[DIGEST_BYTES:]
            self._shared = made
        return self._shared

    def _vectors(self, part: Part, stubs: list[Stub]) -> Iterator[bytes]:
        size = sum(stub.size for stub in stubs)
        stored = self._bytes("vectors", part.vectors, part.vectors_length)
        self._compare("vectors", part.vectors, stored, part.vectors_check)
        with self._naming("vectors", part.vectors):
            data = compression.decompress(stored, size)
        at = 0
        for stub in stubs:
            content = data[at : at + stub.size]
            self._authenticate_value("vectors", part.vectors, content, stub.digest)
            yield content
            at += stub.size

    def _large_value(self, digest: bytes, scope: bytes) -> bytes | None:
        entry = self.footer.find_large(digest, scope)
        if entry is None:
            return None
        name = f"large value {digest.hex()}"
        stored = self._bytes(name, entry.offset, entry.length)
        self._compare(name, entry.offset, stored, entry.check)
        with self._naming(name, entry.offset):
            content = compression.decompress(stored, entry.size)
        self._authenticate_value(name, entry.offset, content, digest)
        return content

    def _section(self, name: str, section: Section, use: SectionUse) -> bytes:
        stored = self._bytes(name, section.offset, section.length)
        self._compare(name, section.offset, stored, section.check)
        self._authenticate(name, section.offset, stored, use, section.digest)
        with self._naming(name, section.offset):
            return compression.decompress(stored, section.size)

    # bytes

    def _compare(self, name: str, offset: int, stored: bytes, check: int) -> None:
        if zlib.crc32(stored) != check:
            raise CorruptPack(self.name, name, offset, "its checksum differs")

    def _authenticate(self, name: str, offset: int, stored: bytes, use: SectionUse, digest: bytes) -> None:
        if self._section_mac is not None and self._section_mac(use, stored) != digest:
            raise CorruptPack(self.name, name, offset, "its digest differs: it was not written with the store's key")

    def _authenticate_value(self, name: str, offset: int, content: bytes, digest: bytes) -> None:
        if self._mac is not None and self._mac("value", content) != digest:
            raise CorruptPack(self.name, name, offset, f"value {digest.hex()} does not have its digest")

    def _bytes(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of the pack, read or from what was read already."""
        begins = self.size - len(self._tail)
        end = offset + length
        if end > self.size - TRAILER_BYTES:
            raise CorruptPack(self.name, name, offset, f"{length:,} bytes from there do not fit a pack of {self.size:,}")
        if offset >= begins:
            return self._tail[offset - begins : end - begins]
        if end <= begins:
            return self._read(name, offset, length)
        return self._read(name, offset, begins - offset) + self._tail[: end - begins]

    def _read(self, name: str, offset: int, length: int) -> bytes:
        self.reads += 1
        data = self._read_range(offset, length)
        if len(data) != length:
            raise CorruptPack(self.name, name, offset, f"{len(data):,} bytes were read of {length:,}")
        return data

    @contextlib.contextmanager
    def _naming(self, name: str, offset: int) -> Generator[None]:
        try:
            yield
        except CorruptPack:
            raise
        except CorruptRecord as error:
            raise CorruptPack(self.name, name, offset, str(error)) from error
