"""One trace as a file that can be carried away: a small whole store with a key of its own (docs/testing.md).

A `.recording` is a ZIP archive of three members that are not compressed: `store.json`, `key` and `trace.pack`. The trace is
keyed anew, so that the file tells nothing of the store it comes from, and nothing can be compared with that store.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import json
import os
import secrets
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeGuard

import msgspec

from storage import codec, keys, store_key
from storage.assembly import INLINE_BYTES
from storage.digest import Mac
from storage.errors import StorageError, StoreError, ValueLeftOut
from storage.founding import FORMAT
from storage.frames import Frame
from storage.opening import open_store
from storage.pack.check import check as check_pack
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.records import Kind, Record, Ref, ref_of
from storage.store import Store
from storage.store_key import KEY_FILE
from storage.stored import Stored
from storage.values import Opaque

SUFFIX: Final = ".recording"
MAX_BYTES: Final = 512 * 2**20
_PACK: Final = "trace.pack"
_LIMITS: Final = {keys.STORE: 4096, KEY_FILE: 256, _PACK: MAX_BYTES}
"""The members, in order, and how many bytes each may have. Only what is in the pack is decompressed, and that has ceilings."""
_REFS: Final = {Kind.HEADER: "input", Kind.INTENT: "request", Kind.SPAN: "output", Kind.END: "output"}
"""What the one reference of a record is called, where it is not `value`."""
_LEFT_OUT: Final = frozenset({"certificate"})
"""Annotations that stay behind: only the store that issued a certificate can tell whether it is authentic."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def export(stored: Stored) -> bytes:
    """The file of a trace.

    Raises:
        StoreError: the trace is not whole, or was written by a newer version.
        StorageError: a value of it cannot be read, for instance one of another trace that is gone.
    """
    name = stored.trace_id.hex()
    if stored.state != "whole":
        why = f": {stored.damage[0]}" if stored.damage else ""
        raise StoreError(f"trace {name} is {stored.state}, and only a whole one can be exported{why}")
    if stored.header.minor:
        raise StoreError(f"trace {name} was written by a newer kitchenlog, which is needed to export it")
    key, store_id = store_key.new_key(), secrets.token_bytes(16)
    mac = store_key.parse(key, "the new key")
    writer = PackWriter(store_id, secrets.token_bytes(8), mac)
    shared = {"manifest": stored.manifest, "environment": stored.environment}
    for data in shared.values():
        writer.share(mac("value", data), data)
    writer.add(_Rekeyed(stored, mac).frames())
    told = {
        "format": FORMAT,
        "id": store_id.hex(),
        "key_id": mac.key_id.hex(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    members = {keys.STORE: f"{json.dumps(told)}\n".encode(), KEY_FILE: f"{key}\n".encode(), _PACK: writer.build()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), data)
    return out.getvalue()


def write(file: Path, data: bytes) -> None:
    """Put a file in its place, whole or not at all.

    Raises:
        StoreError: it cannot be written; what was there before stays.
    """
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        try:
            draft.write_bytes(data)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}") from error


