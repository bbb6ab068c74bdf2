"""The public face: `Runtime`.

Every name has an awaitable twin with an `a` before it. This is the one module of `runtime` that imports `replay`, inside
the methods that need it.
"""

from __future__ import annotations

import functools
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import anyio.to_thread

from runtime import environment, loader, place
from runtime.agent import Agent
from runtime.errors import RuntimeMisuse
from runtime.event_loop import run_until_done
from runtime.listing import Listed, facts, summary
from runtime.live_run import DURABLE, Durable, Run, run_live
from runtime.recorder import Recorder
from runtime.recording import Recording
from runtime.registry import choose
from runtime.scope import step_scope
from runtime.sql import Asked
from runtime.where import parse
from storage import codec, portable
from storage.check import Report, check
from storage.errors import StoreError
from storage.fork_lock import ForkLock
from storage.log import QUEUE_BYTES, Log
from storage.merging import GRACE_SECONDS, Done, merge
from storage.objects.contract import ObjectStore
from storage.objects.locate import is_remote
from storage.opening import open_store
from storage.records import Kind
from storage.sealer import Sealer
from storage.sealing import Kept, Sealed, seal
from storage.spool import volatile
from storage.store import Store
from storage.writer import SEAL_BYTES, SEAL_SECONDS, SPOOL_BYTES, Limits

if TYPE_CHECKING:
    from replay.audit import Purity
    from replay.plan import Plan
    from replay.result import Replay
    from replay.trace_diff import TraceDiff
    from replay.verification import Verification
    from replay.verified import Verified

A = TypeVar("A")
R = TypeVar("R")

CHECK_EVERY = 64
"""One run in so many is run in check mode (DESIGN 3)."""


def _same(value: Any) -> Any:
    return value


