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
    answer,
    cut,
    generate,
    graph,
    hits,
    judge,
    query,
    rewrite,
    vector,
    verdict,
)  # fmt: skip

kept: Node[Sequence[Doc]] = graph.add(cut, hits)
found: Node[list[Ranked]] = graph.add(Retrieve(), query, vector, name="again")
temperature: Node[float] = graph.derive(lambda docs: 0.5 * len(docs), hits)
warmer: Node[str] = graph.add(generate, graph.input, hits, temperature, name="warmer")
length: Node[int] = graph.add(len, hits)
plain: Agent[Turn, bool] = graph.build(verdict)
made: Agent[Turn, Reply] = graph.build(Reply, answer=answer.value, verdict=verdict.value)
outer = Graph("outer", input=Turn)
inner: Node[bool] = outer.add(plain, outer.input)
judged: Node[bool] = outer.add(judge, outer.input, outer.add(rewrite, outer.input))
