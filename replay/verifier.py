"""Verifying one trace after another: on the fast path where it is an ordinary one, else by the replayer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import anyio.to_thread
import attrs

from replay.certificate import NOT_OK, Entry
from replay.fast_path import FastPath
from replay.guard import guarded
from replay.result import Replay, replay, request_of
from replay.selection import as_list
from replay.verified import Row, Verdict
from runtime import effects, lanes, loader, registry
from runtime.agent import Agent
from runtime.errors import UnknownAddress, UnknownAgent
from runtime.failure import STATUS
from runtime.listing import attributes_of, facts
from runtime.recording import Recording
from runtime.where import Test, parse
from storage import ids
from storage.errors import StorageError
from storage.objects.contract import StoreRefused, StoreUnavailable
from storage.pack.scan import Scanned, Unusual
from storage.store import Store
from storage.sweep import Sweep

NO_ADDRESS = "unknown address"
"""The status of a row whose trace has no such address as a key of `swap` or `live` names."""
_READ: Final = 32
"""Traces that are read at once: enough to be worth a thread's turn, few enough for the collector to meet them young."""
_PLAIN: Final = frozenset({"reproduced", "reused"})
_LACKING: Final = frozenset({"unreplayable", "redacted"})


@attrs.frozen(kw_only=True)
class Request:
    """What to verify traces with.

    Args:
        agents: that are known, by name and fingerprint.
        agent: replays every trace, whichever it was recorded by.
        where: which traces; those that cannot be read are always among them.
        swap: steps by address, run instead of the recorded ones.
        live: what may call providers for real, as in `runtime.replay`.
        budget_usd: the most that live calls may cost, over all traces.
        redact: applied to every value before it is encoded.
    """

    agents: Mapping[tuple[str, bytes], Agent[Any, Any]]
    agent: Agent[Any, Any] | None = None
    where: str | None = None
    swap: Mapping[str, Any] | None = None
    live: str | Sequence[str] | None = None
    budget_usd: float | None = None
    redact: Callable[[Any], Any]


class Verifier:
    """Verifies traces of a store, in one loop.

    Args:
        store: which.
        request: with what.

    Raises:
        BadWhere: `where` is not of the grammar.
        StoreUnavailable: the store gave no answer.
    """

    def __init__(self, store: Store, request: Request) -> None:
        self._store, self._request = store, request
        self._test: Test | None = None if request.where is None else parse(request.where)
        self._sweep = Sweep(store)
        self._paths: dict[bytes, FastPath] = {}
        self._shared: dict[tuple[Entry, ...], tuple[Entry, ...]] = {}
        self._spent = 0.0
        self._fast = not as_list(request.live)
        lanes.install()

    async def rows(self, traces: Sequence[bytes]) -> AsyncIterator[tuple[bytes, Row | None]]:
        """(trace, its row, or None where it is not selected) of each.

        Raises:
            StoreUnavailable: the store gave no answer, which tells nothing of a trace.
            StoreRefused: as above.
        """
        for start in range(0, len(traces), _READ):
            some = traces[start : start + _READ]
            scanned = await anyio.to_thread.run_sync(self._scan, some) if self._fast else [None] * len(some)
            with guarded():  # once for many: to put it up costs a sixth of a trace
                for trace, found in zip(some, scanned, strict=True):
                    row = await self._row(trace, found)
                    yield trace, row if isinstance(row, Row) else None

    async def _row(self, trace: bytes, found: Scanned | None) -> Row | _Unselected:
        row = None if found is None else await self._quickly(found)
        return await self._thoroughly(trace) if row is None else row

    def _scan(self, traces: Sequence[bytes]) -> list[Scanned | None]:
        return [self._sweep.read(trace) for trace in traces]

    # an ordinary trace

    async def _quickly(self, trace: Scanned) -> Row | _Unselected | None:
        try:
            return await self._row_of(trace)
        except (Unusual, StorageError, TypeError, AttributeError, ValueError):  # what is said of it cannot be read
            return None

    async def _row_of(self, trace: Scanned) -> Row | _Unselected | None:
        header, end = trace.header, trace.end
        if header.kind != "run":
            return _UNSELECTED
        name = trace.trace.hex()
        if self._test is not None:
            asked = facts(
                trace_id=name, agent=header.agent, status=STATUS[end.status], kind=header.kind, duration_ms=end.duration / 1e6,
                attributes=attributes_of(trace),
            )  # fmt: skip
            if not self._test(asked):
                return _UNSELECTED
        path = self._path(header.agent, header.fingerprint)
        if path is None:
            return None
        with effects.replaying(name):
            outcome = await path.replay(trace)
        if outcome is None:
            return None
        row = Row(
            name, "same", header.agent, header.fingerprint.hex(), header.wall / 1e9, "ok", "ok", entries=outcome.entries
        )  # fmt: skip
        if outcome.same:
            return row
        other = next((entry for entry in outcome.entries if entry.status not in _PLAIN), None)
        if other is None:
            return None
        return attrs.evolve(row, verdict="changed", address=other.address, status=other.status, reason=other.reason)

    def _path(self, name: str, fingerprint: bytes) -> FastPath | None:
        known = self._paths.get(fingerprint)
        if known is not None and known.agent.name == name:
            return known
        agent = self._request.agent or self._request.agents.get((name, fingerprint))
        if agent is None or agent.fingerprint != fingerprint or agent.name != name:
            return None
        made = self._paths[fingerprint] = FastPath(agent, self._request.redact, self._request.swap)
        return made

    # any other

    async def _thoroughly(self, trace: bytes) -> Row | _Unselected:
        try:
            recording = await anyio.to_thread.run_sync(loader.load, self._store, trace)
            attributes = recording.attributes
        except (StoreUnavailable, StoreRefused):
            raise
        except (StorageError, TypeError, AttributeError, LookupError, ValueError) as error:
            return _unreadable(trace, str(error))
        kind = recording.stored.header.kind
        if kind != "run":
            return _UNSELECTED
        asked = facts(
            trace_id=recording.trace_id, agent=recording.agent, status=recording.status, kind=kind,
            duration_ms=recording.duration_ms, attributes=attributes,
        )  # fmt: skip
        if self._test is not None and not self._test(asked):
            return _UNSELECTED
        return await self._replayed(recording)

    async def _replayed(self, recording: Recording) -> Row:
        asked = self._request
        try:
            agent = asked.agent or registry.choose(asked.agents, recording)
            budget = None if asked.budget_usd is None else max(0.0, asked.budget_usd - self._spent)
            request = request_of(
                recording, agent, swap=asked.swap, override=None, live=asked.live, budget_usd=budget, code="current",
                control=True,
            )  # fmt: skip
        except UnknownAgent as error:
            return _row(recording, "unreplayable", reason=str(error))
        except UnknownAddress as error:
            return _row(recording, "unreplayable", status=NO_ADDRESS, reason=str(error))
        try:
            done = await replay(recording, agent, request, redact=asked.redact, call="")
        except Exception as error:  # what is stored may be anything: one such trace must not end the others' verification
            return _row(recording, "unreplayable", reason=f"its replay failed: {type(error).__name__}: {error}")
        self._spent += done.spent_usd
        row = judge(recording, done)
        return attrs.evolve(row, entries=self._shared.setdefault(row.entries, row.entries))


