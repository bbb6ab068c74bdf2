"""Asking again within a deadline: the one retry budget of a store's call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import tenacity

__all__ = ("Budget", "Exhausted", "TryAgain")

T = TypeVar("T")


class TryAgain(Exception):
    """An attempt failed in a way that the next one may not. Of why, only this text is kept."""


class _TimedOut(TryAgain):
    """The deadline came first."""


class Exhausted(Exception):
    """The time is over, and no attempt came to an end that counts."""

    def __init__(self, attempts: int, seconds: float, last: str) -> None:
        self.attempts, self.seconds, self.last = attempts, seconds, last
        super().__init__(last)


@attrs.frozen
class Budget:
    """How long a call may take, and the waits in between: exponential with full jitter, so that many do not ask at once.

    Args:
        deadline: seconds for all attempts.
        wait: seconds that the first wait is at most; doubled for each later one.
        max_wait: seconds that any wait is at most.
    """

    deadline: float
    wait: float = 0.1
    max_wait: float = 5.0

    def spend(self, work: Callable[[], T]) -> T:
        """What the work returns; asked again while it raises `TryAgain`.

        Raises:
            Exhausted: the deadline is over. An attempt that hangs is left behind: what it asked for may yet be done.
            Exception: whatever else the work raised.
        """
        began = time.monotonic()
        last = ""

        def attempt() -> T:
            nonlocal last
            try:
                return _within(self.deadline - (time.monotonic() - began), work)
            except _TimedOut as error:
                last = f"{error}; before it: {last}" if last else str(error)
                raise
            except TryAgain as error:
                last = str(error)
                raise

        retrying = tenacity.Retrying(
            stop=tenacity.stop_before_delay(self.deadline),
            wait=tenacity.wait_random_exponential(multiplier=self.wait, max=self.max_wait),
            retry=tenacity.retry_if_exception_type(TryAgain),
        )
        try:
            return retrying(attempt)
        except tenacity.RetryError as error:
            attempts = error.last_attempt.attempt_number
        raise Exhausted(attempts, time.monotonic() - began, last)


class _Attempt(Generic[T]):
    """Work in a thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done = threading.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def result(self, seconds: float) -> T:
        if not self._done.wait(max(seconds, 0.0)):
            raise _TimedOut("no whole answer before the deadline")
        if self._error is not None:
            raise self._error
        return self._value[0]


def _within(seconds: float, work: Callable[[], T]) -> T:
    # The timeouts of a socket count from its last byte, and a lookup of a name has none: an answer that drips in byte by byte, or
    # a resolver that is silent, would hold its caller for ever.
    attempt = _Attempt(work)
    try:
        threading.Thread(target=attempt.run, name="kitchenlog-object-store", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, and starts no more threads
        attempt.run()
    return attempt.result(seconds)