class _Rekeyed:
    """The records of a trace, numbered and keyed anew."""

    def __init__(self, stored: Stored, mac: Mac) -> None:
        self._stored, self._mac = stored, mac
        self._numbers = itertools.count(max((*stored.intents, *stored.spans), default=0) + 1)
        self._values: dict[bytes, int] = {}
        self._made: list[Frame] = []

    def frames(self) -> list[Frame]:
        stored, mac = self._stored, self._mac
        header = msgspec.structs.replace(
            stored.header, manifest=mac("value", stored.manifest), environment=mac("value", stored.environment), subject=None
        )
        self._add(Kind.HEADER, next(self._numbers), header)
        for kind, number, record in self._records():
            self._add(kind, number, record)
        assert stored.end is not None  # it is whole
        number, output = next(self._numbers), self._ref(stored.end.output)
        self._frame(Kind.END, number, msgspec.structs.replace(stored.end, output=output, records=len(self._made) + 1))
        return self._made

    def _records(self) -> Iterator[tuple[Kind, int, Record]]:
        stored = self._stored
        yield from ((Kind.INTENT, number, record) for number, record in stored.intents.items())
        yield from ((Kind.OUTCOME, next(self._numbers), record) for record in stored.outcomes.values())
        yield from ((Kind.SPAN, number, record) for number, record in stored.spans.items())
        kept = (record for record in stored.annotations if record.kind not in _LEFT_OUT)
        yield from ((Kind.ANNOTATION, next(self._numbers), record) for record in kept)
        yield from ((Kind.LINK, next(self._numbers), record) for record in stored.links)

    def _add(self, kind: Kind, number: int, record: Record) -> None:
        given: Any = record
        self._frame(kind, number, msgspec.structs.replace(given, **{_REFS.get(kind, "value"): self._ref(ref_of(record))}))

    def _frame(self, kind: Kind, number: int, record: Any) -> None:
        self._made.append(Frame(0, int(kind), 0, number, self._stored.trace_id, codec.encode(record)))

    def _ref(self, ref: Ref) -> Ref:
        if ref is None:
            return None
        try:
            data = self._stored.value(ref)
        except ValueLeftOut as error:  # its digest under another key is not to be had
            data = codec.encode(Opaque("?", "", str(error)))
        if len(data) < INLINE_BYTES:
            return data
        digest = self._mac("value", data)
        known = self._values.get(digest)
        if known is None:
            known = self._values[digest] = next(self._numbers)
            self._made.append(Frame(0, int(Kind.VALUE), 0, known, self._stored.trace_id, digest + data))
        return known


def is_recording(place: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a place that is meant to be a store is such a file, by its name."""
    return isinstance(place, (str, os.PathLike)) and Path(os.fspath(place)).suffix == SUFFIX


def unpack(file: str | os.PathLike[str], owner: object) -> str:
    """A folder with the store that a file is. It goes away with its owner, and with all that was recorded to it.

    Raises:
        StoreError: it is no such file, or not what was exported.
    """
    members = _members(Path(file))
    folder = Path(tempfile.mkdtemp(prefix="kitchenlog-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    (folder / keys.LOG).mkdir(mode=0o700)
    (folder / keys.STORE).write_bytes(members[keys.STORE])
    (folder / KEY_FILE).touch(0o600)
    (folder / KEY_FILE).write_bytes(members[KEY_FILE])
    try:
        with contextlib.closing(open_store(folder, create=False)) as store:
            writer, trace = _checked(members[_PACK], store)
    except (ValueError, StorageError) as error:
        raise StoreError(f"{file} is no recording that was exported: {error}") from error
    pack = folder / keys.pack(keys.hour_of(trace), writer, 0)
    pack.parent.mkdir(mode=0o700, parents=True)
    pack.write_bytes(members[_PACK])
    return str(folder)


def _checked(pack: bytes, store: Store) -> tuple[bytes, bytes]:
    """(writer id, trace id) of a pack that every byte was looked at of."""
    found = check_pack(pack, store.mac, full=True)
    if found:
        raise ValueError(f"its {found[0].section} is damaged: {found[0].text}")
    reader = PackReader.of_bytes(pack, mac=store.mac)
    header, traces = reader.footer.header, list(reader.ids())
    if header.store_id != store.id or len(traces) != 1:
        raise ValueError("its parts are not of one store and one trace")
    return header.writer_id, traces[0]


def _members(file: Path) -> dict[str, bytes]:
    try:
        size = os.stat(file).st_size
        if size > MAX_BYTES:
            raise StoreError(f"{file} has {size:,} bytes, over the limit of {MAX_BYTES:,}")
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
            for one in listed:
                _check_member(one, size)
            if [one.filename for one in listed] != list(_LIMITS):
                raise ValueError(f"it holds {', '.join(one.filename for one in listed[:8])!r}, not {', '.join(_LIMITS)}")
            return {one.filename: archive.read(one) for one in listed}
    except FileNotFoundError:
        raise StoreError(f"there is no {file}") from None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise StoreError(f"{file} is no recording that was exported: {error}") from error


def _check_member(one: zipfile.ZipInfo, size: int) -> None:
    if one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1 or one.file_size != one.compress_size:
        raise ValueError(f"its member {one.filename!r} is compressed or encrypted")
    if one.file_size > min(size, _LIMITS.get(one.filename, 0)):
        raise ValueError(f"its member {one.filename!r} says that it has {one.file_size:,} bytes")
