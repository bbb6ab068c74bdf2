"""A process of its own for one replay: `python -m replay.worker`, a job on standard input, what came of it on standard output.

The job comes from the process that started it and names that one's own objects; a trace names nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
import attrs
import msgspec

from replay import spelling
from replay.blocked import Blocked
from replay.certificate import Entry
from replay.difference import ABSENT, Change
from replay.result import Replay, replay, request_of
from replay.seccomp import refuse_network_and_processes
from runtime import Runtime
from runtime.errors import KitchenlogError, RuntimeMisuse
from runtime.recording import Result
from storage import codec
from storage.records import Error


class Job(msgspec.Struct, kw_only=True):
    """What to replay. Objects are given as `module:name`."""

    path: list[str]
    """Where modules are found."""
    store: str
    backend: str
    redact: str
    trace: str
    agent: str
    swap: dict[str, str] = {}
    code: str = "current"
    strict: bool = False
    control: bool = False
    filtered: bool = True
    """Whether the kernel refuses sockets and processes."""
    audit: bool = False
    """Tell what every step came to, and record nothing."""
    shift_ns: int = 0
    seed: bytes = b""


class Outcome(msgspec.Struct):
    """What a span or a replay came to."""

    status: str
    data: bytes | None
    digest: bytes
    error: Error | None

    def result(self) -> Result:
        """As the recording knows it."""
        return Result(self.status, self.data, self.digest, self.error)


class Report(msgspec.Struct, kw_only=True):
    """What came of a job."""

    failed: str = ""
    """Why nothing did."""
    trace_id: str = ""
    entries: list[tuple[str, str, str, str]] = []
    blocked: list[dict[str, Any]] = []
    ran: list[str] = []
    controlled: list[str] = []
    notes: list[str] = []
    result: Outcome | None = None
    outcomes: dict[str, Outcome] = {}
    """By address, of every step that ran; in an audit."""
    asked: dict[str, list[tuple[str, bytes]]] = {}
    """By address of the step, the address and request of each call that it made; in an audit."""

    def certified(self) -> tuple[Entry, ...]:
        """The entries of the certificate."""
        return tuple(Entry(*one) for one in self.entries)


def told(result: Result) -> Outcome:
    """An outcome, to be sent."""
    return Outcome(result.status, result.data, result.digest, result.error)


async def ask(job: Job, environment: dict[str, str]) -> Report:
    """Do a job in a process of its own.

    Args:
        job: what.
        environment: variables to set there.

    Raises:
        RuntimeMisuse: it could not be done.
    """
    done = await anyio.run_process(
        [sys.executable, "-m", "replay.worker"], input=msgspec.msgpack.encode(job),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(job.path), **environment},
        stderr=None, check=False,
    )  # fmt: skip
    if not done.stdout:
        raise RuntimeMisuse(f"the process of the replay ended with code {done.returncode} and said nothing; see standard error")
    report = msgspec.msgpack.decode(done.stdout, type=Report)
    if report.failed:
        raise RuntimeMisuse(f"in a process of its own: {report.failed}")
    return report


async def _do(kitchen: Runtime, job: Job, agent: Any, swap: dict[str, Any]) -> Report:
    guard = "strict" if job.strict else "standard"
    if job.audit:
        recording = await kitchen.aopen(job.trace)
        request = request_of(recording, agent, swap=None, override=None, live=None, budget_usd=None, code="current", guard=guard)
        request = attrs.evolve(request, shift_ns=job.shift_ns, seed=job.seed)
        done = await replay(recording, agent, request, redact=spelling.find(job.redact), call="")
    else:
        done = await kitchen.areplay(job.trace, agent=agent, swap=swap or None, code=job.code, guard=guard, control=job.control)
    return _report(done, audit=job.audit)


def _report(done: Replay, *, audit: bool) -> Report:
    executed = done.replayer.executed if audit else {}
    return Report(
        trace_id=done.trace_id,
        entries=[attrs.astuple(one) for one in done.certificate],
        blocked=[_sent(one) for one in done.blocked],
        ran=list(done.ran),
        controlled=list(done.controlled),
        notes=list(done.notes),
        result=None if done.result is None else told(done.result),
        outcomes={address: told(run.result) for address, run in executed.items() if run.result is not None},
        asked={address: [(one.address, one.request) for one in run.asked] for address, run in executed.items()},
    )


def _sent(one: Blocked) -> dict[str, Any]:
    fields = [
        [field.path, *([] if value is ABSENT else [codec.encode(value)] for value in (field.old, field.new))]
        for field in one.fields
    ]
    return {**attrs.asdict(one, recurse=False), "request": codec.encode(one.request), "fields": fields}


def blocked(sent: dict[str, Any]) -> Blocked:
    """A call without an answer, as it was sent."""
    fields = tuple(
        Change(path, *(codec.decode_any(value[0]) if value else ABSENT for value in pair)) for path, *pair in sent["fields"]
    )
    given: dict[str, Any] = {**sent, "request": codec.decode_any(sent["request"]), "fields": fields}
    return Blocked(**given)


def main() -> None:
    """Read a job, do it, and tell what came of it."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    # What steps print goes to standard error: standard output is the report's.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = job.path
    try:
        agent, swap = spelling.find(job.agent), {address: spelling.find(name) for address, name in job.swap.items()}
        redact = spelling.find(job.redact)
        if job.filtered:
            refuse_network_and_processes()
        with Runtime(job.store, redact=redact, backend=job.backend) as kitchen:
            report = anyio.run(_do, kitchen, job, agent, swap, backend=job.backend)
    except KitchenlogError as error:
        report = Report(failed=str(error))
    with out:
        out.write(msgspec.msgpack.encode(report))


if __name__ == "__main__":
    main()
