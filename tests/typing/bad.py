"""Lines that both checkers refuse, each marked."""

from __future__ import annotations

from runtime import Agent, Node
from tests.typing.declared import (
    Doc,
    Reply,
    Retrieve,
    Turn,
    answer,
    cut,
    embed,
    generate,
    graph,
    hits,
    judge,
    keyword,
    query,
    rewrite,
    vector,
    verdict,
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
graph.build(Reply, answer=verdict.value)  # BAD
graph.build(Reply, answr=answer.value)  # BAD
graph.build(Reply, answer=answer)  # BAD
graph.build(Reply, verdict=verdict.value)  # BAD
wrong_agent: Agent[Turn, str] = graph.build(verdict)  # BAD
wrong_node: Node[list[Doc]] = hits  # BAD