class _Unselected:
    """A trace that was not asked for."""


_UNSELECTED = _Unselected()


def judge(recording: Recording, done: Replay) -> Row:
    """The row of a replay."""
    entries, result, recorded = done.certificate.entries, done.result, recording.result
    now = "" if result is None else result.status
    lacking = next((entry for entry in entries if entry.status in _LACKING), None)
    blocked = next((entry for entry in entries if entry.status == "blocked"), None)
    against = next((entry for entry in entries if entry.status in NOT_OK), None)
    other = next((entry for entry in entries if entry.status not in _PLAIN), None)
    verdict: Verdict
    found: Entry | None
    reason = ""
    if lacking is not None:
        verdict, found = "unreplayable", lacking
    elif blocked is not None or done.blocked or now == "blocked":
        verdict, found = "blocked", blocked
        if done.blocked:
            first = done.blocked[0]
            found = Entry(first.address, "blocked", "effect", str(first.fields[0]) if first.fields else "no recorded answer")
    elif result is None or recorded is None:
        verdict, found, reason = "unreplayable", None, "the recording does not tell what the run returned"
    elif (unknown := result.unknown or recorded.unknown) is not None:
        verdict, found, reason = "unreplayable", None, f"the output could not be recorded: {unknown}"
    elif against is not None:
        verdict, found = "changed", against
    elif result.same(recorded):
        verdict, found = "same", None
    elif not recorded.ok and result.ok:
        verdict, found = "fixed", other
    else:
        verdict, found = "changed", other
    return _row(
        recording, verdict, now=now, address="" if found is None else found.address, status="" if found is None else found.status,
        reason=reason or ("" if found is None else found.reason), spent_usd=done.spent_usd, entries=entries,
    )  # fmt: skip


def _row(recording: Recording, verdict: Verdict, *, now: str = "", **told: Any) -> Row:
    return Row(
        recording.trace_id, verdict, recording.agent, recording.fingerprint.hex(), recording.stored.header.wall / 1e9,
        recording.status, now, **told,
    )  # fmt: skip


def _unreadable(trace: bytes, reason: str) -> Row:
    """One that cannot be read may be one that was asked for: it is always told of."""
    return Row(trace.hex(), "unreplayable", "?", "", float(ids.trace_seconds(trace)), "damaged", "", reason=reason)


def lost(trace: bytes, reason: str) -> Row:
    """The row of a trace whose verification ended with the process."""
    return Row(trace.hex(), "unreplayable", "?", "", float(ids.trace_seconds(trace)), "?", "", reason=reason)
