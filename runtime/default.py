"""The names of `Runtime` as functions of a default one."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import anyio.to_thread

from runtime._face import Runtime
from runtime.agent import Agent
from runtime.live_run import Run

A = TypeVar("A")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
P = ParamSpec("P")

_default: Runtime | None = None
_default_lock = threading.Lock()


def configure(store: str | os.PathLike[str] | None = None, **settings: Any) -> Runtime:
    """Make a runtime the default one; the former default is flushed and closed."""
    global _default
    made = Runtime(store, **settings)
    with _default_lock:
        former, _default = _default, made
    if former is not None:
        former.close()
    return made


def default() -> Runtime:
    """The default runtime, made on first use."""
    global _default  # noqa: PLW0603 - as above
    with _default_lock:
        if _default is None:
            _default = Runtime()
        return _default


async def _found_default() -> Runtime:
    """As `default`, in a worker thread where it has to be made: the project's settings are looked for on disk."""
    known = _default
    return known if known is not None else await anyio.to_thread.run_sync(default)


class _Delegate(Generic[P, R_co]):
    """A method of the default runtime, looked up at each call."""

    def __init__(self, method: Callable[Concatenate[Runtime, P], R_co]) -> None:
        self._method = method
        functools.update_wrapper(self, method)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self._method(default(), *args, **kwargs)


class _AsyncDelegate(Generic[P, R_co]):
    """As `_Delegate`, for a method that is awaited."""

    def __init__(self, method: Callable[Concatenate[Runtime, P], Awaitable[R_co]]) -> None:
        self._method = method
        functools.update_wrapper(self, method)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return await self._method(await _found_default(), *args, **kwargs)


def register(agent: Agent[Any, Any]) -> None:
    """Make an agent known to the default runtime."""
    default().register(agent)


async def arun(
    agent: Agent[A, R],
    value: A,
    *,
    subject: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    traceparent: str | None = None,
) -> Run[R]:
    """`Runtime.arun` of the default runtime."""
    return await (await _found_default()).arun(agent, value, subject=subject, attributes=attributes, traceparent=traceparent)


def run(
    agent: Agent[A, R],
    value: A,
    *,
    subject: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    traceparent: str | None = None,
) -> Run[R]:
    """`Runtime.run` of the default runtime."""
    return default().run(agent, value, subject=subject, attributes=attributes, traceparent=traceparent)


seal = _Delegate(Runtime.seal)
aseal = _Delegate(Runtime.aseal)
merge = _Delegate(Runtime.merge)
amerge = _Delegate(Runtime.amerge)
export = _Delegate(Runtime.export)
aexport = _AsyncDelegate(Runtime.aexport)
check = _Delegate(Runtime.check)
acheck = _Delegate(Runtime.acheck)
feedback = _Delegate(Runtime.feedback)
afeedback = _AsyncDelegate(Runtime.afeedback)
open = _Delegate(Runtime.open)
aopen = _AsyncDelegate(Runtime.aopen)
list = _Delegate(Runtime.list)
alist = _AsyncDelegate(Runtime.alist)
query = _Delegate(Runtime.query)
aquery = _AsyncDelegate(Runtime.aquery)
reindex = _Delegate(Runtime.reindex)
areindex = _AsyncDelegate(Runtime.areindex)
diff = _Delegate(Runtime.diff)
adiff = _AsyncDelegate(Runtime.adiff)
plan = _Delegate(Runtime.plan)
aplan = _AsyncDelegate(Runtime.aplan)
replay = _Delegate(Runtime.replay)
areplay = _AsyncDelegate(Runtime.areplay)
verify_certificate = _Delegate(Runtime.verify_certificate)
averify_certificate = _AsyncDelegate(Runtime.averify_certificate)
audit = _Delegate(Runtime.audit)
aaudit = _AsyncDelegate(Runtime.aaudit)
verify = _Delegate(Runtime.verify)
averify = _AsyncDelegate(Runtime.averify)
