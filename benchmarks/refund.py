"""The refund trace as plain functions: what every system under test runs, and what its providers answer at once.

Eight spans: the turn, rewrite, embed, retrieve with rerank inside, generate on a prompt of 6 KB, cite, judge. The standard
library only, since peers run this in environments of their own. Texts are words drawn by a Zipf law, which compress as prose
does; every vector is another one, of unit length.
"""

from __future__ import annotations

import functools
import random
import zlib
from array import array
from typing import Final, NamedTuple

SPANS: Final = 8
DIMENSIONS: Final = 1536
VECTORS: Final = 256
_REPLIES: Final = 1024
_WORDS: Final = 4000
_rng: Final = random.Random(7)


def _lexicon() -> tuple[list[str], list[float]]:
    syllables = [first + last for first in (*"bcdfglmnprst", "st", "tr") for last in "aeiou"]
    endings = ("", "", "n", "s", "r")
    made = {"".join(_rng.choices(syllables, k=_rng.randint(1, 4))) + _rng.choice(endings) for _ in range(2 * _WORDS)}
    words = sorted(made)
    _rng.shuffle(words)
    return words[:_WORDS], [1 / (rank + 3) for rank in range(_WORDS)]


_LEXICON: Final = _lexicon()


def words(count: int, rng: random.Random = _rng) -> str:
    """So many words."""
    return " ".join(rng.choices(*_LEXICON, k=count))


DOCUMENTS: Final = [f"Document {number}. {words(200)}" for number in range(200)]
"""About 1.5 KB each."""
POLICY: Final = f"Answer from these documents alone, and cite them. {words(190)}"
REPLIES: Final = [f"You are eligible for a refund. {words(50)} [{number % 3}]" for number in range(_REPLIES)]
QUESTIONS: Final = [words(14) for _ in range(_REPLIES)]


class Turn(NamedTuple):
    """What a customer writes."""

    number: int
    text: str


def turn(number: int) -> Turn:
    """One of a million different turns."""
    return Turn(number, f"where is order {number * 31 % 999_983}? {QUESTIONS[number % _REPLIES]}")


@functools.cache
def vectors() -> list[bytes]:
    """Little-endian float32, of unit length."""
    made: list[bytes] = []
    for _ in range(VECTORS):
        drawn = [_rng.gauss(0, 1) for _ in range(DIMENSIONS)]
        length = sum(one * one for one in drawn) ** 0.5
        made.append(array("f", [one / length for one in drawn]).tobytes())
    return made


@functools.cache
def lists() -> list[list[float]]:
    """The same as lists."""
    return [array("f", one).tolist() for one in vectors()]


# What the providers answer. What tells requests apart is at their ends.


def reply(prompt: str) -> str:
    """A chat provider's answer: to a rewrite, a judge, or a prompt."""
    number = zlib.crc32(prompt[-80:].encode()) % _REPLIES
    if prompt.startswith("rewrite"):
        return QUESTIONS[number]
    if prompt.startswith("judge"):
        return f"grounded: {number % 7 != 0}"
    return REPLIES[number]


def vector_of(text: str) -> int:
    """Which vector an embedding provider answers with."""
    return zlib.crc32(text.encode()) % VECTORS


def first_of(vector: bytes | list[float]) -> int:
    """What a search is asked with in place of a whole vector, so that what is found hangs on it."""
    return vector[0] if isinstance(vector, bytes) else int(vector[0] * 1000)


def found(query: str, first: int) -> list[str]:
    """A search provider's answer."""
    return [DOCUMENTS[(len(query) * 7 + first + place * 31) % len(DOCUMENTS)] for place in range(3)]


def scores(query: str, count: int) -> list[float]:
    """A scoring provider's answer."""
    return [((len(query) + place) * 37 % 100) / 100 for place in range(count)]


# What the steps do with the answers.


def ranked(hits: list[str], by: list[float]) -> list[str]:
    """The hits, lowest score first."""
    return [hit for _, hit in sorted(zip(by, hits, strict=True))]


def rewrite_prompt(number: int, text: str) -> str:
    """What `rewrite` asks."""
    return f"rewrite {number} {text}"


def answer_prompt(number: int, text: str, hits: list[str]) -> str:
    """What `generate` asks."""
    return "\n".join([POLICY, *hits, text, str(number)])


def judge_prompt(text: str, answer: str, cited: list[int]) -> str:
    """What `judge` asks."""
    return f"judge {text} {answer} {cited}"


def citations(answer: str, hits: list[str]) -> list[int]:
    """Which hits an answer cites."""
    return [place for place in range(len(hits)) if f"[{place}]" in answer]


# The same without any system: what is subtracted from every figure.


async def _complete(prompt: str) -> str:
    return reply(prompt)


async def _embed(text: str, *, as_list: bool) -> bytes | list[float]:
    return lists()[vector_of(text)] if as_list else vectors()[vector_of(text)]


async def _search(query: str, first: int) -> list[str]:
    return found(query, first)


async def _score(query: str, count: int) -> list[float]:
    return scores(query, count)


async def _rewrite(one: Turn) -> str:
    return await _complete(rewrite_prompt(one.number, one.text))


async def _rerank(query: str, hits: list[str]) -> list[str]:
    return ranked(hits, await _score(query, len(hits)))


async def _retrieve(query: str, vector: bytes | list[float]) -> list[str]:
    return await _rerank(query, await _search(query, first_of(vector)))


async def _generate(one: Turn, hits: list[str]) -> str:
    return await _complete(answer_prompt(one.number, one.text, hits))


async def _judge(one: Turn, answer: str, cited: list[int]) -> bool:
    return (await _complete(judge_prompt(one.text, answer, cited))).endswith("True")


async def bare(one: Turn, *, as_list: bool) -> bool:
    """One turn."""
    query = await _rewrite(one)
    hits = await _retrieve(query, await _embed(query, as_list=as_list))
    answer = await _generate(one, hits)
    return await _judge(one, answer, citations(answer, hits))
