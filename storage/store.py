"""A store in a folder (docs/format.md, sections 1 and 2)."""

from __future__ import annotations

import datetime
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from storage import frames, ids
from storage.digest import DIGEST_BYTES, KEY_BYTES, Mac
from storage.errors import AmbiguousTrace, CorruptRecord, StoreError, TraceNotFound
from storage.records import Header, Kind
from storage.stored import Stored, merge

FORMAT: Final = 1
_LOG_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9]{6}\.log\Z")
_header = msgspec.msgpack.Decoder(Header)


class _File:
    """What is known of one log file."""

    __slots__ = ("damage", "names", "offset", "shared")

    def __init__(self) -> None:
        self.offset = 0
        self.names: dict[bytes, list[tuple[int, int]]] = {}
        """Offset and length of each frame, by trace."""
        self.shared: list[tuple[int, int]] = []
        self.damage: list[str] = []


class LocalStore:
    """Recordings in a folder. Made by `LocalStore.open`."""

    def __init__(self, path: Path, store_id: bytes, key: bytes) -> None:
        self.path, self.id, self.mac = path, store_id, Mac(key)
        self._files: dict[str, _File] = {}
        self._where: dict[bytes, set[str]] = {}
        self._walls: dict[bytes, int] = {}
        self._otel: dict[str, bytes] = {}
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool) -> LocalStore:
        """Open the store in a folder.

        Args:
            path: the folder.
            create: make it where there is none.

        Raises:
            StoreError: there is none, it cannot be made, its key is another's, or a later version wrote it.
        """
        folder = Path(path).resolve()
        try:
            if not (folder / "store.json").exists():
                if not create:
                    raise StoreError(
                        f"no recordings in {folder}: it holds no store yet. Run an agent here first, or name another "
                        "folder with configure(store=...), --store or kitchenlog.toml"
                    )
                _create(folder)
            told = json.loads((folder / "store.json").read_text("ascii"))
            key = bytes.fromhex((folder / "key").read_text("ascii").strip())
            number, store_id, key_id = told["format"], bytes.fromhex(told["id"]), bytes.fromhex(told["key_id"])
        except OSError as error:
            raise StoreError(f"the store in {folder} cannot be used: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the store in {folder} is damaged: store.json or key cannot be read: {error}") from error
        if number > FORMAT:
            raise StoreError(f"the store in {folder} is of format {number}; this version reads {FORMAT}: update kitchenlog")
        if len(key) != KEY_BYTES or Mac(key).key_id != key_id:
            raise StoreError(f"the key in {folder / 'key'} is not this store's")
        return cls(folder, store_id, key)

    # reading

    def refresh(self) -> None:
        """See what was written since the last look."""
        with self._lock:
            try:
                names = sorted(name for name in os.listdir(self.path / "log") if _LOG_NAME.match(name))
            except FileNotFoundError:
                names = []
            for name in names:
                self._read(name, self._files.setdefault(name, _File()))

    def _read(self, name: str, known: _File) -> None:
        path = self.path / "log" / name
        if path.stat().st_size <= known.offset:
            return
        data = path.read_bytes()
        if known.offset == 0:
            try:
                store = frames.check_file_header(data, name)
            except CorruptRecord as error:
                if len(data) >= frames.FILE_HEADER.size and str(error) not in known.damage:
                    known.damage.append(str(error))
                if len(data) < frames.FILE_HEADER.size:
                    return
            else:
                if store != self.id:
                    known.damage.append(f"{name} belongs to another store")
                    known.offset = len(data)
                    return
            known.offset = frames.FILE_HEADER.size
        for item in frames.scan(data, known.offset):
            if isinstance(item, frames.Damage):
                known.damage.append(f"{name} is damaged at offset {item.offset}, {item.length} bytes")
                continue
            size = frames.FRAME.size + len(item.body)
            known.offset = item.offset + size
            self._index(name, known, item, size)

    def _index(self, name: str, known: _File, item: frames.Frame, size: int) -> None:
        if item.trace == ids.NO_TRACE:
            known.shared.append((item.offset, size))
            return
        known.names.setdefault(item.trace, []).append((item.offset, size))
        self._where.setdefault(item.trace, set()).add(name)
        if item.kind == Kind.HEADER:
            try:
                header = _header.decode(item.body)
            except msgspec.MsgspecError:
                return
            self._walls[item.trace] = header.wall
            if header.otel is not None:
                self._otel[header.otel[0]] = item.trace

    @property
    def count(self) -> int:
        """How many traces are known."""
        return len(self._where)

    def ids(self) -> list[bytes]:
        """Every trace, newest first."""
        return sorted(self._where, key=lambda trace: (self._walls.get(trace, 0), trace), reverse=True)

    def resolve(self, prefix: str) -> bytes:
        """The trace that an id, the start of one, or a caller's OpenTelemetry trace id names.

        Raises:
            InvalidId: the text is no id.
            TraceNotFound: no trace starts like that.
            AmbiguousTrace: several do.
        """
        wanted = ids.check_trace_prefix(prefix)
        found = [trace for trace in self.ids() if trace.hex().startswith(wanted)]
        if not found and wanted in self._otel:
            return self._otel[wanted]
        if not found:
            raise TraceNotFound(wanted, str(self.path), self.count)
        if len(found) > 1:
            raise AmbiguousTrace(wanted, [trace.hex() for trace in found[:5]], len(found))
        return found[0]

    def load(self, trace_id: bytes) -> Stored:
        """One trace.

        Raises:
            TraceNotFound: it is not here.
            CorruptRecord: what is here cannot be read as a trace.
        """
        with self._lock:
            names = self._where.get(trace_id)
            if names is None:
                self.refresh()
                names = self._where.get(trace_id)
            if names is None:
                raise TraceNotFound(trace_id.hex(), str(self.path), self.count)
            found: list[frames.Frame] = []
            shared: dict[bytes, bytes] = {}
            damage: list[str] = []
            for name in sorted(names):
                known = self._files[name]
                damage += known.damage
                with (self.path / "log" / name).open("rb") as file:
                    found += [_frame(file, name, *place) for place in known.names[trace_id]]
                    for place in known.shared:
                        body = _frame(file, name, *place).body
                        shared[body[:DIGEST_BYTES]] = body[DIGEST_BYTES:]
        whole = _is_complete(found)
        return merge(trace_id, found, shared, [] if whole else damage, self.mac, self.load)


