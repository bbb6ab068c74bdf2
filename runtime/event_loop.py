"""From code without a loop to code that needs one."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from runtime.errors import RuntimeMisuse

R = TypeVar("R")


def run_until_done(call: Callable[[], Awaitable[R]], name: str, backend: str) -> R:
    """What an awaitable gives, in a loop of its own; in a notebook, whose cells run in a loop, in a thread with one.

    Args:
        call: makes the awaitable.
        name: of the function of `runtime` that was called.
        backend: of the loop, `asyncio` or `trio`.

    Raises:
        RuntimeMisuse: a loop runs here already; the text names the function to await instead.
    """
    if not _loop_runs():
        return anyio.run(_awaited, call, backend=backend)
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        return _in_thread(lambda: anyio.run(_awaited, call, backend=backend))
    raise RuntimeMisuse(f"an event loop runs here: await runtime.a{name}(...) instead of runtime.{name}(...)")


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
