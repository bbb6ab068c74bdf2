"""What `add`, `derive` and `build` are given in tests/typing/good.py and bad.py."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from runtime import Graph, step


class Turn(msgspec.Struct):
    text: str


class Doc(msgspec.Struct):
    id: str


class Ranked(Doc):
    score: float = 0.0


class Reply(msgspec.Struct, kw_only=True):
    answer: str
    verdict: bool | None = None


@step
async def rewrite(turn: Turn) -> str:
    return turn.text


@step(retry=3)
async def embed(query: str) -> bytes:
    return query.encode()


class Retrieve:
    async def __call__(self, query: str, vector: bytes) -> list[Ranked]:
        return []


def cut(docs: Sequence[Doc]) -> Sequence[Doc]:
    return docs[:1]


async def generate(turn: Turn, docs: Sequence[Doc], temperature: float = 0.0) -> str:
    return turn.text


async def judge(turn: Turn, answer: str) -> bool:
    return True


async def score(doc: Doc, query: str) -> float:
    return 0.0


async def improve(answer: str, docs: Sequence[Doc]) -> str:
    return answer


def shorten(answer: str) -> str:
    return answer[:9]


async def words(answer: str) -> list[str]:
    return answer.split()


def is_long(answer: str) -> bool:
    return len(answer) > 9


async def keyword(query: str, *, k: int) -> str:
    return query


graph = Graph("typed", input=Turn)
query = graph.add(rewrite, graph.input)
vector = graph.add(embed, query)
hits = graph.add(Retrieve(), query, vector)
answer = graph.add(generate, graph.input, hits)
verdict = graph.add(judge, graph.input, answer)
part = Graph("part", input=str)
agent = part.build(part.add(words, part.input))
