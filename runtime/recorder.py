"""The oracle of a live run: everything runs, and everything is recorded."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import anyio
import anyio.lowlevel

from runtime import failure, lanes
from runtime.agent import NodeSpec
from runtime.attributes import clean_attributes, clean_log
from runtime.check_mode import Inputs, is_lossless
from runtime.declaration import Bound, StepInfo
from runtime.effects import ITEM, Effect, EffectCall
from runtime.engine import run_step, run_step_sync
from runtime.oracle import Guard
from runtime.scope import SCOPE, EffectScope, Frame, Scope, call_address
from runtime.streams import Ended, LiveStream, pack, unpack
from runtime.unrecorded import RAW, invoke_sync, read_clock, run_glue
from storage import codec, ids
from storage.log import Log, Sink
from storage.records import Kind

Redact = Callable[[Any], Any]
_INTENT, _OUTCOME, _SPAN = int(Kind.INTENT), int(Kind.OUTCOME), int(Kind.SPAN)
NODE_NESTED, NODE_ROOT = -1, -2
NEVER_BEGAN = "it was cancelled before it began"
"""The finding on the outcome of a side effect that was asked for and never called."""


def root_span(status: int, duration: int, wall: int) -> tuple[Any, ...]:
    """The body of a trace's root span record."""
    nothing = (None,) * 7  # output, error, attempts, attributes, draws, log, findings
    return (NODE_ROOT, 0, ids.new_span_id(), 0, duration, status, *nothing, b"", 0, wall)


