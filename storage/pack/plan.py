"""Where in a pack the records of its traces go: parts, blocks, and what lies apart (docs/pack.md, section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Final, NamedTuple

from storage.digest import DIGEST_BYTES, Mac
from storage.frames import FRAME_HEADER_BYTES, LEFT_OUT, Frame
from storage.pack.block import IN_BLOCK, IN_LARGE, IN_SHARED, IN_VECTORS, head_bytes, stub_bytes
from storage.pack.compression import Gauge
from storage.pack.summary import Summary
from storage.pack.vectors import is_vector
from storage.records import Kind
from storage.turns import taking_turns

_TURN_PARTS: Final = 4
SHARING_BLOCKS: Final = 3
"""A value that this many blocks use is moved to the shared section."""


class Limits(NamedTuple):
    """How large the pieces of a pack may grow, in bytes."""

    parts: int = 256
    """Of one block; not bytes but a number."""
    compressed: int = 512 * 1024
    """Of a block: where it is closed."""
    content: int = 8 * 1024 * 1024
    """Of a block, a part with its vectors, and the shared section, before compression."""
    large: int = 1024 * 1024
    """Over this a value is a section of its own."""


class Placed(NamedTuple):
    """A frame, the flag of the stub that takes its place in the block or 0, and what the frame has before its body."""

    frame: Frame
    place: int
    head: bytes
    """Kept, since its checksum is over the whole body and a block may be laid down twice."""


class PlannedPart(NamedTuple):
    """Some or all of the frames of a trace."""

    trace: bytes
    number: int
    frames: Sequence[Placed]
    summary: Summary


def place(frame: Frame, mac: Mac, limits: Limits) -> Placed:
    """A frame with the place of its content: `IN_VECTORS` or `IN_LARGE` for a value that lies apart, else 0."""
    return Placed(frame, _place(frame, mac, limits), head_bytes(frame))


def _place(frame: Frame, mac: Mac, limits: Limits) -> int:
    if frame.kind != Kind.VALUE or frame.flags & LEFT_OUT:
        return 0
    content = frame.body[DIGEST_BYTES:]
    found = IN_LARGE if len(content) > limits.large else IN_VECTORS if is_vector(content) else 0
    # What is found by its digest has to have it; what does not is carried where it was.
    return found if found and mac("value", content) == frame.body[:DIGEST_BYTES] else 0


def is_shareable(one: Placed) -> bool:
    """Whether it is a value that other traces may use: it belongs to no subject and lies in the block."""
    return one.frame.kind == Kind.VALUE and not one.frame.flags and not one.place


def cut(trace: bytes, frames: Iterable[Placed], summary: Summary, limits: Limits) -> list[PlannedPart]:
    """The parts of a trace."""
    parts: list[list[Placed]] = []
    size = 0
    for one in frames:
        more = FRAME_HEADER_BYTES + (0 if one.place == IN_LARGE else len(one.frame.body))
        if not parts or size + more > limits.content:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += more
    return [PlannedPart(trace, number, frames, summary) for number, frames in enumerate(parts)]


class BlockContent:
    """The content of one block, as it grows.

    Args:
        shared: the bodies of values that are in the shared section.
    """

    def __init__(self, shared: Container[bytes] = ()) -> None:
        self.data = bytearray()
        self.parts: list[PlannedPart] = []
        self.spans: list[tuple[int, int, int]] = []
        """Of each part its offset, its length, and the places that its stubs point to, as flags."""
        self.known: dict[bytes, int] = {}
        """The body of each value that others may use -> where it is."""
        self._shared = shared

    def without(self, shared: dict[bytes, None]) -> BlockContent:
        """The same with stubs for what is in the shared section: itself where it has nothing of that."""
        if shared.keys().isdisjoint(self.known):
            return self
        made = BlockContent(shared)
        for part in taking_turns(_TURN_PARTS, self.parts):
            made.add(part)
        return made

    def add(self, part: PlannedPart) -> None:
        """Append a part."""
        data = self.data
        start, places = len(data), 0
        for one in part.frames:
            found, target = self._find(one)
            if found:
                places |= found
                data += stub_bytes(one.head, one.frame.body, found, target)
            else:
                data += one.head
                data += one.frame.body
        self.parts.append(part)
        self.spans.append((start, len(data) - start, places))

    def _find(self, one: Placed) -> tuple[int, int]:
        if one.place or not is_shareable(one):
            return one.place, 0
        body = one.frame.body
        if body in self._shared:
            return IN_SHARED, 0
        at = len(self.data)
        target = self.known.setdefault(body, at)
        return (0, 0) if target == at else (IN_BLOCK, target)


def group(parts: Iterable[PlannedPart], limits: Limits) -> list[BlockContent]:
    """The blocks, as they are while nothing is shared between them."""
    blocks: list[BlockContent] = []
    gauge = Gauge(limits.content)
    for part in taking_turns(_TURN_PARTS, parts):
        if not blocks or _is_full(blocks[-1], part, gauge.compressed, limits):
            blocks.append(BlockContent())
            gauge = Gauge(limits.content)
        block = blocks[-1]
        block.add(part)
        start, length, _ = block.spans[-1]
        gauge.add(bytes(block.data[start : start + length]))
    return blocks


def _is_full(block: BlockContent, part: PlannedPart, compressed: int, limits: Limits) -> bool:
    more = sum(FRAME_HEADER_BYTES + len(one.frame.body) for one in part.frames if not one.place)
    return len(block.parts) >= limits.parts or compressed >= limits.compressed or len(block.data) + more > limits.content


def used_by_many(contents: Iterable[BlockContent], mac: Mac) -> list[bytes]:
    """The bodies of the values that move to the shared section, in the order of their first use."""
    uses = Counter(body for content in contents for body in content.known)
    digests: set[bytes] = set()
    many: list[bytes] = []
    for body, count in uses.items():
        digest = body[:DIGEST_BYTES]
        if count >= SHARING_BLOCKS and digest not in digests and mac("value", body[DIGEST_BYTES:]) == digest:
            digests.add(digest)
            many.append(body)
    return many
