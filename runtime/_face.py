"""The public face: `Runtime`, and the same names as functions of a default one.

Every name has an awaitable twin with an `a` before it. This is the one module of `runtime` that imports `replay`, inside
the methods that need it.
"""

from __future__ import annotations

import contextvars
import functools
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio
import anyio.to_thread
import attrs

from runtime import environment, failure, place, recording
from runtime.agent import Agent
from runtime.engine import walk
from runtime.errors import RuntimeMisuse, UnknownAgent
from runtime.listing import Listed, facts, summary
from runtime.manifest import describe_agent
from runtime.recorder import Recorder, clean, root_span, wait_for
from runtime.recording import Recording
from runtime.where import parse
from storage import codec, ids
from storage.errors import StoreError
from storage.log import Log, Sink
from storage.records import Kind
from storage.store import LocalStore

if TYPE_CHECKING:
    from replay.difference import TraceDiff
    from replay.plan import Plan
    from replay.result import Replay

A = TypeVar("A")
R = TypeVar("R")

CHECK_EVERY = 64
"""One run in so many is run in check mode (DESIGN 3)."""


def _same(value: Any) -> Any:
    return value


@attrs.define(eq=False)
class Run(Generic[R]):
    """A finished live run."""

    output: R
    trace_id: str
    """32 hexadecimal digits."""
    _runtime: Runtime
    _sink: Sink
    _committed: bool

    @property
    def recording(self) -> Recording:
        """The trace, read back from the store."""
        return self._runtime.load(self.trace_id)

    @property
    def durable(self) -> str:
        """Committed (on disk), batched (on disk within 50 ms), or lost: with how many records could not be kept."""
        if self._sink.lost:
            return f"lost: {self._sink.lost} records"
        return "committed" if self._committed else "batched"


