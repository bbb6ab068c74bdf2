"""One trace as it was read back: its records, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from storage import frames
from storage.by_kind import ByKind
from storage.digest import DIGEST_BYTES, Mac
from storage.errors import CorruptRecord, TraceNotFound, ValueLeftOut
from storage.pack.block import ELSEWHERE
from storage.records import (
    LATE,
    Annotation,
    End,
    Header,
    Intent,
    Kind,
    Link,
    Outcome,
    Record,
    Ref,
    Span,
    decode,
    ref_of,
)

State = Literal["whole", "unfinished", "damaged"]


class Found(NamedTuple):
    """What there is of a trace."""

    records: Iterable[tuple[str, int, frames.Frame | str]]
    """(record file or pack, offset, record or what is wrong where one was)."""
    sources: int
    """How many files and packs they are from."""
    damage: Sequence[str]
    """What is wrong with these, whichever traces that reaches."""
    shared: Callable[[bytes], bytes | None]
    """The stored bytes of a manifest or an environment by its digest, not compared with it."""


class Load(Protocol):
    """Reads a trace of the same store. Raises what `Store.load` does."""

    def __call__(self, trace_id: bytes, *, vectors: bool = True) -> Stored:
        """The trace, with the content of its vectors or without."""
        ...


class _Left(NamedTuple):
    """A value whose content was not read with its record."""

    size: int


class _Parts:
    """The records of a trace, merged."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.values: dict[int, tuple[bytes, bytes | int | _Left]] = {}
        """Record id -> (digest, stored bytes, or the size of what was left out of the recording)."""
        self.damage: list[str] = []
        self._seen: dict[int, tuple[int, int, bytes]] = {}

    def add(self, name: str, offset: int, frame: frames.Frame | str) -> None:
        """Take in one record, or what is wrong where one was."""
        if isinstance(frame, str):
            self.damage.append(frame)
            return
        if frame.flags & ELSEWHERE:
            self._add_left(name, offset, frame)
            return
        what = (frame.kind, frame.flags, frame.body)
        known = self._seen.get(frame.record)
        if known is None or known[1] & ELSEWHERE:
            self._seen[frame.record] = what
        if known is not None and not known[1] & ELSEWHERE:
            if known != what:
                self.damage.append(f"{name} at offset {offset}: record {frame.record} is there twice and differs")
            return
        if frame.kind == Kind.VALUE:
            digest, content = frame.body[:DIGEST_BYTES], frame.body[DIGEST_BYTES:]
            left_out = frame.flags & frames.LEFT_OUT
            self.values[frame.record] = (digest, int.from_bytes(content, "little") if left_out else content)
            return
        try:
            record = decode(frame.kind, frame.body)
        except (TypeError, CorruptRecord) as error:
            self.damage.append(f"{name} at offset {offset}: record {frame.record} cannot be read: {error}")
            return
        if record is not None:
            self.records[frame.record] = record

    def _add_left(self, name: str, offset: int, frame: frames.Frame) -> None:
        """Take in the record of a value without its content, unless a source before had it whole."""
        digest, size = frame.body[:DIGEST_BYTES], int.from_bytes(frame.body[DIGEST_BYTES:], "little")
        known = self._seen.setdefault(frame.record, (frame.kind, frame.flags, frame.body))
        if known[2][:DIGEST_BYTES] != digest or known[0] != frame.kind:
            self.damage.append(f"{name} at offset {offset}: record {frame.record} is there twice and differs")
        self.values.setdefault(frame.record, (digest, _Left(size)))

    def counted(self) -> int:
        """How many records there are that `End.records` counts."""
        return sum(number < LATE for number in self._seen)

    def dangling(self) -> Iterator[str]:
        """References to values that are not there."""
        for number, record in self.records.items():
            ref = ref_of(record)
            if isinstance(ref, int) and ref not in self.values:
                yield f"record {number} refers to value {ref}, which is missing"


