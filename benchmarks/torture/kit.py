"""What a step of a case may do."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

Call = Callable[[], Awaitable[Any]]


class NoStock(Exception):
    """What the local tool raises: a class of the program's own, with a field."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"no stock of {item}: {left} left")
        self.item = item
        self.left = left


class Kit(Protocol):
    """The doors of a step to the outside; each contestant records them its own way."""

    async def ask(self, text: str) -> Any:
        """The provider's answer."""
        ...

    async def pay(self, text: str) -> Any:
        """As `ask`, of a call with a side effect."""
        ...

    def stream(self, text: str) -> AsyncIterator[str]:
        """The provider's answer in pieces."""
        ...

    async def stock(self, item: str) -> Any:
        """A tool in the process, without HTTP; it raises NoStock."""
        ...

    async def entropy(self) -> list[str]:
        """Clock, random and uuid by the contestant's own door; where it has none, by the standard library."""
        ...

    async def gather(self, *calls: Call) -> list[Any]:
        """The results of calls that run at once, in the order given."""
        ...

    async def first(self, *calls: Call) -> Any:
        """The result of the call that is done first; the others are cancelled."""
        ...

    def ran(self, step: str) -> None:
        """Count that the code of a step ran."""
        ...


RAN: Counter[str] = Counter()
"""How often the code of each step, and of the local tool, ran in this process."""
NOTES: dict[str, str] = {}
"""State of the process outside any graph; empty when a replay begins, as in a new process."""


def look_up(item: str) -> str:
    """The body of the local tool.

    Raises:
        NoStock: always.
    """
    RAN["stock"] += 1
    raise NoStock(item, 0)


class Tasks:
    """The parts of a kit that are alike everywhere."""

    def ran(self, step: str) -> None:
        """Count that the code of a step ran."""
        RAN[step] += 1

    async def entropy(self) -> list[str]:
        """By the standard library."""
        return [repr(time.time()), repr(random.random()), str(uuid.uuid4())]

    async def within(self, place: int, call: Call) -> Any:
        """A call in a task of its own; a contestant may mark it."""
        return await call()

    async def gather(self, *calls: Call) -> list[Any]:
        """In a task group."""
        found: dict[int, Any] = {}

        async def work(place: int, call: Call) -> None:
            found[place] = await self.within(place, call)

        async with anyio.create_task_group() as group:
            for place, call in enumerate(calls):
                group.start_soon(work, place, call)
        return [found[place] for place in range(len(calls))]

    async def first(self, *calls: Call) -> Any:
        """In a task group whose scope the first to be done cancels."""
        found: list[Any] = []

        async def work(place: int, call: Call) -> None:
            found.append(await self.within(place, call))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place, call in enumerate(calls):
                group.start_soon(work, place, call)
        return found[0]


@dataclass(frozen=True)
class Step:
    """A step of a case's graph."""

    name: str
    fn: Callable[..., Awaitable[Any]]
    """`async fn(kit, *values)`."""
    needs: tuple[str, ...] = ("input",)
    """Names of the steps whose values it takes, or `input`."""


async def walk(kit: Kit, steps: tuple[Step, ...], given: str) -> Any:
    """The program without a graph: what can run at once does; the value of the last step."""
    values: dict[str, Any] = {"input": given}
    left = list(steps)

    async def work(step: Step) -> None:
        values[step.name] = await step.fn(kit, *[values[need] for need in step.needs])

    while left:
        ready = [step for step in left if all(need in values for need in step.needs)]
        left = [step for step in left if step not in ready]
        async with anyio.create_task_group() as group:
            for step in ready:
                group.start_soon(work, step)
    return values[steps[-1].name]
