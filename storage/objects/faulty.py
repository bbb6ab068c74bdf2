"""A store that fails as it is told to: for tests of what is built on one, yours among them.

store = FaultyObjectStore(MemoryObjectStore(), script(Fault.FAIL_AFTER, on="put_new"))
store = FaultyObjectStore(inner, seeded(7, {Fault.SERVER_ERROR: 0.1, Fault.CUT: 0.01}))
"""

from __future__ import annotations

import datetime as dt
import enum
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, NoReturn

from storage.objects.contract import ObjectInfo, ObjectStore, StoreUnavailable, Tail

__all__ = ("Call", "Fault", "FaultyObjectStore", "Plan", "no_faults", "script", "seeded")


class Fault(enum.Enum):
    """What goes wrong with one call."""

    FAIL_BEFORE = "fail before"
    """`StoreUnavailable`; nothing was done."""
    FAIL_AFTER = "fail after"
    """`StoreUnavailable`; it was done, and the reply was lost."""
    SERVER_ERROR = "server error"
    """`StoreUnavailable` that tells of an HTTP 503; nothing was done."""
    SLOW = "slow"
    """It is done, later."""
    CUT = "cut"
    """A read gives the first half of its bytes and says nothing; other calls are done. A listing is never cut."""
    IGNORE_CONDITION = "ignore condition"
    """`put_new` replaces what is there and says that it wrote; other calls are done."""


class Call(NamedTuple):
    """One call of the store, and what went wrong with it."""

    operation: str
    """Name of the method."""
    key: str
    """Its key or prefix; empty for `now`."""
    fault: Fault | None


Plan = Callable[[str, str], Fault | None]
"""From operation and key to what goes wrong. Asked once a call, by one thread at a time."""


def no_faults(operation: str, key: str) -> None:
    """The plan of a store that works."""


def script(*faults: Fault | None, on: str | None = None) -> Plan:
    """A plan that is worked off call by call, and then nothing goes wrong any more.

    Args:
        faults: one for each call; None where it works.
        on: the operation that the plan is for, `put_new` say; None for every one.
    """
    left = list(faults)

    def plan(operation: str, _: str) -> Fault | None:
        return left.pop(0) if left and on in {None, operation} else None

    return plan


def seeded(seed: int, rates: Mapping[Fault, float]) -> Plan:
    """A plan by chance: the same one for the same seed and the same order of calls.

    Args:
        seed: where chance begins.
        rates: how likely each fault is at a call, in all at most 1.

    Raises:
        ValueError: the rates are no probabilities.
    """
    if any(rate < 0 for rate in rates.values()) or sum(rates.values()) > 1:
        raise ValueError("rates are probabilities: none below 0, in all at most 1")
    chance = random.Random(seed)

    def plan(_: str, __: str) -> Fault | None:
        drawn = chance.random()
        for fault, rate in rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return None

    return plan


class FaultyObjectStore:
    """See `storage.objects.contract.ObjectStore`.

    Args:
        inner: the store that does the work.
        plan: what goes wrong.
        slow_seconds: how much later a slow call is done.
        sleep: what waits so long.
    """

    calls: list[Call]
    """Every call so far, in order."""

    def __init__(
        self,
        inner: ObjectStore,
        plan: Plan = no_faults,
        *,
        slow_seconds: float = 1.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.calls = []
        self._inner, self._plan = inner, plan
        self._slow_seconds, self._sleep = slow_seconds, sleep
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FaultyObjectStore({self._inner!r})"

    def put_new(self, key: str, data: bytes) -> bool:
        """See `ObjectStore`."""
        fault = self._before("put_new", key)
        if fault is Fault.IGNORE_CONDITION:
            self._inner.delete(key)
        written = self._inner.put_new(key, data)
        self._after("put_new", key, fault)
        return written or fault is Fault.IGNORE_CONDITION

    def get(self, key: str, limit: int) -> bytes:
        """See `ObjectStore`."""
        fault = self._before("get", key)
        data = self._inner.get(key, limit)
        self._after("get", key, fault)
        return _cut(data, fault)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ObjectStore`."""
        fault = self._before("get_range", key)
        data = self._inner.get_range(key, start, length)
        self._after("get_range", key, fault)
        return _cut(data, fault)

    def get_tail(self, key: str, length: int) -> Tail:
        """See `ObjectStore`."""
        fault = self._before("get_tail", key)
        tail = self._inner.get_tail(key, length)
        self._after("get_tail", key, fault)
        return Tail(_cut(tail.data, fault), tail.size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore`."""
        fault = self._before("list", prefix)
        found = self._inner.list(prefix)
        self._after("list", prefix, fault)
        return found

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        fault = self._before("delete", key)
        self._inner.delete(key)
        self._after("delete", key, fault)

    def now(self) -> dt.datetime:
        """See `ObjectStore`."""
        fault = self._before("now", "")
        found = self._inner.now()
        self._after("now", "", fault)
        return found

    def close(self) -> None:
        """See `ObjectStore`. Never fails."""
        self._inner.close()

    def _before(self, operation: str, key: str) -> Fault | None:
        with self._lock:
            fault = self._plan(operation, key)
            self.calls.append(Call(operation, key, fault))
        if fault is Fault.FAIL_BEFORE:
            self._fail(operation, key, "ConnectionClosedError: made up, before it was done")
        if fault is Fault.SERVER_ERROR:
            self._fail(operation, key, "SlowDown (HTTP 503): made up")
        if fault is Fault.SLOW:
            self._sleep(self._slow_seconds)
        return fault

    def _after(self, operation: str, key: str, fault: Fault | None) -> None:
        if fault is Fault.FAIL_AFTER:
            self._fail(operation, key, "ReadTimeoutError: made up, after it was done")

    def _fail(self, operation: str, key: str, last: str) -> NoReturn:
        raise StoreUnavailable(operation, key, repr(self._inner), 1, 0.0, last)


def _cut(data: bytes, fault: Fault | None) -> bytes:
    return data[: len(data) // 2] if fault is Fault.CUT else data
