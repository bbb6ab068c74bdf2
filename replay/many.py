"""Verifying many traces: which, by whom, and what came of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio.to_thread
import attrs

from replay.selection import as_list
from replay.verified import Row, Verified
from replay.verifier import NO_ADDRESS, Request, Verifier
from replay.worker_pool import Job, Pool, cores
from runtime.declaration import describe
from runtime.errors import RuntimeMisuse
from runtime.listing import facts_of, summary
from runtime.where import parse
from storage.store import Store
from storage.sweep import Sweep

BATCH: Final = 256
_WORTH: Final = 2000
"""Fewer traces are done before worker processes have begun."""
_TELL_EVERY: Final = 50

Progress = Callable[[int, int], None]
"""Told how many traces of how many are done."""


async def verify_many(
    store: Store,
    request: Request,
    *,
    traces: Sequence[str] | None,
    limit: int | None,
    workers: int | None,
    job: Callable[[], Job],
    progress: Progress | None,
) -> Verified:
    """Verify the traces of a store.

    Args:
        store: which.
        request: with what.
        traces: only these, by their ids or the starts of them.
        limit: at most so many, the newest.
        workers: how many processes; 0 for none but this one, None for as many as there are cores where that is worth it.
        job: the same, for another process; raises `RuntimeMisuse` where it cannot be put into words.
        progress: see `Progress`.

    Raises:
        BadWhere: `where` is not of the grammar.
        BuildError: what is swapped in is no step.
        RuntimeMisuse: workers cannot make live calls; or `swap` or `live` names an address that no trace has.
        TraceNotFound: the store does not hold one of `traces`.
        StoreUnavailable: the store gave no answer.
    """
    began = time.monotonic()
    is_live = bool(as_list(request.live))
    if is_live and workers:
        raise RuntimeMisuse("live calls are made by this process, one trace after another: leave workers out")
    if request.where is not None:
        parse(request.where)
    for step in (request.swap or {}).values():
        describe(step)
    batches, unread = await anyio.to_thread.run_sync(_select, store, request.where, traces, limit)
    if traces is not None or limit is not None:
        request = attrs.evolve(request, where=None)
    made = _Made(sum(map(len, batches)), progress)
    notes: list[str] = []
    used = 0
    wanted = workers if workers is not None else 0 if is_live or made.total < _WORTH or cores() == 1 else cores()
    if wanted and batches:
        try:
            described = job()
        except RuntimeMisuse as error:
            notes.append(f"verified by one process: {error}")
        else:
            described.where = request.where
            pool = Pool(described, batches, made.take)
            await pool.run(wanted)
            used, batches = wanted, [batch for batch, _ in pool.left]
            notes += [f"verified by one process: {note}" for note in pool.notes] if batches else pool.notes
    if batches:
        with store.snapshot():
            verifier = Verifier(store, request)
            for batch in batches:
                async for trace, row in verifier.rows(batch):
                    made.take(trace, row)
    return made.verified(unread, notes, used, time.monotonic() - began)


class _Made:
    """The rows so far."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self._progress = total, progress
        self._rows: dict[bytes, Row | None] = {}

    def take(self, trace: bytes, row: Row | None) -> None:
        self._rows[trace] = row
        done = len(self._rows)
        if self._progress is not None and (done % _TELL_EVERY == 0 or done == self.total):
            self._progress(done, self.total)

    def verified(self, unread: Sequence[str], notes: Sequence[str], workers: int, seconds: float) -> Verified:
        rows = [row for row in self._rows.values() if row is not None]
        if rows and all(row.status == NO_ADDRESS for row in rows):
            raise RuntimeMisuse(rows[0].reason)
        rows.sort(key=lambda row: (row.started, row.trace_id), reverse=True)
        return Verified(tuple(rows), tuple(unread), tuple(notes), workers, seconds)


def _select(
    store: Store, where: str | None, traces: Sequence[str] | None, limit: int | None
) -> tuple[list[Sequence[bytes]], list[str]]:
    """The traces that may be verified, in batches, and what of the store cannot be read."""
    if traces is None and limit is None:
        sweep = Sweep(store)
        return [batch.traces for batch in sweep.batches(BATCH)], sweep.damage
    test = None if where is None else parse(where)

    def wanted(trace: bytes) -> bool:
        line = summary(store, trace)
        return line.status == "damaged" or (line.kind == "run" and (test is None or test(facts_of(line))))

    with store.snapshot():
        given = store.ids() if traces is None else map(store.resolve, traces)
        found = list(itertools.islice(filter(wanted, given), limit))
        return [found[start : start + BATCH] for start in range(0, len(found), BATCH)], store.damage


def describe_job(
    request: Request, *, place: object, settings: Any, backend: str, path: list[str], spell: Callable[[object, str], str]
) -> Job:
    """A request, for another process.

    Raises:
        RuntimeMisuse: another process can import or open something of it by no name.
    """
    if not isinstance(place, str):
        raise RuntimeMisuse(f"another process cannot open {place!r}")
    agents = list(request.agents.values())
    if request.agent is not None and request.agent not in agents:
        agents.append(request.agent)
    return Job(
        path=path, place=place, key=settings.key, key_file=settings.key_file, spool=settings.spool, s3=settings.s3,
        backend=backend, agents=[(spell(one, f"agent {one.name}"), one.fingerprint) for one in agents],
        agent=-1 if request.agent is None else agents.index(request.agent), where=request.where,
        swap={address: spell(step, f"the step for {address}") for address, step in (request.swap or {}).items()},
        redact=spell(request.redact, "redact"),
    )  # fmt: skip
