"""The refund trace with providers that answer at once: eight spans, an embedding, a 6 KB prompt."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from runtime import Graph, Vector, effect, step

DOCUMENTS = [f"Document {number}: " + f"clause {number} of the policy says so. " * 40 for number in range(200)]
VECTORS = [Vector.of([random.Random(seed).random() for _ in range(1536)]) for seed in range(16)]
LISTS = [vector.tolist() for vector in VECTORS]


@attrs.frozen
class Turn:
    """What a customer writes."""

    number: int
    text: str


@effect
async def complete(prompt: str) -> str:
    """A chat provider."""
    return f"You are eligible for a refund of {len(prompt)} rupees."


@effect
async def embed_text(text: str) -> Vector:
    """An embedding provider that gives bytes."""
    return VECTORS[len(text) % len(VECTORS)]


@effect
async def embed_list(text: str) -> list[float]:
    """An embedding provider that gives a list of floats."""
    return LISTS[len(text) % len(LISTS)]


@effect
async def search(query: str, first: int) -> list[str]:
    """A search provider."""
    return [DOCUMENTS[(len(query) * 7 + first + place) % len(DOCUMENTS)] for place in range(3)]


@step
async def rerank(query: str, hits: list[str]) -> list[str]:
    """A nested step."""
    scores = await score(query, len(hits))
    return [hit for _, hit in sorted(zip(scores, hits, strict=True))]


@effect
async def score(query: str, count: int) -> list[float]:
    """A scoring provider."""
    return [((len(query) + place) * 37 % 100) / 100 for place in range(count)]


async def rewrite(turn: Turn) -> str:
    """A step with one effect."""
    return await complete(f"rewrite {turn.number} {turn.text}")


async def embed(query: str) -> Vector:
    """As above."""
    return await embed_text(query)


async def embed_as_list(query: str) -> list[float]:
    """As above, with a list of floats."""
    return await embed_list(query)


async def retrieve(query: str, vector: Vector) -> list[str]:
    """Search, and the nested step."""
    return await rerank(query, await search(query, vector.data[0]))


async def retrieve_by_list(query: str, vector: list[float]) -> list[str]:
    """As above, with a list of floats."""
    return await rerank(query, await search(query, int(vector[0] * 255)))


async def generate(turn: Turn, hits: list[str]) -> str:
    """A long prompt."""
    return await complete("\n".join(hits) + turn.text + str(turn.number))


def cite(answer: str, hits: list[str]) -> list[int]:
    """A sync step."""
    return [place for place, hit in enumerate(hits) if hit[:8] in answer]


async def judge(turn: Turn, answer: str, cited: list[int]) -> bool:
    """A step with one effect."""
    return len(await complete(f"judge {turn.text} {answer} {cited}")) % 2 == 0


def make(*, as_list: bool = False, guarded: bool = False) -> tuple[Any, Callable[[Turn], Awaitable[Any]]]:
    """The agent, and the same functions called bare."""
    first: Any = step(retry=2, timeout=30)(rewrite) if guarded else rewrite
    embedding: Any = embed_as_list if as_list else embed
    retrieval: Any = retrieve_by_list if as_list else retrieve
    graph: Any = Graph("bench.turn", input=Turn)
    query = graph.add(first, graph.input, name="rewrite")
    vector = graph.add(embedding, query, name="embed")
    hits = graph.add(retrieval, query, vector, name="retrieve")
    answer = graph.add(generate, graph.input, hits)
    cited = graph.add(cite, answer, hits)
    agent = graph.build(graph.add(judge, graph.input, answer, cited))

    async def bare(turn: Turn) -> bool:
        text = await rewrite(turn)
        found = await retrieval(text, await embedding(text))
        told = await generate(turn, found)
        return await judge(turn, told, cite(told, found))

    return agent, bare
