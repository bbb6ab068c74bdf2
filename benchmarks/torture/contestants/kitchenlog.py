"""kitchenlog: steps in a typed graph, every door an effect."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import attrs
import httpx2

import runtime
from benchmarks.torture import kit as kits
from benchmarks.torture import provider
from benchmarks.torture.cases import Case
from benchmarks.torture.contestant import Facts, Told, in_words
from benchmarks.torture.kit import Step

URL = "TORTURE_PROVIDER"
"""Of the environment: where the provider listens is no part of a request."""


@attrs.frozen
class Doors(kits.Tasks):
    """Effects."""

    @runtime.effect
    async def ask(self, text: str) -> Any:
        """The provider."""
        async with httpx2.AsyncClient(timeout=30) as client:
            return await provider.post(client, os.environ[URL], "/ask", text)

    @runtime.effect(side_effect=True)
    async def pay(self, text: str) -> Any:
        """The provider, with a side effect."""
        async with httpx2.AsyncClient(timeout=30) as client:
            return await provider.post(client, os.environ[URL], "/pay", text)

    @runtime.effect
    async def stream(self, text: str) -> AsyncIterator[str]:
        """The provider, in pieces."""
        async with httpx2.AsyncClient(timeout=30) as client:
            async for one in provider.events(client, os.environ[URL], text):
                yield one

    @runtime.effect
    async def stock(self, item: str) -> Any:
        """The tool in the process."""
        return kits.look_up(item)

    async def entropy(self) -> list[str]:
        """By the context of the step."""
        here = runtime.current()
        return [repr(here.time()), repr(here.random.random()), str(here.uuid())]


DOORS = Doors()
SAID: Final = {"diverged", "blocked", "redacted", "unreplayable", "changed", "dropped"}
"""Statuses that tell of something else than the recording."""


def _step(step: Step) -> Any:
    fn = step.fn
    if len(step.needs) == 1:

        async def one(first: Any) -> Any:
            return await fn(DOORS, first)

        return one

    async def two(first: Any, second: Any) -> Any:
        return await fn(DOORS, first, second)

    return two


def _agent(steps: tuple[Step, ...]) -> Any:
    graph: Any = runtime.Graph("torture.case", input=str)
    nodes: dict[str, Any] = {"input": graph.input}
    for step in steps:
        nodes[step.name] = graph.add(_step(step), *[nodes[need] for need in step.needs], name=step.name)
    return graph.build(nodes[steps[-1].name])


def _runtime(folder: Path, case: Case) -> runtime.Runtime:
    return runtime.Runtime(folder / "store", entropy="ambient" if case.key.startswith("clock") else "declared")


class Kitchenlog:
    """By docs/replay.md."""

    facts = Facts(
        "defaults: nothing goes live; `swap=` for what is exchanged, `agent=` for what is edited; "
        '`entropy="ambient"` in the two cases of entropy',
    )

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Run, and note the trace's id beside the store."""
        os.environ[URL] = url
        with _runtime(folder, case) as kitchen:
            try:
                return (await kitchen.arun(_agent(case.steps), given)).output
            finally:
                (folder.parent / f"{given}.trace").write_text(kitchen.list(limit=1)[0].trace_id)

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """What the certificate does not call ok, its warnings of state outside, and notes on changed code count as said."""
        told = Told()
        [note] = [place / f"{given}.trace" for place in folder.parents if (place / f"{given}.trace").exists()]
        then = case.then or case.steps
        swap = {step.name: _step(step) for step in then if step.name in case.swapped}
        agent = _agent(case.steps if swap else then)
        with _runtime(folder, case) as kitchen:
            try:
                replay = await kitchen.areplay(note.read_text(), agent=agent, swap=swap)
                told.said = [*replay.notes, *[str(one) for one in replay.blocked]]
                told.said += [str(one) for one in replay.certificate if one.status in SAID or "mutable global" in one.reason]
                told.output = replay.output
            except Exception as error:
                told.error = in_words(error)
        return told
