"""Running graphs and steps. What a call inside a step comes to is the oracle's affair."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import tenacity

from runtime import failure
from runtime.declaration import Bound, StepInfo
from runtime.errors import Refused, RuntimeMisuse
from runtime.scope import SCOPE, Frame, Scope
from runtime.streams import close_all
from storage.records import Error

if TYPE_CHECKING:
    from runtime.agent import Agent, NodeSpec

RunNode = Callable[["NodeSpec", tuple[Any, ...]], Awaitable[Any]]
Attempt = tuple[int, int, int, Error | None]
"""Start and duration in nanoseconds of the monotonic clock, status, error."""

_limits: anyio.lowlevel.RunVar[dict[int, anyio.CapacityLimiter]] = anyio.lowlevel.RunVar("kitchenlog_limits")


async def walk(agent: Agent[Any, Any], value: Any, run_node: RunNode) -> list[Any]:  # noqa: C901 - one loop in two shapes
    """Every node's value. Nodes that do not depend on each other run at once; the first failure cancels the others."""
    values: list[Any] = [None] * len(agent.nodes)

    if agent.sequential:
        for spec in agent.nodes:
            given = tuple([value if place < 0 else values[place] for place in spec.inputs])
            values[spec.index] = await run_node(spec, given)
        return values

    def inputs(spec: NodeSpec) -> tuple[Any, ...]:
        return tuple([value if place < 0 else values[place] for place in spec.inputs])

    waits = [len({place for place in spec.inputs if place >= 0}) for spec in agent.nodes]
    users: list[list[int]] = [[] for _ in agent.nodes]
    for spec in agent.nodes:
        for place in {place for place in spec.inputs if place >= 0}:
            users[place].append(spec.index)
    failures: list[BaseException] = []

    async def run_from(spec: NodeSpec) -> None:
        try:
            values[spec.index] = await run_node(spec, inputs(spec))
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            failures.append(error)
            if not isinstance(error, Refused):  # what a replay cannot answer stops only what needs it
                group.cancel_scope.cancel()
            return
        for user in users[spec.index]:
            waits[user] -= 1
            if waits[user] == 0:
                group.start_soon(run_from, agent.nodes[user])

    async with anyio.create_task_group() as group:
        for spec in agent.nodes:
            if waits[spec.index] == 0:
                group.start_soon(run_from, spec)
    if failures:
        raise next((error for error in failures if isinstance(error, Refused)), failures[0])
    return values


async def run_inline(agent: Agent[Any, Any], value: Any) -> Any:
    """A finished agent as a step: its nodes are nested steps of the span that called it.

    Raises:
        RuntimeMisuse: it was called outside every run.
    """
    scope = SCOPE.get()
    if scope is None:
        raise RuntimeMisuse(f"agent {agent.name} is run by runtime.run(agent, value) or runtime.arun(agent, value)")

    async def run_node(spec: NodeSpec, args: tuple[Any, ...]) -> Any:
        call = Bound(spec.step, args, {}, alias=spec.name)
        oracle = scope.frame.oracle
        # Asked for by the caller's own task, whichever task runs it: which one that is depends on what was ready first.
        return oracle.glue(scope, call) if spec.kind == "derive" else await oracle.step(scope, call)

    values = await walk(agent, value, run_node)
    return value if agent.output < 0 else values[agent.output]


async def run_step(info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame, *, waits: bool) -> Any:
    """Run a step's code in its frame under its policy: its value. Its attempts are left in the frame, its streams closed.

    Where `waits` is false, the pauses between attempts are not waited for: a replay's.
    """
    policy = info.policy
    try:
        if policy.plain:
            token = SCOPE.set(Scope(frame))
            try:
                made = info.run(*args, **kwargs)
                return await made if info.is_async else made
            finally:
                SCOPE.reset(token)
        if policy.concurrency is not None and waits:
            async with _limiter(info):
                return await _run_attempts(info, args, kwargs, frame, waits=waits)
        return await _run_attempts(info, args, kwargs, frame, waits=waits)
    finally:
        if frame.streams is not None:
            await close_all(frame.streams)


def run_step_sync(info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame) -> Any:
    """As `run_step`, for a sync step called by a step. Its policy is the graph's affair, so it is called as it is."""
    token = SCOPE.set(Scope(frame))
    try:
        return info.run(*args, **kwargs)
    finally:
        SCOPE.reset(token)


def _limiter(info: StepInfo) -> anyio.CapacityLimiter:
    try:
        held = _limits.get()
    except LookupError:
        held = {}
        _limits.set(held)
    key = id(info)
    if key not in held:
        held[key] = anyio.CapacityLimiter(info.policy.concurrency or 1)
    return held[key]


async def _run_attempts(info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame, *, waits: bool) -> Any:
    retry = info.policy.retry
    attempts: list[Attempt] = []
    frame.attempts = attempts
    if retry is None:
        return await _attempt(info, args, kwargs, frame, attempts)

    async def pause(seconds: float) -> None:
        await (anyio.sleep(seconds) if waits else anyio.lowlevel.checkpoint())

    retrying = tenacity.AsyncRetrying(
        sleep=pause,
        stop=tenacity.stop_after_attempt(retry.attempts),
        wait=tenacity.wait_exponential(multiplier=retry.wait, max=retry.max_wait, exp_base=2),
        retry=tenacity.retry_if_exception_type(retry.on),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            if attempt.retry_state.attempt_number > 1:
                frame.next_attempt()
            return await _attempt(info, args, kwargs, frame, attempts)
    raise AssertionError("tenacity ends by returning or by raising")


async def _attempt(info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame, attempts: list[Attempt]) -> Any:
    began = time.perf_counter_ns()
    token = SCOPE.set(Scope(frame))
    try:
        if info.policy.timeout is None:
            value = await _call(info, args, kwargs)
        else:
            value = None
            with anyio.move_on_after(info.policy.timeout) as limit:
                frame.timeout = limit
                value = await _call(info, args, kwargs)
            frame.timeout = None
            if limit.cancelled_caught:
                raise failure.StepTimeout(f"{frame.address} took longer than {info.policy.timeout:g} s")
    except BaseException as error:
        attempts.append((began, time.perf_counter_ns() - began, failure.status_of(error), failure.describe(error)))
        raise
    finally:
        SCOPE.reset(token)
    attempts.append((began, time.perf_counter_ns() - began, failure.OK, None))
    return value


async def _call(info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if info.is_async:
        return await info.run(*args, **kwargs)
    if info.policy.thread:
        call = functools.partial(info.run, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=info.policy.timeout is not None)
    return info.run(*args, **kwargs)
