"""Agents that worker processes import by name, and what they were recorded doing."""

from __future__ import annotations

import os
import signal

import anyio
import anyio.lowlevel
import attrs

import runtime
from runtime import Graph, effect, step


@attrs.frozen
class Turn:
    text: str


class ProviderDown(Exception):
    """What the provider raises."""


@attrs.frozen
class Llm:
    @effect
    async def chat(self, prompt: str) -> str:
        runtime.current().attributes["gen_ai.cost_usd"] = 0.01
        await anyio.lowlevel.checkpoint()
        if "down" in prompt:
            raise ProviderDown(prompt)
        return f"answer to {prompt}"


@step
async def rerank(query: str, hits: list[str]) -> list[str]:
    return sorted(hits)


async def retrieve(turn: Turn) -> list[str]:
    return await rerank(turn.text, ["b", "a", *turn.text.split()])


@attrs.frozen
class Generate:
    llm: Llm = attrs.field(factory=Llm)

    async def __call__(self, turn: Turn, hits: list[str]) -> str:
        return await self.llm.chat(f"{turn.text} from {' '.join(hits)}")


def length(answer: str) -> int:
    return len(answer)


async def stamp(turn: Turn) -> float:
    return runtime.current().time()


def make() -> runtime.Agent[Turn, int]:
    graph = Graph("kitchens.bot", input=Turn)
    hits = graph.add(retrieve, graph.input)
    answer = graph.add(Generate(), graph.input, hits)
    graph.add(stamp, graph.input)
    return graph.build(graph.add(length, answer))


bot = make()


@step
async def backwards(query: str, hits: list[str]) -> list[str]:
    return sorted(hits, reverse=True)


async def apologise(turn: Turn, hits: list[str]) -> str:
    return "sorry"


def twice(answer: str) -> int:
    return 2 * len(answer)


def fragile(text: str) -> str:
    """Fine while it was recorded; in a worker it dies of what is marked."""
    if os.environ.get("KITCHENLOG_TEST_FRAGILE"):
        if "exit" in text:
            os._exit(7)
        if "kill" in text:
            os.kill(os.getpid(), signal.SIGKILL)
    return text


_fragile = Graph("kitchens.fragile", input=str)
fragile_bot = _fragile.build(_fragile.add(fragile, _fragile.input))
