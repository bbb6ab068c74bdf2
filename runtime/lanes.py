"""Lanes: the spawn path of every task inside a step.

Set where tasks are spawned, never where they first run: the order of first runs is the scheduler's, and trio shuffles it.
The hooks act only inside a step; elsewhere they cost one context variable's lookup.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from collections.abc import Callable
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
            return _guarded_to_its_end(scope, raw(self, coro, *args, **kwargs))
        token = SCOPE.set(scope.child())
        try:
            return _guarded_to_its_end(scope, raw(self, coro, *args, **kwargs))
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
        if scope is None or _is_worker(self):
            raw_start(self)
            return
        guard = scope.frame.oracle.guard
        release = None if guard is None else guard.hold()
        context = contextvars.copy_context()
        context.run(SCOPE.set, Scope(scope.frame, UNKNOWN_LANE))
        self.run = functools.partial(_run_in, context, self.run, release)  # type: ignore[method-assign]
        try:
            raw_start(self)
        except BaseException:
            if release is not None:
                release()
            raise

    @functools.wraps(raw_submit)
    def submit(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None:
            return raw_submit(self, fn, *args, **kwargs)
        context = contextvars.copy_context()
        context.run(SCOPE.set, Scope(scope.frame, UNKNOWN_LANE))
        token = SCOPE.set(None)  # an executor's new thread outlives the step: it must not inherit its scope
        try:
            return _guarded_to_its_end(scope, raw_submit(self, context.run, functools.partial(fn, *args, **kwargs)))
        finally:
            SCOPE.reset(token)

    threading.Thread.start = start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit  # type: ignore[method-assign, assignment]


def _is_worker(thread: threading.Thread) -> bool:
    """Whether it is no step's own: anyio and trio keep theirs and hand a context over with each call; the store has some too."""
    made_by: Any = thread if type(thread) is not threading.Thread else getattr(thread, "_target", None)
    module: str = getattr(made_by, "__module__", None) or ""
    return module.startswith(("anyio.", "trio.", "storage."))


def _guarded_to_its_end(scope: Scope, future: Any) -> Any:
    """A task or future, with the guard of a replay kept up while it lasts: it may outlive its step."""
    guard = scope.frame.oracle.guard
    if guard is not None:
        release = guard.hold()
        future.add_done_callback(lambda _: release())
    return future


def _run_in(context: contextvars.Context, run: Callable[[], None], release: Callable[[], None] | None) -> None:
    try:
        context.run(run)
    finally:
        if release is not None:
            release()
