"""One live run: an agent walked node by node, and its trace from header to end."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

import anyio
import attrs

from runtime import environment, failure
from runtime.agent import Agent
from runtime.attributes import clean_attributes
from runtime.engine import walk
from runtime.manifest import describe_agent
from runtime.recorder import Recorder, Redact, root_span, wait_for
from runtime.recording import DIRECT_ENTROPY, Recording
from storage import ids
from storage.log import Log, Sink
from storage.records import Kind

Durable = Literal["batched", "committed", "stored"]
DURABLE: Final[tuple[Durable, ...]] = ("batched", "committed", "stored")
_STORED_SECONDS: Final = 30.0
"""How long a run waits for the store: it is on disk by then, and the store is asked on."""

A = TypeVar("A")
R = TypeVar("R")


@attrs.define(eq=False)
class Run(Generic[R]):
    """A finished live run."""

    output: R
    trace_id: str
    """32 hexadecimal digits."""
    _load: Callable[[str], Recording]
    _sink: Sink
    _log: Log
    _committed: bool

    @property
    def recording(self) -> Recording:
        """The trace, read back from the store."""
        return self._load(self.trace_id)

    @property
    def durable(self) -> str:
        """What was reached by now.

        `batched`: on disk within 50 ms. `committed`: on disk. `stored`: its pack is in the store. `lost`: how many records could
        not be kept, and why.
        """
        if self._sink.lost:
            return f"lost: {self._sink.lost} records: {self._sink.why}"
        if self._log.is_stored(self._sink):
            return "stored"
        return "committed" if self._committed else "batched"


async def run_live(
    agent: Agent[A, R],
    value: A,
    log: Log,
    *,
    subject: bytes | None,
    attributes: Mapping[str, Any] | None,
    traceparent: str | None,
    redact: Redact,
    check: bool,
    durable: Durable,
    wait: bool,
    load: Callable[[str], Recording],
    recorder_class: type[Recorder] = Recorder,
) -> Run[R]:
    """Run an agent and record it.

    Args:
        agent: what to run.
        value: its input.
        log: where it is recorded.
        subject: keyed, whom the trace is about.
        attributes: of the trace.
        traceparent: the W3C header of the caller's trace.
        redact: applied to every value before it is encoded.
        check: run it in check mode.
        durable: what to wait for at its end.
        wait: hold it back while the disk is behind.
        load: reads a trace back.
        recorder_class: what records it.

    Raises:
        Exception: what the agent raised; a note on it names the trace.
    """
    if wait and log.crowded:
        await _wait_for_room(log)
    trace = ids.new_trace_id()
    sink = log.begin(trace)
    sink.personal = subject is not None
    seed = ids.random_bytes(32)
    recorder = recorder_class(log, sink, seed=seed, redact=redact, check=check)
    manifest = log.shared((agent.name, agent.fingerprint), functools.partial(describe_agent, agent))
    surroundings = log.shared("environment", environment.encoded)
    otel = None if traceparent is None else ids.parse_traceparent(traceparent)
    features = DIRECT_ENTROPY if recorder.ambient else 0
    wall = time.time_ns()
    log.append(
        sink,
        int(Kind.HEADER),
        sink.next_id(),
        (
            0, features, agent.name, agent.fingerprint, manifest, surroundings, wall, seed, subject,
            clean_attributes(attributes) or {}, otel, recorder.encode(value, agent.input_codec.encode), "run",
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
        log.append(sink, int(Kind.SPAN), sink.next_id(), root_span(status, took, wall))
        log.append(sink, int(Kind.END), sink.next_id(), (status, wall + took, took, 0, data, error, 0))
    committed = durable != "batched" and await wait_for(log.barrier)
    if durable == "stored" and committed:
        with anyio.move_on_after(_STORED_SECONDS):
            await wait_for(log.stored_barrier)
    return Run(output, trace.hex(), load, sink, log, committed)


async def _wait_for_room(log: Log) -> None:
    """Hold a new run back while the disk is behind, for a second at most: then it runs, and what cannot be kept is counted."""
    with anyio.move_on_after(1.0):
        while log.crowded:  # noqa: ASYNC110 - the writer is a thread and tells no loop
            await anyio.sleep(0.002)
