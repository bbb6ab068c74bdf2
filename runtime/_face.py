"""The public face: `Runtime`.

Every name has an awaitable twin with an `a` before it. This is the one module of `runtime` that imports `replay`, inside
the methods that need it.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread

from runtime.agent import Agent
from runtime.errors import RuntimeMisuse
from runtime.event_loop import run_until_done
from runtime.live_run import Run, run_live
from runtime.opened import CHECK_EVERY, Opened
from runtime.recording import Recording
from runtime.registry import choose
from runtime.scope import step_scope
from storage import codec
from storage.errors import StoreError
from storage.objects.locate import is_remote
from storage.records import Kind

if TYPE_CHECKING:
    from replay.audit import Purity
    from replay.plan import Plan
    from replay.result import Replay
    from replay.trace_diff import TraceDiff
    from replay.verification import Verification
    from replay.verified import Verified

A = TypeVar("A")
R = TypeVar("R")


class Runtime(Opened):
    __doc__ = Opened.__doc__  # the settings, which `help(Runtime)` is asked for

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

    def diff(self, old: str, new: str) -> TraceDiff:
        """What differs between two traces, aligned by address."""
        from replay.alignment import compare_recordings

        return compare_recordings(self.load(old), self.load(new))

    async def adiff(self, old: str, new: str) -> TraceDiff:
        """As `diff`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.diff, old, new)

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
        pace: str = "fast",
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
            pace: "recorded" delivers the chunks of recorded streams at the times at which they came; by default at once.
            isolated: replay in a process of its own, whose kernel refuses sockets and processes (Linux). The agent and what
                is swapped in have to be at the top level of a module; without `live`, `override` and `pace`.

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
            found, chosen, swap=swap, override=override, live=live, budget_usd=budget_usd, code=code, guard=guard,
            control=control, pace=pace,
        )  # fmt: skip
        call = as_call(
            found.trace_id, agent=agent, swap=swap, override=override, code=code, guard=guard, control=control, pace=pace
        )
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
