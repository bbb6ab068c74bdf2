"""A pack of records at hand: made, read back, and put where none is. What sealing and merging have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from storage.errors import CorruptRecord, StorageError
from storage.frames import Frame
from storage.objects.contract import ObjectNotFound, ObjectTooLarge, StoreRefused, StoreUnavailable
from storage.pack.reader import PackReader
from storage.pack.writer import TURN_TRACES, PackWriter
from storage.records import Header, Kind, decode
from storage.store import Store
from storage.turns import taking_turns

Records = dict[bytes, list[Frame]]
"""The records of each trace, in order."""
Told = tuple[int, int, int, bytes]
"""What of a record is the same wherever it lies."""


class NotPacked(Exception):
    """Why there is no pack of the records. They are where they were."""


def told(record: Frame) -> Told:
    """What of a record is the same wherever it lies."""
    return record.record, record.kind, record.flags, record.body


def shared_of(traces: Records) -> set[bytes]:
    """The digests of the manifests and environments that these traces name."""
    named: set[bytes] = set()
    for records in traces.values():
        for one in records:
            if one.kind == Kind.HEADER:
                with contextlib.suppress(TypeError, CorruptRecord):  # carried as it is: loading the trace says so
                    header = decode(one.kind, one.body)
                    if isinstance(header, Header):
                        named |= {header.manifest, header.environment}
    return named


def pack(store: Store, writer_id: bytes, traces: Records, shared: dict[bytes, bytes], *, replaces: Sequence[str] = ()) -> bytes:
    """A pack, read back.

    Args:
        store: whose.
        writer_id: 8 bytes.
        traces: what it holds.
        shared: the manifests and environments that it holds, by digest.
        replaces: the keys of the packs that it stands for.

    Raises:
        NotPacked: it cannot be made, or does not give back what it is to hold.
    """
    writer = PackWriter(store.id, writer_id, store.mac, replaces=replaces)
    try:
        for digest, content in shared.items():
            writer.share(digest, content)
        for records in traces.values():
            writer.add(records)
        made = writer.build()
        reader = PackReader.of_bytes(made, mac=store.mac)
    except (StorageError, ValueError) as error:
        raise NotPacked(f"no pack can be made of it: {error}") from error
    if not _holds(reader, traces, shared):
        raise NotPacked("the pack made of it does not hold what it holds")
    return made


def put(store: Store, key: str, made: bytes, traces: Records, shared: dict[bytes, bytes]) -> None:
    """Put a pack where none is; one that is there and holds the same is as good.

    Args:
        store: where.
        key: its key.
        made: the pack.
        traces: what it holds.
        shared: as of `pack`.

    Raises:
        NotPacked: another one is there.
        StoreUnavailable: the store gave no answer.
        StoreRefused: it refused.
    """
    if store.objects.put_new(key, made):
        return
    # That of a process that ended before it said so, made by another version of a library.
    try:
        there = PackReader.of_bytes(store.objects.get(key, 3 * len(made)), mac=store.mac, name=key)
        same = _holds(there, traces, shared)
    except (StoreUnavailable, StoreRefused):
        raise
    except (ObjectNotFound, ObjectTooLarge, StorageError) as error:
        raise NotPacked(f"{key} is there already and cannot be read: {error}") from error
    if not same:
        raise NotPacked(f"{key} is there already and does not hold what it holds")


def _holds(reader: PackReader, traces: Records, shared: dict[bytes, bytes]) -> bool:
    """Whether a pack gives back every record and every shared value."""
    try:
        return all(
            list(map(told, reader.frames(trace))) == list(map(told, records))
            for trace, records in taking_turns(TURN_TRACES, traces.items())
        ) and all(reader.shared(digest) == content for digest, content in shared.items())
    except CorruptRecord:
        return False
