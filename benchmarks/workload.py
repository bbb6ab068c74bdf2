"""The refund trace as a kitchenlog agent: the steps and providers of `refund`, declared."""

from __future__ import annotations

from typing import Any

import attrs

from benchmarks import refund
from runtime import Graph, Vector, effect, step

VECTORS = [Vector(data) for data in refund.vectors()]


@attrs.frozen
class Turn:
    """What a customer writes."""

    number: int
    text: str


def turn(number: int) -> Turn:
    """One of a million different turns."""
    return Turn(*refund.turn(number))


@effect
async def complete(prompt: str) -> str:
    """A chat provider."""
    return refund.reply(prompt)


@effect
async def embed_text(text: str) -> Vector:
    """An embedding provider that gives bytes."""
    return VECTORS[refund.vector_of(text)]


@effect
async def embed_list(text: str) -> list[float]:
    """An embedding provider that gives a list of floats."""
    return refund.lists()[refund.vector_of(text)]


@effect
async def search(query: str, first: int) -> list[str]:
    """A search provider."""
    return refund.found(query, first)


@step
async def rerank(query: str, hits: list[str]) -> list[str]:
    """A nested step."""
    return refund.ranked(hits, await score(query, len(hits)))


@effect
async def score(query: str, count: int) -> list[float]:
    """A scoring provider."""
    return refund.scores(query, count)


async def rewrite(turn: Turn) -> str:
    """A step with one effect."""
    return await complete(refund.rewrite_prompt(turn.number, turn.text))


async def embed(query: str) -> Vector:
    """As above."""
    return await embed_text(query)


async def embed_as_list(query: str) -> list[float]:
    """As above, with a list of floats."""
    return await embed_list(query)


async def retrieve(query: str, vector: Vector) -> list[str]:
    """Search, and the nested step."""
    return await rerank(query, await search(query, refund.first_of(vector.data)))


async def retrieve_by_list(query: str, vector: list[float]) -> list[str]:
    """As above, with a list of floats."""
    return await rerank(query, await search(query, refund.first_of(vector)))


async def generate(turn: Turn, hits: list[str]) -> str:
    """A long prompt."""
    return await complete(refund.answer_prompt(turn.number, turn.text, hits))


def cite(answer: str, hits: list[str]) -> list[int]:
    """A sync step."""
    return refund.citations(answer, hits)


async def judge(turn: Turn, answer: str, cited: list[int]) -> bool:
    """A step with one effect."""
    return (await complete(refund.judge_prompt(turn.text, answer, cited))).endswith("True")


def make(*, as_list: bool = False, guarded: bool = False) -> Any:
    """The agent.

    Args:
        as_list: the embedding is a list of floats.
        guarded: one step has a timeout and a retry.
    """
    first: Any = step(retry=2, timeout=30)(rewrite) if guarded else rewrite
    embedding: Any = embed_as_list if as_list else embed
    retrieval: Any = retrieve_by_list if as_list else retrieve
    graph: Any = Graph("bench.turn", input=Turn)
    query = graph.add(first, graph.input, name="rewrite")
    vector = graph.add(embedding, query, name="embed")
    hits = graph.add(retrieval, query, vector, name="retrieve")
    answer = graph.add(generate, graph.input, hits)
    cited = graph.add(cite, answer, hits)
    return graph.build(graph.add(judge, graph.input, answer, cited))