class Stored:
    """A trace that was read. Made by `Store.load`."""

    trace_id: bytes
    header: Header
    intents: dict[int, Intent]
    outcomes: dict[int, Outcome]
    """By the record id of their intent."""
    spans: dict[int, Span]
    annotations: list[Annotation]
    links: list[Link]
    end: End | None
    state: State
    damage: list[str]
    """What is wrong, in words that name file, offset and record."""

    def __init__(self, trace_id: bytes, found: Found, mac: Mac, load: Load) -> None:
        self.trace_id = trace_id
        self._mac, self._load = mac, load
        parts = _Parts()
        for name, offset, frame in found.records:
            parts.add(name, offset, frame)
        self._records, self._values = parts.records, parts.values
        self.damage = parts.damage
        kinds = ByKind(parts.records)
        self.intents, self.outcomes, self.spans = kinds.intents, kinds.outcomes, kinds.spans
        self.annotations, self.links, self.end = kinds.annotations, kinds.links, kinds.end
        self.damage += (f"record {number} is a second outcome of intent {intent}" for number, intent in kinds.doubled)
        header = kinds.header
        if header is None:
            parts_there = f"only {found.sources} part{'s' * (found.sources != 1)} of it is there"
            why = "; ".join([*self.damage, *found.damage]) or parts_there
            raise CorruptRecord(f"trace {trace_id.hex()} has no header record, so it cannot be read: {why}")
        self.header = header
        self.damage += parts.dangling()
        self._shared = {digest: found.shared(digest) for digest in (header.manifest, header.environment)}
        self._find_shared()
        self._count(parts.counted(), found.damage)
        self.state = "damaged" if self.damage else "unfinished" if self.end is None else "whole"
        self._by_digest: dict[bytes, Ref] | None = None
        self._others: dict[bytes, Stored] = {}
        self._with_vectors: Stored | None = None

    def _count(self, found: int, in_files: Sequence[str]) -> None:
        end = self.end
        if end is None or found < end.records:
            self.damage += in_files
        if end is not None and found < end.records:
            self.damage.append(f"{end.records - found} of its {end.records} records are missing")
        if end is not None and end.lost:
            self.damage.append(f"{end.lost} records were lost while it was recorded")

    def _find_shared(self) -> None:
        for what, digest in (("manifest", self.header.manifest), ("environment", self.header.environment)):
            data = self._shared[digest]
            if data is None or self._mac("value", data) != digest:
                self._shared[digest] = None
                self.damage.append(f"its {what}, value {digest.hex()}, is missing or damaged")

    @property
    def manifest(self) -> bytes:
        """The agent's manifest, as stored.

        Raises:
            CorruptRecord: it is missing or damaged.
        """
        return self._of_all("manifest", self.header.manifest)

    @property
    def environment(self) -> bytes:
        """The environment, as stored.

        Raises:
            CorruptRecord: it is missing or damaged.
        """
        return self._of_all("environment", self.header.environment)

    def _of_all(self, what: str, digest: bytes) -> bytes:
        data = self._shared[digest]
        if data is None:
            raise CorruptRecord(f"the {what} of trace {self.trace_id.hex()} is missing or damaged")
        return data

    def value(self, ref: Ref) -> bytes:
        """The stored bytes that a reference stands for.

        Raises:
            CorruptRecord: they are missing, or not what was written.
            TraceNotFound: they are in a trace that is not in this store.
            ValueLeftOut: they were too many to be stored.
        """
        return self._value(ref, frozenset((self.trace_id,)))

    def _value(self, ref: Ref, asked: frozenset[bytes]) -> bytes:
        match ref:
            case bytes():
                return ref
            case None:
                raise CorruptRecord(f"a record of trace {self.trace_id.hex()} has no value")
            case int():
                return self._own(ref)
            case trace, digest:
                return self._foreign(trace, digest, asked)

    def _own(self, number: int) -> bytes:
        digest, content = self._entry(number)
        if isinstance(content, int):
            raise ValueLeftOut(content)
        if isinstance(content, _Left):
            if self._with_vectors is None:
                self._with_vectors = self._load(self.trace_id)
            return self._with_vectors._own(number)
        if self._mac("value", content) != digest:
            raise CorruptRecord(f"value {number} of trace {self.trace_id.hex()} does not have its digest")
        return content

    def _entry(self, number: int) -> tuple[bytes, bytes | int | _Left]:
        found = self._values.get(number)
        if found is None:
            raise CorruptRecord(f"value {number} of trace {self.trace_id.hex()} is missing")
        return found

    def _foreign(self, trace: bytes, digest: bytes, asked: frozenset[bytes]) -> bytes:
        where = f"trace {self.trace_id.hex()} uses value {digest.hex()} of trace {trace.hex()}"
        if trace in asked:
            raise CorruptRecord(f"{where}, which refers back to it")
        other = self._others.get(trace)
        if other is None:
            try:
                other = self._others[trace] = self._load(trace)
            except TraceNotFound as error:
                error.add_note(f"{where}, which is not here")
                raise
        data = other._find(digest, asked | {trace})
        if data is None:
            raise CorruptRecord(f"{where}, which does not hold it")
        return data

    def digest(self, ref: Ref) -> bytes:
        """The digest of the value that a reference stands for.

        Raises:
            CorruptRecord: there is none, or its record is missing.
        """
        match ref:
            case bytes():
                return self._mac("value", ref)
            case None:
                raise CorruptRecord(f"a record of trace {self.trace_id.hex()} has no value")
            case int():
                return self._entry(ref)[0]
            case _, digest:
                return digest

    def refs(self) -> Iterator[Ref]:
        """Every reference to a value, and every value of its own, named by a record or not."""
        yield from (ref for record in self._records.values() if (ref := ref_of(record)) is not None and not isinstance(ref, int))
        yield from self._values

    def find(self, digest: bytes) -> bytes | None:
        """The stored bytes of any value of this trace, by digest.

        Raises:
            CorruptRecord: they are not what was written.
            ValueLeftOut: they were too many to be stored.
        """
        return self._find(digest, frozenset((self.trace_id,)))

    def _find(self, digest: bytes, asked: frozenset[bytes]) -> bytes | None:
        if self._by_digest is None:
            refs = [ref for record in self._records.values() if (ref := ref_of(record)) is not None]
            # A value of its own over one of another trace, whichever comes first.
            refs.sort(key=lambda ref: not isinstance(ref, tuple))
            self._by_digest = {self.digest(ref): ref for ref in refs if not self._is_missing(ref)}
            self._by_digest.update({digest: number for number, (digest, _) in self._values.items()})
        ref = self._by_digest.get(digest)
        return None if ref is None else self._value(ref, asked)

    def _is_missing(self, ref: Ref) -> bool:
        return isinstance(ref, int) and ref not in self._values