class Recorder:
    """Records one run.

    Args:
        log: where records go.
        sink: the trace.
        seed: 32 bytes, from which the run's randomness is derived.
        redact: applied to every value before it is encoded.
        check: verify that no step changes its inputs and that every value decodes to itself.
    """

    ambient = b""
    guard: Guard | None = None

    def __init__(self, log: Log, sink: Sink, *, seed: bytes, redact: Redact, check: bool) -> None:
        self.sink = sink
        self._append = functools.partial(log.append, sink)
        self._log, self._seed, self._redact, self._check = log, seed, redact, check
        self._t0 = time.perf_counter_ns()
        self._next = sink.next_id
        lanes.install()

    def now(self) -> int:
        """Nanoseconds since the run began."""
        return time.perf_counter_ns() - self._t0

    def encode(self, value: Any, encode: codec.Encode) -> bytes:
        """The one way into the recording: redaction, then encoding."""
        return encode(self._redact(value))

    # nodes

    def node(self, spec: NodeSpec, args: tuple[Any, ...]) -> Awaitable[Any]:
        """Run a node of the graph as a span."""
        if spec.kind == "derive":
            return self._derive(spec, args)
        frame = Frame(self, self._next(), spec.name, self._seed, time.time_ns())
        return self._span(frame, spec.step, args, {}, spec.codec.encode, spec.index, 0, None)

    async def _derive(self, spec: NodeSpec, args: tuple[Any, ...]) -> Any:
        frame = Frame(self, self._next(), spec.name, self._seed, time.time_ns())
        start = self.now()
        try:
            value = run_glue(spec.name, Bound(spec.step, args, {}))
        except Exception as error:
            self._write_span(frame, spec.step, spec.index, 0, start, failure.status_of(error), None, error, 0)
            raise
        self._write_span(frame, spec.step, spec.index, 0, start, 0, self.encode(value, spec.codec.encode), None, 0)
        return value

    async def _span(
        self,
        frame: Frame,
        info: StepInfo,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encode: codec.Encode,
        index: int,
        intent: int,
        parent: Frame | None,
    ) -> Any:
        inputs = Inputs(info, args, kwargs) if self._check else None
        start = self.now()
        try:
            value = await run_step(info, args, kwargs, frame, waits=True)
        except BaseException as error:
            completion = parent.complete() if parent is not None else 0
            self._write_span(frame, info, index, intent, start, failure.status_of(error), None, error, completion)
            raise
        data = encode(self._redact(value))
        if inputs is not None:
            _check_span(frame, info, inputs, data)
        completion = parent.complete() if parent is not None else 0
        self._write_span(frame, info, index, intent, start, 0, data, None, completion)
        return value

    def _write_span(
        self,
        frame: Frame,
        info: StepInfo,
        index: int,
        intent: int,
        start: int,
        status: int,
        data: bytes | None,
        error: BaseException | None,
        completion: int,
    ) -> None:
        tries = frame.attempts
        attempts = None
        if tries is not None and len(tries) > 1:
            attempts = [(began - self._t0, took, how, why) for began, took, how, why in tries]
        if data is not None and data[0] >= codec.EXTENSION_HEAD and codec.is_opaque(data):
            frame.find(f"output was stored as a stand-in: {codec.decode_any(data)}")
        self._append(
            _SPAN,
            frame.record,
            (
                index, intent, ids.new_span_id(), start, time.perf_counter_ns() - self._t0 - start, status, data,
                None if error is None else failure.describe(error), attempts,
                None if frame.attributes is None else clean_attributes(frame.attributes), frame.draws,
                None if frame.log is None else clean_log(frame.log), frame.findings, info.fingerprint.digest,
                completion, frame.wall,
            ),
        )  # fmt: skip

    # calls inside a step

    async def step(self, scope: Scope, call: Bound) -> Any:
        frame, info = scope.frame, call.info
        child, intent = self._begin_step(scope, call)
        return await self._span(child, info, call.args, call.kwargs, info.codec.encode, NODE_NESTED, intent, frame)

    def step_sync(self, scope: Scope, call: Bound) -> Any:
        frame, info = scope.frame, call.info
        child, intent = self._begin_step(scope, call)
        inputs = Inputs(info, call.args, call.kwargs) if self._check else None
        start = self.now()
        try:
            value = run_step_sync(info, call.args, call.kwargs, child)
        except BaseException as error:
            self._write_span(child, info, NODE_NESTED, intent, start, failure.status_of(error), None, error, frame.complete())
            raise
        data = self.encode(value, info.codec.encode)
        if inputs is not None:
            _check_span(child, info, inputs, data)
        self._write_span(child, info, NODE_NESTED, intent, start, 0, data, None, frame.complete())
        return value

    def announce(self, scope: Scope, calls: Sequence[Bound]) -> None:
        return

    def glue(self, scope: Scope, call: Bound) -> Any:
        return run_glue(f"{scope.frame.address}/{call.name}", call)

    def _begin_step(self, scope: Scope, call: Bound) -> tuple[Frame, int]:
        frame, info = scope.frame, call.info
        request = info.encode_request(self._redact(call.arguments()))
        name = call.name
        item = call.item is not None
        nth = frame.nth(scope.lane, name) if call.item is None else call.item + 1
        intent = self._next()
        self._append(
            _INTENT,
            intent,
            (
                frame.record, 1, name, frame.attempt, scope.lane, frame.start(), nth,
                time.perf_counter_ns() - self._t0, request, ITEM if item else 0, info.fingerprint.digest,
            ),
        )  # fmt: skip
        address = call_address(frame.address, frame.attempt if frame.attempt > 1 else None, name, scope.lane, nth, item=item)
        return Frame(self, self._next(), address, self._seed, time.time_ns()), intent

    async def effect(self, scope: Scope, call: EffectCall) -> Any:
        intent, inner = self._begin_effect(scope, call)
        effect = call.effect
        if effect.side_effect:
            await self._synced_before(scope, intent)
        token = SCOPE.set(inner)
        try:
            value = await effect.fn(*call.args, **call.kwargs)
        except BaseException as error:
            self._write_outcome(scope, intent, failure.status_of(error), error, inner.attributes)
            raise
        finally:
            SCOPE.reset(token)
        self._end_effect(scope, effect, intent, inner, value)
        return value

    def effect_sync(self, scope: Scope, call: EffectCall) -> Any:
        intent, inner = self._begin_effect(scope, call)
        if call.effect.side_effect:
            # A sync effect cannot await: what waits here is the thread it runs in, the loop's if the step has none of its own.
            self._log.flush(5.0)
        try:
            value = invoke_sync(inner, call)
        except BaseException as error:
            self._write_outcome(scope, intent, failure.status_of(error), error, inner.attributes)
            raise
        self._end_effect(scope, call.effect, intent, inner, value)
        return value

    def _begin_effect(self, scope: Scope, call: EffectCall) -> tuple[int, EffectScope]:
        frame, effect, lane = scope.frame, call.effect, scope.lane
        request = codec.encode_request(self._redact(call.arguments()))
        name = effect.name
        nth = frame.nth(lane, name)
        frame.starts = start = frame.starts + 1
        intent = self._next()
        self._append(
            _INTENT,
            intent,
            (
                frame.record, 0, name, frame.attempt, lane, start, nth, time.perf_counter_ns() - self._t0,
                request, effect.flags, b"",
            ),
        )  # fmt: skip
        return intent, EffectScope(RAW, scope, name, nth)

    def _end_effect(self, scope: Scope, effect: Effect, intent: int, inner: EffectScope, value: Any) -> None:
        data = effect.codec.encode(self._redact(value))
        findings = None
        if data[0] >= codec.EXTENSION_HEAD and codec.is_opaque(data):
            findings = ["the answer was stored as a stand-in: it cannot be replayed"]
        elif self._check and not is_lossless(effect.codec, data):
            findings = ["the answer does not decode to its declared type"]
        frame, made = scope.frame, inner.made
        frame.completions = completion = frame.completions + 1
        said = None if made is None else clean_attributes(made.attributes)
        now = time.perf_counter_ns() - self._t0
        self._append(_OUTCOME, self._next(), (intent, completion, now, 0, data, None, said, findings))

    def _write_outcome(
        self,
        scope: Scope,
        intent: int,
        status: int,
        error: BaseException | None,
        attributes: dict[str, Any] | None,
        data: bytes | None = None,
        findings: list[str] | None = None,
    ) -> None:
        described, said = None if error is None else failure.describe(error), clean_attributes(attributes)
        completion = scope.frame.complete()
        self._append(_OUTCOME, self._next(), (intent, completion, self.now(), status, data, described, said, findings))

    async def _synced_before(self, scope: Scope, intent: int, chunks: bytes | None = None) -> None:
        """Wait until a side effect's intent is on disk."""
        try:
            await self.synced()
        except BaseException as error:  # without an outcome it would look as if the process had ended inside the call
            self._write_outcome(scope, intent, failure.status_of(error), error, None, chunks, [NEVER_BEGAN])
            raise

    def stream(self, scope: Scope, call: EffectCall) -> AsyncIterator[Any]:
        effect = call.effect

        async def begin() -> tuple[EffectScope, Ended]:
            intent, inner = self._begin_effect(scope, call)
            if effect.side_effect:
                await self._synced_before(scope, intent, pack([], []))

            def ended(status: int, data: bytes, error: BaseException | None) -> None:
                lossy = self._check and not all(is_lossless(effect.codec, chunk) for chunk in unpack(data)[0])
                findings = ["a chunk does not decode to its declared type"] if lossy else None
                self._write_outcome(scope, intent, status, error, inner.attributes, data, findings)

            return inner, ended

        made = LiveStream(call, begin, lambda chunk: effect.codec.encode(self._redact(chunk)))
        scope.frame.reads(made)
        return made

    def draw(self, scope: Scope, kind: str) -> Any:
        return self.keep(scope, kind, read_clock(kind))

    def keep(self, scope: Scope, kind: str, value: Any) -> Any:
        """Record a reading of the clock."""
        frame = scope.frame
        if frame.draws is None:
            frame.draws = {}
        frame.draws.setdefault(scope.lane, []).append((kind, value))
        return value

    async def synced(self) -> None:
        """Wait until everything recorded so far is on disk. A failure is counted by the log; it changes no step."""
        await wait_for(self._log.barrier)


async def wait_for(barrier: Callable[[], Future[None]]) -> bool:
    """Wait for a barrier of the log without blocking the loop: whether it held."""
    done = anyio.Event()
    loop: Any = anyio.lowlevel.current_token().native_token
    soon = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon

    def tell(_: object) -> None:
        try:
            soon(done.set)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return

    future = barrier()
    future.add_done_callback(tell)
    await done.wait()
    return future.exception() is None


def _check_span(frame: Frame, info: StepInfo, inputs: Inputs, data: bytes) -> None:
    for name in inputs.changed():
        frame.find(f"changed its input {name}")
    if codec.holds_opaque(data) is None and not is_lossless(info.codec, data):
        frame.find("its output does not decode to itself")
