"""A runtime's settings, and its store and log, opened when they are first needed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import anyio.to_thread

from runtime import environment, place
from runtime.agent import Agent
from runtime.errors import RuntimeMisuse
from runtime.live_run import DURABLE, Durable
from runtime.reading import Reading
from runtime.recorder import Recorder
from storage import portable
from storage.fork_lock import ForkLock
from storage.log import QUEUE_BYTES, Log
from storage.objects.contract import ObjectStore
from storage.opening import open_store
from storage.sealer import Sealer
from storage.spool import volatile
from storage.store import Store
from storage.writer import SEAL_BYTES, SEAL_SECONDS, SPOOL_BYTES, Limits

CHECK_EVERY = 64
"""One run in so many is run in check mode (DESIGN 3)."""


def _same(value: Any) -> Any:
    return value


class Opened(Reading):
    """Runs agents, records them, and replays what was recorded.

    Args:
        store: a folder, `s3://bucket/prefix`, an object store of `storage.objects`, or a `.recording` that was exported: what is
            recorded to that goes away with this. By default the project's: that of the nearest `kitchenlog.toml` or
            `[tool.kitchenlog]`, else `./.kitchenlog`.
        durable: what each run waits for: `batched` for nothing (it is on disk within 50 ms), `committed` until it is on disk,
            `stored` until its pack is in the store, 30 seconds at most.
        redact: applied to every value before it is recorded.
        check: run every run in check mode (mutated inputs, values that do not decode to themselves); by default 1 in 64.
        backend: the loop that the plain names start, `asyncio` or `trio`.
        key: the key of a bucket, 64 hexadecimal digits; by default KITCHENLOG_KEY, else the `key_file` of the configuration.
        s3: how a bucket is reached: the fields of `storage.objects.s3.S3Settings`, over those of the configuration.
        spool: where record files wait for a bucket to take their packs; by default `.kitchenlog/spool` of the project.
        queue_bytes: what may wait for the disk, in memory; past it records are dropped and counted.
        when_full: `wait` holds a new run back for a second at most while half of that, or of `spool_bytes`, is taken; `drop`
            never waits.
        seal_bytes: a record file of so many bytes becomes a pack.
        seal_seconds: so long after the first run in it ended, it does at the latest.
        spool_bytes: what may wait for the bucket, on disk; past it records are dropped and counted.
        entropy: "ambient" also answers and records direct use of `time`, `datetime`, `random`, `uuid`, `secrets` and
            `os.urandom` by steps, from the first run until `close`; by default "declared", that of `runtime.current()` only.

    Raises:
        RuntimeMisuse: a setting is none.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | ObjectStore | None = None,
        *,
        durable: Durable = "batched",
        redact: Callable[[Any], Any] = _same,
        check: bool = False,
        backend: str = "asyncio",
        key: str | None = None,
        s3: Mapping[str, Any] | None = None,
        spool: str | os.PathLike[str] | None = None,
        queue_bytes: int = QUEUE_BYTES,
        when_full: Literal["wait", "drop"] = "wait",
        seal_bytes: int = SEAL_BYTES,
        seal_seconds: float = SEAL_SECONDS,
        spool_bytes: int = SPOOL_BYTES,
        entropy: Literal["declared", "ambient"] = "declared",
    ) -> None:
        if durable not in DURABLE or when_full not in {"wait", "drop"}:
            raise RuntimeMisuse(f"durable is one of {', '.join(DURABLE)}, and when_full is wait or drop")
        self._goes_away = False
        """Whether what is recorded goes away with this."""
        if portable.is_recording(store):
            self._goes_away, store = True, portable.unpack(store, self)
        if entropy not in {"declared", "ambient"}:
            raise RuntimeMisuse(f"entropy is 'declared' or 'ambient', not {entropy!r}")
        self._recorder: type[Recorder] = Recorder
        self._ambient = entropy == "ambient"
        self._release: Callable[[], None] | None = None
        """Takes the functions back that stand in for those of the standard library, where entropy is ambient."""
        self._place = place.find()
        self._where, self.place = self._place.resolve(store)
        self._settings = self._place.settings(key=key, s3=s3, spool=spool)
        self._durable: Durable = durable
        self._redact, self._check, self._backend = redact, check, backend
        self._queue_bytes, self._when_full = queue_bytes, when_full
        self._limits = Limits(seal_bytes, seal_seconds, spool_bytes)
        self._store: Store | None = None
        self.log: Log | None = None
        """The log that runs are recorded to, once there was one."""
        self._agents: dict[tuple[str, bytes], Agent[Any, Any]] = {}
        self._lock = ForkLock()
        self._runs = random.Random().randrange(CHECK_EVERY)

    # the store

    def _reading(self) -> Store:
        with self._lock:
            if self.log is not None:
                self.log.flush(30.0)
            if self._store is None:
                self._store = open_store(self._where, create=False, settings=self._settings)
            self._store.refresh()
            return self._store

    def _writing(self) -> Log:
        log = self.log
        if log is not None:
            return log
        with self._lock:
            if self.log is None:
                # Also where it was read already: only who writes makes it, and asks a bucket whether it keeps what is written.
                self._store = open_store(self._where, create=True, settings=self._settings)
                if (warning := volatile(self._store)) is not None:
                    _warn(warning)
                made = Log(
                    self._store, queue_bytes=self._queue_bytes, on_loss=_warn, limits=self._limits,
                    sealer=None if self._goes_away else Sealer(self._store, on_trouble=_warn),
                )  # fmt: skip
                made.shared("environment", environment.encoded)  # the disk is asked for it: here, and not in a run
                self.log = made
            if self._ambient and self._release is None:
                from runtime import ambient, ambient_recording  # noqa: PLC0415 - what nobody asks for is not loaded

                self._recorder, self._release = ambient_recording.AmbientRecorder, ambient.AMBIENT.hold()
            return self.log

    async def _founded(self) -> Log:
        """As `_writing`, in a worker thread: the disk is asked for much, and the loop would stand still meanwhile."""
        return await anyio.to_thread.run_sync(self._writing)

    def close(self) -> None:
        """Write everything that was recorded, make packs of it, and stop.

        That takes 30 seconds at most. What is not done by then is on disk, and the next process that writes goes on with it.
        """
        with self._lock:
            if self.log is not None:
                self.log.close(30.0)
                self.log = None
            if self._store is not None:
                self._store.close()
                self._store = None
            if self._release is not None:
                self._release()
                self._release = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _warn(text: str) -> None:
    print(f"kitchenlog: {text}", file=sys.stderr)  # noqa: T201 - the last resort of a recorder that loses records