class Runtime(Asked):
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
        self._goes_away = portable.is_recording(store)
        if portable.is_recording(store):
            store = portable.unpack(store, self)
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
                from runtime import ambient, ambient_recording

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

    # agents

    def register(self, agent: Agent[Any, Any]) -> None:
        """Make an agent known, so that its traces can be replayed. Running it does so too."""
        self._agents[agent.name, agent.fingerprint] = agent

    def _agent_of(self, found: Recording, agent: Agent[Any, Any] | None) -> Agent[Any, Any]:
        return agent if agent is not None else choose(self._agents, found)

    # running

    async def arun(
        self,
        agent: Agent[A, R],
        value: A,
        *,
        subject: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> Run[R]:
        """Run an agent and record it.

        Args:
            agent: what to run.
            value: its input.
            subject: whom the trace is about; stored as a keyed hash only.
            attributes: of the trace, for `where`.
            traceparent: the W3C header of the caller's trace.

        Raises:
            Exception: what the agent raised; a note on it names the trace.
        """
        scope = step_scope()
        if scope is not None and scope.frame.oracle.guard is not None:
            raise scope.frame.oracle.guard.refuse(scope.frame.address, f"run the agent {agent.name}")
        log = self.log or await self._founded()
        self._agents[agent.name, agent.fingerprint] = agent
        self._runs += 1
        store = self._store
        assert store is not None
        hashed = None if subject is None else store.mac("subject", subject.encode("utf-8", "surrogatepass"))
        return await run_live(
            agent, value, log, subject=hashed, attributes=attributes, traceparent=traceparent, redact=self._redact,
            check=self._check or self._runs % CHECK_EVERY == 0, durable=self._durable, wait=self._when_full == "wait",
            load=self.load,
            recorder_class=self._recorder,
        )  # fmt: skip

    def run(
        self,
        agent: Agent[A, R],
        value: A,
        *,
        subject: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> Run[R]:
        """As `arun`, in a loop of its own."""
        call = functools.partial(self.arun, agent, value, subject=subject, attributes=attributes, traceparent=traceparent)
        return self._sync(call, "run")

    def _sync(self, call: Callable[[], Awaitable[R]], name: str) -> R:
        return run_until_done(call, name, self._backend)

    # afterwards

    def feedback(self, trace_id: str, /, **scores: Any) -> None:
        """Say how a run came out: `feedback(trace, csat=2)` is `outcome.csat` of the trace from then on.

        Args:
            trace_id: or the start of it.
            scores: numbers, booleans or short texts by name; a name given again replaces what was said before.

        Raises:
            TraceNotFound: the store does not hold the trace.
            RuntimeMisuse: nothing was said.
            StoreError: it could not be written.
        """
        if not scores:
            raise RuntimeMisuse("feedback(trace_id, csat=2): name at least one score")
        trace = self._reading().resolve(trace_id)
        log = self._writing()
        sink = log.begin(trace, late=True)
        told = codec.encode_with_sets(self._redact(scores))
        log.append(sink, int(Kind.ANNOTATION), sink.next_id(), ("feedback", time.time_ns(), told))
        if not log.flush(30.0):
            raise StoreError(f"the feedback on {trace.hex()} could not be written to {self.place}")

    async def afeedback(self, trace_id: str, /, **scores: Any) -> None:
        """As `feedback`, in a worker thread."""
        await anyio.to_thread.run_sync(functools.partial(self.feedback, trace_id, **scores))

    # reading

    def load(self, trace_id: str) -> Recording:
        """As `open`."""
        store = self._reading()
        with store.snapshot():  # to find it and to read it take one listing
            return loader.load(store, store.resolve(trace_id))

    def open(self, trace_id: str) -> Recording:
        """A recorded trace, by its id or the start of it.

        Raises:
            InvalidId: the text is no id.
            TraceNotFound: the store does not hold it.
            AmbiguousTrace: several traces start like that.
            CorruptRecord: what is stored cannot be read.
        """
        return self.load(trace_id)

    async def aopen(self, trace_id: str) -> Recording:
        """As `open`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.load, trace_id)

    def list(self, where: str | None = None, limit: int | None = 50) -> Sequence[Listed]:
        """Recorded traces, newest first.

        Args:
            where: which, for instance `outcome.csat <= 2 and variant = 'B'`; also `agent`, `status`, `kind`, `duration_ms`.
            limit: at most so many.

        Raises:
            BadWhere: `where` is not of the grammar.
        """
        test = None if where is None else parse(where)
        store = self._reading()
        found: list[Listed] = []
        with store.snapshot():
            for trace in store.ids():
                if limit is not None and len(found) >= limit:
                    break
                line = summary(store, trace)
                if test is None or test(facts(line)):
                    found.append(line)
        return found

    async def alist(self, where: str | None = None, limit: int | None = 50) -> Sequence[Listed]:
        """As `list`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.list, where, limit))

    def diff(self, old: str, new: str) -> TraceDiff:
        """What differs between two traces, aligned by address."""
        from replay.alignment import compare_recordings

        return compare_recordings(self.load(old), self.load(new))

    async def adiff(self, old: str, new: str) -> TraceDiff:
        """As `diff`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.diff, old, new)

    def export(self, trace_id: str, path: str | os.PathLike[str]) -> None:
        """Write one trace to a file of its own, NAME.recording: `Runtime("NAME.recording")` opens it, anywhere.

        It is a whole store with a key of its own. Its values are there as they were recorded; of a subject it tells nothing, so
        that `forget` does not reach it.

        Raises:
            TraceNotFound: the store does not hold the trace.
            StoreError: the trace is not whole, or the file cannot be written. What was there before stays.
            RuntimeMisuse: the name does not end in .recording.
        """
        if not portable.is_recording(path):
            raise RuntimeMisuse(f"{os.fspath(path)}: a trace is exported to a file whose name ends in {portable.SUFFIX}")
        portable.write(Path(path), portable.export(self.load(trace_id).stored))

    async def aexport(self, trace_id: str, path: str | os.PathLike[str]) -> None:
        """As `export`, in a worker thread."""
        await anyio.to_thread.run_sync(self.export, trace_id, path)

    def check(
        self, *, full: bool = False, quarantine: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Report:
        """Read every pack and every trace of the store and say what is damaged. Nothing is deleted.

        Args:
            full: also hash every value again.
            quarantine: mark damaged packs, so that no merge takes them. Without it, nothing is changed.
            progress: told how many packs and traces of how many are done.

        Raises:
            StoreError: the store cannot be read at all.
        """
        return check(self._reading(), full=full, quarantine=quarantine, progress=progress)

    async def acheck(
        self, *, full: bool = False, quarantine: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Report:
        """As `check`, in a worker thread."""
        call = functools.partial(self.check, full=full, quarantine=quarantine, progress=progress)
        return await anyio.to_thread.run_sync(call)

    def seal(self) -> tuple[Sequence[Sealed], Sequence[Kept]]:
        """Make packs of the record files of processes that have ended: a fraction of the size, and read alike.

        Returns:
            What became a pack, and what stays with the reason: files that are being written, and damaged ones.

        Raises:
            StoreError: there is no store.
            StoreUnavailable: it gave no answer; every trace is still where it was.
            OSError: the disk refused; as above.
        """
        return seal(self._reading())

    async def aseal(self) -> tuple[Sequence[Sealed], Sequence[Kept]]:
        """As `seal`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.seal)

    def merge(self, *, grace_seconds: float = GRACE_SECONDS, progress: Callable[[int, int], None] | None = None) -> Done:
        """Merge the small packs of every hour that is over; remove those that were replaced long enough ago.

        Any number of processes may do so at once, and end at any moment: nothing is lost, and nothing is seen twice.

        Args:
            grace_seconds: how long replaced packs stay.
            progress: told how many hours of how many are done.

        Raises:
            StoreError: there is no store.
            StoreUnavailable: it gave no answer; every trace is still there.
            ValueError: the grace is shorter than an upload may take.
        """
        return merge(self._reading(), grace_seconds=grace_seconds, progress=progress)

    async def amerge(self, *, grace_seconds: float = GRACE_SECONDS, progress: Callable[[int, int], None] | None = None) -> Done:
        """As `merge`, in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(self.merge, grace_seconds=grace_seconds, progress=progress))

    # replaying

    def _folder(self) -> str:
        if isinstance(self._where, str) and not is_remote(self._where):
            return self._where
        raise RuntimeMisuse(f"a process of its own replays from a store in a folder, and {self.place} is none")

    async def aplan(
        self,
        trace_id: str,
        *,
        agent: Agent[Any, Any] | None = None,
        swap: Mapping[str, Any] | None = None,
        override: Mapping[str, Any] | None = None,
        live: str | Sequence[str] | None = None,
        budget_usd: float | None = None,
        code: str = "current",
        guard: str = "standard",
        control: bool = False,
    ) -> Plan:
        """What `areplay` with the same arguments will do, before it does it."""
        from replay import plan
        from replay.result import request_of

        found = await self.aopen(trace_id)
        chosen = self._agent_of(found, agent)
        request = request_of(
            found, chosen, swap=swap, override=override, live=live, budget_usd=budget_usd, code=code, guard=guard, control=control
        )
        return plan.make(found, chosen, request)

    def plan(self, trace_id: str, /, **options: Any) -> Plan:
        """As `aplan`."""
        return self._sync(functools.partial(self.aplan, trace_id, **options), "plan")

    async def areplay(
        self,
        trace_id: str,
        *,
        agent: Agent[Any, Any] | None = None,
        swap: Mapping[str, Any] | None = None,
        override: Mapping[str, Any] | None = None,
        live: str | Sequence[str] | None = None,
        budget_usd: float | None = None,
        code: str = "current",
        guard: str = "standard",
        control: bool = False,
        isolated: bool = False,
    ) -> Replay:
        """Replay a trace with its providers stubbed.

        Args:
            trace_id: or the start of it.
            agent: the graph to replay with; by default the registered one that recorded it, else the newest of its name.
            swap: steps by address, run instead of the recorded ones.
            override: values by address, taken instead of the recorded ones.
            live: what may call providers for real: "needed" for what the recording cannot answer, or addresses.
            budget_usd: the most that live calls may cost, as they report it.
            code: "recorded" reuses the values of steps whose code has changed since.
            guard: "strict" also refuses that steps write files; else those are named.
            control: first repeat each span that runs again for changed input on its recorded input.
            isolated: replay in a process of its own, whose kernel refuses sockets and processes (Linux). The agent and what
                is swapped in have to be at the top level of a module; without `live` and `override`.

        Raises:
            RuntimeMisuse: it cannot be isolated here.
            UnknownAgent: no agent of the recorded name is known here.
            UnknownAddress: a key of swap, override or live names no span.
        """
        from replay.hint import as_call
        from replay.result import replay, request_of
        from replay.transcript import write

        found = await self.aopen(trace_id)
        chosen = self._agent_of(found, agent)
        request = request_of(
            found, chosen, swap=swap, override=override, live=live, budget_usd=budget_usd, code=code, guard=guard, control=control
        )
        call = as_call(found.trace_id, agent=agent, swap=swap, override=override, code=code, guard=guard, control=control)
        if isolated:
            from replay.isolated import replay_isolated

            return await replay_isolated(
                found, chosen, request, store=self._folder(), backend=self._backend, redact=self._redact, swap=swap, call=call,
                load=self.load,
            )  # fmt: skip
        made = await replay(found, chosen, request, redact=self._redact, call=call)
        made.trace_id = write(made, self.log or await self._founded(), chosen)
        return made

    def replay(self, trace_id: str, /, **options: Any) -> Replay:
        """As `areplay`."""
        return self._sync(functools.partial(self.areplay, trace_id, **options), "replay")

    def verify_certificate(self, data: bytes) -> Verification:
        """Say whether a certificate is what a replay came to: `authentic`, without its store's key `consistent`, or `altered`.

        Args:
            data: the JSON text of `replay.certificate.to_json()`.

        Raises:
            BadCertificate: it is none, or of a newer version.
        """
        from replay import verification

        try:
            mac, missing = self._reading().mac, ""
        except StoreError as error:  # without a store there is no key: what it is worth then, the verdict says
            mac, missing = None, str(error)
        return verification.verify(data, mac, lambda trace: verification.stored_in(self.load, trace), missing=missing)

    async def averify_certificate(self, data: bytes) -> Verification:
        """As `verify_certificate`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.verify_certificate, data)

    async def aaudit(self, trace_id: str, *, agent: Agent[Any, Any] | None = None) -> Purity:
        """Run a trace's steps again, in processes of their own, under another clock, another seed and other hash seeds.

        Args:
            trace_id: or the start of it.
            agent: as for `areplay`, at the top level of a module.

        Raises:
            RuntimeMisuse: it cannot be done in a process of its own.
            UnknownAgent: no agent of the recorded name is known here.
        """
        from replay.audit import audit

        found = await self.aopen(trace_id)
        return await audit(found, self._agent_of(found, agent), store=self._folder(), backend=self._backend, redact=self._redact)

    def audit(self, trace_id: str, /, **options: Any) -> Purity:
        """As `aaudit`."""
        return self._sync(functools.partial(self.aaudit, trace_id, **options), "audit")

    async def averify(
        self,
        where: str | None = None,
        swap: Mapping[str, Any] | None = None,
        live: str | Sequence[str] | None = None,
        budget_usd: float | None = None,
        limit: int | None = None,
        workers: int | None = None,
        agent: Agent[Any, Any] | None = None,
        *,
        traces: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Verified:
        """Replay many recorded runs and say of each what came of it. No new trace is recorded.

        Args:
            where: which, as in `list`; by default all. One that cannot be read is always among them. Replays never are.
            swap: steps by address, run instead of the recorded ones.
            live: what may call providers for real, as in `areplay`.
            budget_usd: the most that live calls may cost over all traces, as they report it.
            limit: at most so many, the newest.
            workers: processes that do it; 0 for this one alone. By default as many as there are cores, where there is enough to
                do, nothing goes live, and another process can import agent and steps.
            agent: the graph to replay with; by default each trace's own, as in `areplay`.
            traces: only these, by their ids or the starts of them.
            progress: told how many traces of how many are done.

        Raises:
            BadWhere: `where` is not of the grammar.
            TraceNotFound: the store does not hold one of `traces`.
            RuntimeMisuse: `swap` or `live` names an address that no trace has, or workers were asked for live calls.
            StoreError: there is no store.
            StoreUnavailable: it gave no answer.
        """
        from replay.many import describe_job, verify_many
        from replay.spelling import spell
        from replay.verifier import Request

        store = await anyio.to_thread.run_sync(self._reading)
        request = Request(
            agents=dict(self._agents), agent=agent, where=where, swap=swap, live=live, budget_usd=budget_usd, redact=self._redact
        )
        job = functools.partial(
            describe_job, request, place=self._where, settings=self._settings, backend=self._backend, path=list(sys.path),
            spell=spell,
        )  # fmt: skip
        return await verify_many(store, request, traces=traces, limit=limit, workers=workers, job=job, progress=progress)

    def verify(
        self,
        where: str | None = None,
        swap: Mapping[str, Any] | None = None,
        live: str | Sequence[str] | None = None,
        budget_usd: float | None = None,
        limit: int | None = None,
        workers: int | None = None,
        agent: Agent[Any, Any] | None = None,
        *,
        traces: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Verified:
        """As `averify`."""
        call = functools.partial(
            self.averify, where, swap, live, budget_usd, limit, workers, agent, traces=traces, progress=progress
        )
        return self._sync(call, "verify")


def _warn(text: str) -> None:
    print(f"kitchenlog: {text}", file=sys.stderr)  # noqa: T201 - the last resort of a recorder that loses records