class Runtime:
    """Runs agents, records them, and replays what was recorded.

    Args:
        store: a folder. By default the project's: the nearest `kitchenlog.toml` or `[tool.kitchenlog]`, else `./.kitchenlog`.
        commit: wait after each run until it is on disk.
        redact: applied to every value before it is recorded.
        check: run every run in check mode (mutated inputs, values that do not decode to themselves); by default 1 in 64.
        backend: the loop that the plain names start, `asyncio` or `trio`.

    Raises:
        StoreError: the store cannot be used.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        commit: bool = False,
        redact: Callable[[Any], Any] = _same,
        check: bool = False,
        backend: str = "asyncio",
    ) -> None:
        self._place = place.find()
        given = os.fspath(store) if store is not None else None
        if given is not None and "://" in given:
            raise RuntimeMisuse(f"{given}: this version keeps recordings in a folder")
        self.path = Path(given).resolve() if given is not None else self._place.store
        self._commit, self._redact, self._check, self._backend = commit, redact, check, backend
        self._store: LocalStore | None = None
        self.log: Log | None = None
        """The log that runs are recorded to, once there was one."""
        self._agents: dict[tuple[str, bytes], Agent[Any, Any]] = {}
        self._lock = threading.RLock()
        self._runs = random.Random().randrange(CHECK_EVERY)

    # the store

    def _reading(self) -> LocalStore:
        with self._lock:
            if self.log is not None:
                self.log.flush(30.0)
            if self._store is None:
                self._store = LocalStore.open(self.path, create=False)
            self._store.refresh()
            return self._store

    def _writing(self) -> Log:
        log = self.log
        if log is None:
            with self._lock:
                if self.log is None:
                    if self._store is None:
                        self._store = LocalStore.open(self.path, create=True)
                    self.log = Log(self._store, on_loss=_warn)
                log = self.log
        return log

    def close(self) -> None:
        """Write everything that was recorded, and stop."""
        with self._lock:
            if self.log is not None:
                self.log.close(30.0)
                self.log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # agents

    def register(self, agent: Agent[Any, Any]) -> None:
        """Make an agent known, so that its traces can be replayed. Running it does so too."""
        self._agents[agent.name, agent.fingerprint] = agent

    def _agent_of(self, found: Recording, agent: Agent[Any, Any] | None) -> Agent[Any, Any]:
        if agent is not None:
            return agent
        same = [one for (name, _), one in self._agents.items() if name == found.agent]
        for one in same:
            if one.fingerprint == found.fingerprint:
                return one
        if same:
            return same[-1]
        known = ", ".join(sorted({name for name, _ in self._agents})) or "none"
        raise UnknownAgent(
            f"trace {found.trace_id} was recorded by agent {found.agent!r}; known here: {known}. Register it with "
            f"runtime.register(agent), pass agent=..., or write in kitchenlog.toml: "
            f'agents = ["your_module:{found.agent.rpartition(".")[2]}"]'
        )

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
        log = self._writing()
        store = self._store
        assert store is not None
        self._agents[agent.name, agent.fingerprint] = agent
        if log.crowded:
            await _wait_for_room(log)
        trace = ids.new_trace_id()
        sink = log.begin(trace)
        sink.personal = subject is not None
        seed = ids.random_bytes(32)
        self._runs += 1
        recorder = Recorder(log, sink, seed=seed, redact=self._redact, check=self._check or self._runs % CHECK_EVERY == 0)
        manifest = log.shared((agent.name, agent.fingerprint), functools.partial(describe_agent, agent))
        surroundings = log.shared("environment", environment.encoded)
        hashed = None if subject is None else store.mac("subject", subject.encode("utf-8", "surrogatepass"))
        otel = None if traceparent is None else ids.parse_traceparent(traceparent)
        wall = time.time_ns()
        log.append(
            sink,
            int(Kind.HEADER),
            sink.next_id(),
            (
                0, 0, agent.name, agent.fingerprint, manifest, surroundings, wall, seed, hashed,
                clean(dict(attributes or {})) or {}, otel, recorder.encode(value, agent.input_codec.encode), "run",
            ),
        )  # fmt: skip
        status, data, error = 0, None, None
        try:
            values = await walk(agent, value, recorder.node)
            output: Any = value if agent.output < 0 else values[agent.output]
            wanted = agent.input_codec if agent.output < 0 else agent.nodes[agent.output].codec
            data = recorder.encode(output, wanted.encode)
        except BaseException as raised:
            status, error = failure.status_of(raised), failure.describe(raised)
            raised.add_note(f"kitchenlog: recorded as trace {trace.hex()}")
            raise
        finally:
            took = recorder.now()
            log.append(
                sink,
                int(Kind.SPAN),
                sink.next_id(),
                root_span(status, took, wall),
            )
            log.append(sink, int(Kind.END), sink.next_id(), (status, wall + took, took, 0, data, error, 0))
        committed = await wait_for(log.barrier) if self._commit else False
        return Run(output, trace.hex(), self, sink, committed)

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
        if not _loop_runs():
            return anyio.run(_awaited, call, backend=self._backend)
        if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
            return _in_thread(lambda: anyio.run(_awaited, call, backend=self._backend))
        raise RuntimeMisuse(f"an event loop runs here: await runtime.a{name}(...) instead of runtime.{name}(...)")

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
            raise StoreError(f"the feedback on {trace.hex()} could not be written to {self.path}")

    async def afeedback(self, trace_id: str, /, **scores: Any) -> None:
        """As `feedback`, in a worker thread."""
        await anyio.to_thread.run_sync(functools.partial(self.feedback, trace_id, **scores))

    # reading

    def load(self, trace_id: str) -> Recording:
        """As `open`."""
        store = self._reading()
        return recording.load(store, store.resolve(trace_id))

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

    # replaying

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
    ) -> Plan:
        """What `areplay` with the same arguments will do, before it does it."""
        from replay import plan
        from replay.result import request_of

        found = await self.aopen(trace_id)
        chosen = self._agent_of(found, agent)
        request = request_of(found, chosen, swap=swap, override=override, live=live, budget_usd=budget_usd, code=code)
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

        Raises:
            UnknownAgent: no agent of the recorded name is known here.
            UnknownAddress: a key of swap, override or live names no span.
        """
        from replay.hint import as_call
        from replay.result import replay, request_of
        from replay.transcript import write

        found = await self.aopen(trace_id)
        chosen = self._agent_of(found, agent)
        request = request_of(found, chosen, swap=swap, override=override, live=live, budget_usd=budget_usd, code=code)
        call = as_call(found.trace_id, agent=agent, swap=swap, override=override, code=code)
        made = await replay(found, chosen, request, redact=self._redact, call=call)
        made.trace_id = write(made, self._writing(), chosen)
        return made

    def replay(self, trace_id: str, /, **options: Any) -> Replay:
        """As `areplay`."""
        return self._sync(functools.partial(self.areplay, trace_id, **options), "replay")


async def _wait_for_room(log: Log) -> None:
    """Hold a new run back while the disk is behind, for a second at most: then it runs, and what cannot be kept is counted."""
    with anyio.move_on_after(1.0):
        while log.crowded:  # noqa: ASYNC110 - the writer is a thread and tells no loop
            await anyio.sleep(0.002)


def _warn(text: str) -> None:
    print(f"kitchenlog: {text}", file=sys.stderr)  # noqa: T201 - the last resort of a recorder that loses records


def _loop_runs() -> bool:
    try:
        anyio.get_current_task()
    except RuntimeError:
        return False
    return True


async def _awaited(call: Callable[[], Awaitable[R]]) -> R:
    return await call()


def _in_thread(call: Callable[[], R]) -> R:
    made: list[R] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            made.append(call())
        except BaseException as error:  # raised again in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return made[0]