def _is_complete(found: list[frames.Frame]) -> bool:
    """Damage elsewhere in a file does not touch a trace all of whose records are there."""
    ends = [frame for frame in found if frame.kind == Kind.END]
    if not ends:
        return False
    try:
        wanted: list[Any] = msgspec.msgpack.decode(ends[0].body)
    except msgspec.MsgspecError:
        return False
    return isinstance(wanted, list) and len(wanted) > 3 and len({frame.record for frame in found}) >= wanted[3]  # noqa: PLR2004 - the fields of an end


def _frame(file: Any, name: str, offset: int, size: int) -> frames.Frame:
    file.seek(offset)
    data: bytes = file.read(size)
    found = frames.parse(data, 0, len(data))
    if found is None:
        raise CorruptRecord(f"{name} has changed at offset {offset} since it was read")
    return found._replace(offset=offset)


def _create(folder: Path) -> None:
    """Make a store. Where two processes try at once, one of them makes it and both use it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "log").mkdir(exist_ok=True, mode=0o700)
    key = os.urandom(KEY_BYTES)
    if not _put(folder / "key", key.hex() + "\n", 0o600):
        key = _read_key(folder / "key")
    _put(folder / ".gitignore", "*\n", 0o600)
    created = datetime.datetime.now(datetime.UTC).isoformat()
    told = {"format": FORMAT, "id": os.urandom(16).hex(), "key_id": Mac(key).key_id.hex(), "created": created}
    _put(folder / "store.json", json.dumps(told) + "\n", 0o600)
    for place in (folder, folder.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_key(path: Path) -> bytes:
    return bytes.fromhex(path.read_text("ascii").strip())


def _put(path: Path, text: str, mode: int) -> bool:
    """Write a file whole or not at all, unless it is there already: whether this call made it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(descriptor, text.encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True
