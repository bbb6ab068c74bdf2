"""A store in a folder: which traces it holds, and reading them (docs/format.md)."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final, Self

from storage import founding
from storage.digest import Mac
from storage.errors import AmbiguousTrace, CorruptRecord, TraceNotFound
from storage.ids import check_trace_prefix, trace_seconds
from storage.index import FileGone, Index
from storage.packs import Packs
from storage.stored import Stored

_SHOWN: Final = 5
_LOOKS: Final = 5
"""A record file that is sealed while it is read is a pack at the next look."""
_FULL_DIGITS: Final = 32


class LocalStore:
    """The store at a path. Made by `open`; its methods may be called from any thread."""

    path: Path
    id: bytes
    mac: Mac
    log_folder: str
    """Where its record files are."""

    def __init__(self, path: Path, store_id: bytes, mac: Mac) -> None:
        self.path, self.id, self.mac = path, store_id, mac
        self.log_folder = os.path.join(path, founding.LOG)
        self._index = Index(self.log_folder, store_id, Packs(os.path.join(path, "hot"), store_id, mac))
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool) -> Self:
        """The store at a path, made there if it is to be.

        Raises:
            StoreError: there is none, it is newer than this code, or its key is not the one it was made with.
        """
        where = Path(path).absolute()
        if create:
            founding.found(str(where))
        store_id, mac = founding.inspect(str(where))
        return cls(where, store_id, mac)

    def refresh(self) -> None:
        """Take in what was recorded since. The other methods do so by themselves.

        Raises:
            StoreError: a record file was written by a newer major version.
        """
        with self._lock:
            self._index.refresh()

    @property
    def count(self) -> int:
        """How many traces there are."""
        with self._lock:
            self._index.refresh()
            return len(self._index.traces)

    @property
    def damage(self) -> list[str]:
        """What is wrong with its record files and packs, whichever traces that reaches."""
        with self._lock:
            self._index.refresh()
            return self._index.damage

    def ids(self) -> list[bytes]:
        """The traces, newest first."""
        with self._lock:
            self._index.refresh()
            traces = self._index.traces
            return sorted(traces, key=lambda one: (trace_seconds(one), traces[one].wall, one), reverse=True)

    def resolve(self, prefix: str) -> bytes:
        """The trace of a printed id or the start of one, or of the whole id that OpenTelemetry knows it by.

        Raises:
            InvalidId: the text is no trace id.
            TraceNotFound: there is none.
            AmbiguousTrace: there are several.
        """
        wanted = check_trace_prefix(prefix)
        known = self.ids()
        if len(wanted) == _FULL_DIGITS and (whole := bytes.fromhex(wanted)) in self._index.traces:
            return whole
        found = [one for one in known if one.hex().startswith(wanted)]
        if not found and len(wanted) == _FULL_DIGITS:
            found = [one for one in known if self._index.traces[one].otel == wanted]
        if not found:
            raise TraceNotFound(wanted, str(self.path), len(known))
        if len(found) > 1:
            raise AmbiguousTrace(wanted, [one.hex() for one in found[:_SHOWN]], len(found))
        return found[0]

    def load(self, trace_id: bytes) -> Stored:
        """Read a trace.

        Raises:
            TraceNotFound: it is not here.
            CorruptRecord: it has no header, so there is nothing to read it by.
        """
        with self._lock:
            for _ in range(_LOOKS):
                self._index.refresh()
                entry = self._index.traces.get(trace_id)
                if entry is None:
                    raise TraceNotFound(trace_id.hex(), str(self.path), len(self._index.traces))
                with contextlib.suppress(FileGone):
                    return Stored(trace_id, entry, self._index, self.mac, self.load)
            raise CorruptRecord(f"the files of trace {trace_id.hex()} went away as often as they were looked for")
