"""Lines that both checkers refuse, each marked."""

from __future__ import annotations

from runtime import Agent, Node
from tests.typing.declared import (
    Doc,
    Reply,
    Retrieve,
    Turn,
    agent,
    answer,
    cut,
    embed,
    generate,
    graph,
    hits,
    improve,
    is_long,
    judge,
    keyword,
    query,
    rewrite,
    score,
    shorten,
    vector,
    verdict,
    words,
)  # fmt: skip

graph.add(embed, graph.input)  # BAD
graph.add(Retrieve(), vector, query)  # BAD
graph.add(rewrite)  # BAD
graph.add(rewrite, graph.input, query)  # BAD
graph.add(cut, query)  # BAD
graph.add(generate, graph.input, hits, query)  # BAD
graph.add(Retrieve, query, vector)  # BAD
graph.add(keyword, query)  # BAD
graph.add(rewrite, "text")  # BAD
graph.add(embed, query, name=3)  # BAD
graph.add(judge, answer, graph.input)  # BAD
graph.derive(lambda docs: docs.nope, verdict)  # BAD
graph.branch(answer, shorten, words, answer)  # BAD
graph.branch(verdict, shorten, words, hits)  # BAD
graph.branch(verdict, shorten, improve, answer)  # BAD
graph.branch(verdict, shorten, answer, answer)  # BAD
graph.branch(is_long, shorten, words, answer)  # BAD
wrong_arm: Node[str] = graph.branch(verdict, shorten, words, answer)  # BAD
graph.map(score, answer, query)  # BAD
graph.map(score, hits)  # BAD
graph.map(score, hits, hits)  # BAD
graph.map(score, hits, query, concurrency="2")  # BAD
wrong_items: Node[list[str]] = graph.map(score, hits, query)  # BAD
graph.loop(words, answer, until=is_long, limit=3)  # BAD
graph.loop(improve, answer, until=is_long, limit=3)  # BAD
graph.loop(shorten, hits, until=is_long, limit=3)  # BAD
graph.loop(shorten, answer, until=len, limit=3)  # BAD
graph.loop(shorten, answer, until=is_long)  # BAD
graph.loop(shorten, answer, limit=3)  # BAD
graph.subgraph(agent, hits)  # BAD
graph.subgraph(shorten, answer)  # BAD
wrong_part: Node[str] = graph.subgraph(agent, answer)  # BAD
graph.build(Reply, answer=verdict.value)  # BAD
graph.build(Reply, answr=answer.value)  # BAD
graph.build(Reply, answer=answer)  # BAD
graph.build(Reply, verdict=verdict.value)  # BAD
wrong_agent: Agent[Turn, str] = graph.build(verdict)  # BAD
wrong_node: Node[list[Doc]] = hits  # BAD
