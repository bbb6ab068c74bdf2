"""The purity audit: which steps let the time of day, chance or the order of a set into what they give.

Each step runs again on its recorded inputs, its effects answered from the recording, in several processes that differ in one
thing each. What differs between them leaks in by that thing, whether or not the recording happens to be reproduced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
import attrs

from replay import worker
from replay.difference import Change, changes
from replay.spelling import spell
from runtime.agent import Agent
from runtime.plain import plain
from runtime.recording import Recording, Result
from storage import codec

_SHIFT_NS: Final = (400 * 86400 + 5 * 3600 + 17 * 60 + 3) * 10**9 + 123_456_789
"""A year and some: another year, month, day, hour, minute, second."""
_SEED: Final = b"\x5a" * 32
_AT_ONCE: Final = 2
"""Processes: each may load a model of its own."""
_UNAUDITED: Final = frozenset({"blocked", "unreplayable"})
OTHER: Final = "something else"
"""A source: it differs from the recording alike each time. A duration, a file, the environment, what ran before it."""


@attrs.frozen
class Leak:
    """A field of what a step gives that its inputs do not determine."""

    address: str
    field: Change
    source: str
    """the clock, randomness, the hash seed, or something else."""

    def __str__(self) -> str:
        return f"{self.address}  {self.source}  {self.field}"


@attrs.frozen
class Purity:
    """What an audit found."""

    trace_id: str
    leaks: tuple[Leak, ...]
    pure: tuple[str, ...]
    """Addresses of steps that gave the same each time, and what was recorded."""
    unaudited: tuple[tuple[str, str], ...]
    """Addresses of steps that could not be run again, each with the reason."""

    @property
    def ok(self) -> bool:
        """Every step is pure."""
        return not self.leaks and not self.unaudited

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "version": 1,
            "trace_id": self.trace_id,
            "ok": self.ok,
            "leaks": [
                {
                    "address": one.address,
                    "field": one.field.path,
                    "source": one.source,
                    "one": plain(one.field.old),
                    "other": plain(one.field.new),
                }
                for one in self.leaks
            ],
            "pure": list(self.pure),
            "unaudited": [{"address": address, "reason": reason} for address, reason in self.unaudited],
        }

    def __str__(self) -> str:
        lines = [f"{len(self.pure)} pure, {len({one.address for one in self.leaks})} leaking, {len(self.unaudited)} not audited"]
        lines += [str(one) for one in self.leaks]
        return "\n".join([*lines, *(f"{address}  not audited: {reason}" for address, reason in self.unaudited)])


async def audit(
    recording: Recording, agent: Agent[Any, Any], *, store: str, backend: str, redact: Callable[[Any], Any]
) -> Purity:
    """Audit the steps of a trace.

    Raises:
        RuntimeMisuse: it cannot be done in a process of its own.
    """
    seed = recording.stored.header.seed
    job = worker.Job(
        path=list(sys.path), store=store, backend=backend, redact=spell(redact, "redact"), trace=recording.trace_id,
        agent=spell(agent, f"the agent {agent.name}"), audit=True, filtered=False, seed=seed,
    )  # fmt: skip
    variants = {
        "": (0, seed, "0"),
        "the clock": (_SHIFT_NS, seed, "0"),
        "randomness": (0, _SEED, "0"),
        "the hash seed": (0, seed, "1"),
        "the hash seed ": (0, seed, "2"),  # two that agree on a small set are not rare
    }
    reports: dict[str, worker.Report] = {}

    async def run(name: str) -> None:
        shift, other_seed, hash_seed = variants[name]
        given = worker.Job(**{field: getattr(job, field) for field in job.__struct_fields__})
        given.shift_ns, given.seed = shift, other_seed
        reports[name] = await worker.ask(given, {"PYTHONHASHSEED": hash_seed})

    limit = anyio.CapacityLimiter(_AT_ONCE)

    async def run_limited(name: str) -> None:
        async with limit:
            await run(name)

    async with anyio.create_task_group() as group:
        for name in variants:
            group.start_soon(run_limited, name)
    return _judge(recording, reports)


def _judge(recording: Recording, reports: dict[str, worker.Report]) -> Purity:
    base = reports[""]
    leaks: list[Leak] = []
    pure: list[str] = []
    unaudited: list[tuple[str, str]] = []
    for entry in base.certified():
        span = recording.spans.get(entry.address)
        if entry.kind != "step" or span is None:
            continue
        if entry.status in _UNAUDITED or entry.address not in base.outcomes:
            unaudited.append((entry.address, entry.reason or f"it was {entry.status}"))
            continue
        found = list(_leaks(entry.address, reports))
        if not found and entry.status == "diverged":
            if base.outcomes[entry.address].status == "blocked":  # by what it asked, not by what it gave
                unaudited.append((entry.address, entry.reason))
                continue
            now = base.outcomes[entry.address].result()
            found = [Leak(entry.address, field, OTHER) for field in _between(span.result, now)]
        if found:
            leaks += found
        else:
            pure.append(entry.address)
    return Purity(recording.trace_id, tuple(leaks), tuple(pure), tuple(unaudited))


def _leaks(address: str, reports: dict[str, worker.Report]) -> Iterator[Leak]:
    base = reports[""]
    known: set[tuple[str, str]] = set()
    for name, report in reports.items():
        if not name or address not in report.outcomes:
            continue
        differing = [
            *_between(base.outcomes[address].result(), report.outcomes[address].result()),
            *_between_requests(base.asked[address], report.asked[address]),
        ]
        for field in differing:
            place = (name.strip(), field.path)
            if place not in known:
                known.add(place)
                yield Leak(address, field, name.strip())


def _between_requests(one: list[tuple[str, bytes]], two: list[tuple[str, bytes]]) -> Iterator[Change]:
    """What differs in what was asked, up to the first call that differs: those after it may follow from it."""
    for (call, was), (_, now) in zip(one, two, strict=False):
        if was != now:
            yield from changes(codec.decode_any(was), codec.decode_any(now), f"request of {call} ")
            return


def _between(one: Result, two: Result) -> Iterator[Change]:
    if one.digest == two.digest:
        return
    if one.ok and two.ok:
        yield from changes(one.value, two.value)
    else:
        yield Change("", one.text, two.text)
