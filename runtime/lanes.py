"""Lanes: the spawn path of every task inside a step.

Set where tasks are spawned, never where they first run: the order of first runs is the scheduler's, and trio shuffles it.
The hooks act only inside a step; elsewhere they cost one context variable's lookup.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime.scope import SCOPE, UNKNOWN_LANE, Scope

_installed: set[str] = set()
_lock = threading.Lock()


def install() -> None:
    """Hook the spawning of tasks in the loops that are loaded. Cheap to call again."""
    if len(_installed) == 3:
        return
    with _lock:
        if "threads" not in _installed:
            _hook_threads()
            _installed.add("threads")
        if "asyncio" not in _installed and "asyncio.base_events" in sys.modules:
            _hook_asyncio()
            _installed.add("asyncio")
        if "trio" not in _installed and "trio" in sys.modules:
            _hook_trio()
            _installed.add("trio")


def _hook_asyncio() -> None:
    from asyncio import base_events  # noqa: PLC0415 - loaded already

    raw = base_events.BaseEventLoop.create_task

    @functools.wraps(raw)
    def create_task(self: Any, coro: Any, *args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None:
            return raw(self, coro, *args, **kwargs)
        context = kwargs.get("context")
        if context is not None:
            child = scope.child() if context.get(SCOPE) is scope else Scope(scope.frame, UNKNOWN_LANE)
            kwargs["context"] = context.copy()
            kwargs["context"].run(SCOPE.set, child)
            return raw(self, coro, *args, **kwargs)
        token = SCOPE.set(scope.child())
        try:
            return raw(self, coro, *args, **kwargs)
        finally:
            SCOPE.reset(token)

    base_events.BaseEventLoop.create_task = create_task  # type: ignore[method-assign]


def _hook_trio() -> None:
    import trio

    runner: Any = trio._core._run.Runner  # pyright: ignore[reportPrivateUsage]
    raw = runner.spawn_impl

    @functools.wraps(raw)
    def spawn_impl(self: Any, fn: Any, args: Any, nursery: Any, name: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None or kwargs.get("system_task") or kwargs.get("context") is not None:
            return raw(self, fn, args, nursery, name, **kwargs)
        token = SCOPE.set(scope.child())
        try:
            return raw(self, fn, args, nursery, name, **kwargs)
        finally:
            SCOPE.reset(token)

    runner.spawn_impl = spawn_impl


def _hook_threads() -> None:
    raw_start = threading.Thread.start
    raw_submit: Any = ThreadPoolExecutor.submit

    @functools.wraps(raw_start)
    def start(self: threading.Thread) -> None:
        scope = SCOPE.get()
        # anyio's workers, of a class of their own, outlive the step that starts them and get a context with each call.
        if scope is not None and type(self) is threading.Thread:
            context = contextvars.copy_context()
            context.run(SCOPE.set, Scope(scope.frame, UNKNOWN_LANE))
            self.run = functools.partial(context.run, self.run)  # type: ignore[method-assign]
        raw_start(self)

    @functools.wraps(raw_submit)
    def submit(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None:
            return raw_submit(self, fn, *args, **kwargs)
        context = contextvars.copy_context()
        context.run(SCOPE.set, Scope(scope.frame, UNKNOWN_LANE))
        token = SCOPE.set(None)  # an executor's new thread outlives the step: it must not inherit its scope
        try:
            return raw_submit(self, context.run, functools.partial(fn, *args, **kwargs))
        finally:
            SCOPE.reset(token)

    threading.Thread.start = start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit  # type: ignore[method-assign, assignment]
