"""Lines that both checkers accept."""

from __future__ import annotations

from collections.abc import Sequence

from runtime import Agent, Graph, Node
from tests.typing.declared import (
    Doc,
    Ranked,
    Reply,
    Retrieve,
    Turn,
    agent,
    answer,
    cut,
    generate,
    graph,
    hits,
    improve,
    is_long,
    judge,
    query,
    rewrite,
    score,
    shorten,
    vector,
    verdict,
    words,
)  # fmt: skip


async def generate_again(answer: str, docs: Sequence[Doc]) -> str:
    return answer


kept: Node[Sequence[Doc]] = graph.add(cut, hits)
found: Node[list[Ranked]] = graph.add(Retrieve(), query, vector, name="again")
temperature: Node[float] = graph.derive(lambda docs: 0.5 * len(docs), hits)
warmer: Node[str] = graph.add(generate, graph.input, hits, temperature, name="warmer")
length: Node[int] = graph.add(len, hits)
plain: Agent[Turn, bool] = graph.build(verdict)
made: Agent[Turn, Reply] = graph.build(Reply, answer=answer.value, verdict=verdict.value)
outer = Graph("outer", input=Turn)
inner: Node[bool] = outer.add(plain, outer.input)
either: Node[str | list[str]] = graph.branch(verdict, shorten, words, answer)
same: Node[str] = graph.branch(graph.derive(is_long, answer), shorten, shorten, answer, name="same")
cheap: Node[str] = graph.branch(verdict, improve, generate_again, answer, hits, name="cheap")
scores: Node[list[float]] = graph.map(score, hits, query, concurrency=2)
short: Node[list[str]] = graph.map(shorten, graph.add(words, answer, name="first"), name="short")
parts: Node[list[list[str]]] = graph.map(agent, graph.add(words, answer, name="second"), name="parts")
better: Node[str] = graph.loop(improve, answer, hits, until=is_long, limit=3)
shorter: Node[str] = graph.loop(shorten, answer, until=lambda text: len(text) < 3, limit=9, name="shorter")
split: Node[list[str]] = graph.subgraph(agent, answer)
split_too: Node[list[str]] = graph.add(agent, answer, name="split_too")
judged: Node[bool] = outer.add(judge, outer.input, outer.add(rewrite, outer.input))
