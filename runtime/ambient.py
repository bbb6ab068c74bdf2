"""Direct use of `time`, `datetime`, `random`, `uuid`, `secrets` and `os.urandom` by the code of steps.

While `AMBIENT` is held, each of their functions asks the step whose code calls it: the clock is answered by the step's
oracle, randomness is derived from its seed. Nobody else sees a difference, and nor does code inside an effect.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import functools
import gc
import itertools
import os
import random
import sys
import tempfile
import time
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from runtime.interception import Interception, Place
from runtime.scope import SCOPE, EffectScope, Scope
from storage import digest

_CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_NOT_RANDOM: Final = frozenset({"Random", "SystemRandom"})
_EPOCH_1582: Final = 0x01B21DD213814000
"""Hundreds of nanoseconds from the first day of version 1 UUIDs to that of unix time."""
_INFRASTRUCTURE: Final = frozenset(
    {
        "_pytest", "_thread", "anyio", "asyncio", "concurrent", "console", "gc", "hypothesis", "importlib", "logging",
        "multiprocessing", "pytest", "queue", "replay", "runtime", "sched", "selectors", "socket", "ssl", "storage",
        "subprocess", "tempfile", "tenacity", "threading", "trio", "uvloop",
    }
)  # fmt: skip
"""Packages whose own clocks, deadlines and names must be real, also where a step calls them."""

_OURS: Final = frozenset({"console", "replay", "runtime", "storage"})

_get = SCOPE.get
_raw_urandom, _raw_uuid1 = os.urandom, uuid.uuid1
_raw_clocks: Final[dict[str, Callable[[], int]]] = {
    name: getattr(time, f"{name}_ns") for name in _CLOCKS if hasattr(time, f"{name}_ns")
}
_raw_clock_gettime_ns: Final = getattr(time, "clock_gettime_ns", None)
_raw_localtime: Final = time.localtime
real_monotonic_ns: Final = time.monotonic_ns


def is_direct(kind: str) -> bool:
    """Whether a kind of clock reading is of direct use: those of `runtime.current()` have no dot."""
    return "." in kind


def real(kind: str) -> Any:
    """A real reading of direct use: nanoseconds, or the 16 bytes of a UUID."""
    name = kind.partition(".")[2]
    if kind == "uuid.uuid1":
        return _raw_uuid1().bytes
    if name.startswith("clock_gettime_"):
        assert _raw_clock_gettime_ns is not None
        return _raw_clock_gettime_ns(int(name.removeprefix("clock_gettime_")))
    return _raw_clocks[name]()


def reading(scope: Scope, kind: str, passed: int, start: int) -> Any:
    """A made reading of direct use, where none was recorded.

    Args:
        scope: whose.
        kind: of the reading.
        passed: nanoseconds since the span began.
        start: when it began, in nanoseconds of the run's own clock.
    """
    wall = scope.frame.wall + passed
    if kind == "uuid.uuid1":
        noise = int.from_bytes(digest.entropy(_seed(scope), scope.frame.address, scope.lane, kind)[:8])
        ticks = wall // 100 + _EPOCH_1582
        version = (ticks >> 48 & 0x0FFF) | 0x1000
        fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, version, noise >> 56 & 0x3F | 0x80, noise >> 48 & 0xFF)
        return uuid.UUID(fields=(*fields, noise & 0xFFFFFFFFFFFF)).bytes
    if kind in {"time.time", "time.clock_gettime_0"}:
        return wall
    return passed if kind in {"time.process_time", "time.thread_time"} else start + passed


# who is asked


def _asked() -> Scope | None:
    """The scope whose oracle answers direct use here."""
    scope = _get()
    if scope is None or isinstance(scope, EffectScope) or not scope.frame.oracle.ambient:
        return None
    return scope


def _seed(scope: Scope) -> bytes:
    return scope.frame.oracle.ambient


class _Bytes:
    """Bytes that nobody can tell who does not know the seed. No two calls get the same, whatever thread they come from."""

    def __init__(self, seed: bytes, where: str, lane: str) -> None:
        self._block = functools.partial(self._make, seed, where, lane)
        self._numbers = itertools.count()

    @staticmethod
    def _make(seed: bytes, where: str, lane: str, number: int) -> bytes:
        return digest.entropy(seed, where, lane, f"urandom{number}")

    def take(self, count: int) -> bytes:
        return b"".join([self._block(next(self._numbers)) for _ in range(-(-count // 64))])[:count]


def _made(scope: Scope, kind: str, make: Callable[[bytes, str, str], Any]) -> Any:
    held = scope.held_generators()
    found = held.get(kind)
    if found is None:
        frame = scope.frame
        found = held.setdefault(kind, make(_seed(scope), f"{frame.address}!{frame.attempt}", scope.lane))
    return found


def _generator(seed: bytes, where: str, lane: str) -> random.Random:
    return random.Random(digest.entropy(seed, where, lane, "ambient"))


# what stands in


def _clock(name: str) -> Iterator[Place]:
    for full in (name, f"{name}_ns"):
        raw = getattr(time, full, None)
        if raw is not None:
            yield Place(time, full, _reads(raw, f"time.{name}", nanoseconds=full != name))


def _reads(raw: Callable[[], Any], kind: str, *, nanoseconds: bool) -> Any:
    @functools.wraps(raw)
    def read() -> Any:
        if _get() is None:
            return raw()
        scope = _asked()
        if scope is None:
            return raw()
        value = scope.frame.oracle.draw(scope, kind)
        return value if nanoseconds else value / 1e9

    return read


def _clock_gettime(full: str) -> Place:
    raw = getattr(time, full)

    @functools.wraps(raw)
    def read(clock: int, /) -> Any:
        scope = _asked()
        if scope is None:
            return raw(clock)
        value = scope.frame.oracle.draw(scope, f"time.clock_gettime_{int(clock)}")
        return value if full.endswith("_ns") else value / 1e9

    return Place(time, full, read)


def _seconds(scope: Scope) -> float:
    return float(scope.frame.oracle.draw(scope, "time.time") / 1e9)


def _defaulted(name: str, given: int) -> Place:
    """Of what reads the clock in C where it is not told a time."""
    raw = getattr(time, name)

    @functools.wraps(raw)
    def call(*args: Any) -> Any:
        if len(args) > given and args[given] is not None:
            return raw(*args)
        scope = _asked()
        if scope is None:
            return raw(*args)
        now = _seconds(scope)
        return raw(*args[:given], _raw_localtime(now) if name in {"asctime", "strftime"} else now)

    return Place(time, name, call)


@functools.wraps(os.urandom)
def _urandom(size: int, /) -> bytes:
    scope = _asked()
    if scope is None or not isinstance(size, int) or size < 0:
        return _raw_urandom(size)
    taken: bytes = _made(scope, "urandom", _Bytes).take(size)
    return taken


def _random(name: str) -> Place:
    """The functions of `random` are methods of one hidden generator; each step has its own."""
    raw = getattr(random, name)

    @functools.wraps(raw)
    def call(*args: Any, **kwargs: Any) -> Any:
        scope = _asked()
        if scope is None:
            return raw(*args, **kwargs)
        return getattr(_made(scope, "ambient", _generator), name)(*args, **kwargs)

    return Place(random, name, call)


_raw_seed: Final = random.Random.seed


@functools.wraps(_raw_seed)
def _seed_generator(self: random.Random, a: Any = None, version: int = 2) -> None:
    if a is None and not isinstance(self, random.SystemRandom) and _asked() is not None:
        a = int.from_bytes(_urandom(32))
    _raw_seed(self, a, version)


@functools.wraps(_raw_uuid1)
def _uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    scope = _asked()
    if scope is None:
        return _raw_uuid1(node, clock_seq)
    made = uuid.UUID(bytes=scope.frame.oracle.draw(scope, "uuid.uuid1"))
    if node is None and clock_seq is None:
        return made
    high, low = made.fields[3], made.fields[4]
    if clock_seq is not None:
        high, low = clock_seq >> 8 & 0x3F | 0x80, clock_seq & 0xFF
    return uuid.UUID(fields=(*made.fields[:3], high, low, made.node if node is None else node))


_bootstrap: Final = sys.modules["_frozen_importlib"]
_raw_find_and_load: Final[Any] = vars(_bootstrap)["_find_and_load"]


def _find_and_load(name: str, import_: Any) -> Any:
    """A lazy import is work of the process, not of the step that happens to need it first: it is let be."""
    if _get() is None:
        return _raw_find_and_load(name, import_)
    token = SCOPE.set(None)
    try:
        return _raw_find_and_load(name, import_)
    finally:
        SCOPE.reset(token)


# `datetime` is written in C and reads the clock there; its types take new class methods in their own dict only.

_types: Final[tuple[tuple[type, dict[str, Any]], ...]] = tuple(
    (kind, gc.get_referents(kind.__dict__)[0]) for kind in (dt.datetime, dt.date)
)
_raw_now: Final = dt.datetime.__dict__["now"]
_plain_now: Final = dt.datetime.now
"""Bound already: most that ask for it are not subclasses."""
_raw_utcnow: Final = dt.datetime.__dict__["utcnow"]
_raw_today: Final = dt.date.__dict__["today"]


def _now(cls: type[dt.datetime], tz: dt.tzinfo | None = None) -> dt.datetime:
    scope = _asked()
    if scope is None:
        if cls is dt.datetime:
            return _plain_now(tz)
        made: dt.datetime = _raw_now.__get__(None, cls)(tz)
        return made
    return cls.fromtimestamp(_seconds(scope), tz)


def _utcnow(cls: type[dt.datetime]) -> dt.datetime:
    scope = _asked()
    if scope is None:
        made: dt.datetime = _raw_utcnow.__get__(None, cls)()
        return made
    return cls.fromtimestamp(_seconds(scope), dt.UTC).replace(tzinfo=None)


def _today(cls: type[dt.date]) -> dt.date:
    scope = _asked()
    if scope is None:
        made: dt.date = _raw_today.__get__(None, cls)()
        return made
    return cls.fromtimestamp(_seconds(scope))


def _set_class_methods(now: Any, utcnow: Any, today: Any) -> None:
    (_, of_datetime), (_, of_date) = _types
    of_datetime["now"], of_datetime["utcnow"], of_date["today"] = now, utcnow, today
    for kind, _ in _types:
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _enter() -> None:
    _set_class_methods(classmethod(_now), classmethod(_utcnow), classmethod(_today))


def _leave() -> None:
    _set_class_methods(_raw_now, _raw_utcnow, _raw_today)


@functools.cache
def _own() -> tuple[Place, ...]:
    tempfile._get_candidate_names()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] - seeded once for the process: not by a step
    public = [name for name in random.__all__ if name not in _NOT_RANDOM]
    return (
        *(place for name in _CLOCKS for place in _clock(name)),
        *[_clock_gettime(name) for name in ("clock_gettime", "clock_gettime_ns") if hasattr(time, name)],
        *[_defaulted(name, 0) for name in ("localtime", "gmtime", "ctime", "asctime")],
        _defaulted("strftime", 1),
        Place(os, "urandom", _urandom),
        *[_random(name) for name in public],
        Place(random.Random, "seed", _seed_generator, imported=False),
        Place(uuid, "uuid1", _uuid1),
        Place(_bootstrap, "_find_and_load", _find_and_load, imported=False),
    )


_copies: Final[dict[str, types.ModuleType]] = {}
"""Modules as they were before anything stood in, for the infrastructure."""
for _module in (time, os, random):
    _copies[_module.__name__] = types.ModuleType(_module.__name__)
    vars(_copies[_module.__name__]).update(vars(_module))


def _places() -> Iterator[Place]:
    yield from _own()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in _INFRASTRUCTURE or not isinstance(module, types.ModuleType) or name == __name__:
            continue
        for alias, value in list(vars(module).items()):
            copy = _copies.get(value.__name__) if isinstance(value, types.ModuleType) else None
            # Of `os` only for our own: what others do with it is the guard's affair.
            if copy is not None and (value is not os or name.partition(".")[0] in _OURS):
                yield Place(module, alias, copy, imported=False)


AMBIENT: Final = Interception(_places, enter=_enter, leave=_leave, keeps_own=_INFRASTRUCTURE)
"""Held while a replay runs, and by a runtime whose `entropy` is "ambient"."""
