"""Policy passages and a BM25 index over them."""

from __future__ import annotations

import hashlib
import importlib
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
import msgspec

import runtime

POLICIES: Final = Path(__file__).parent / "policies"
_FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_STATUS: Final = re.compile(r"^status:\s*(\w+)", re.MULTILINE)
_SCORE_DIGITS: Final = 4


class Passage(msgspec.Struct, frozen=True):
    """A paragraph of a policy."""

    id: str
    title: str
    text: str
    status: str = "current"


class Hit(msgspec.Struct, frozen=True):
    """A passage that was found."""

    passage: Passage
    score: float


def split(name: str, markdown: str) -> list[Passage]:
    """The paragraphs and list items of a Markdown text, each under the headings that lead to it.

    Args:
        name: of the text; a passage's id is this and its number.
        markdown: front matter may name a `status`; it is taken off the text.
    """
    front = _FRONT_MATTER.match(markdown)
    status = _STATUS.search(front[1]) if front else None
    body = markdown[front.end() :] if front else markdown
    headings: list[str] = []
    passages: list[Passage] = []
    for block in _blocks(body):
        if block.startswith("#"):
            marks, _, heading = block.partition(" ")
            headings[len(marks) - 1 :] = [heading]
            continue
        title, text = " / ".join(headings), block.removeprefix("- ")
        passages.append(Passage(f"{name}-{len(passages) + 1}", title, text, status[1] if status else "current"))
    return passages


def _blocks(body: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n|\n(?=- )", body):
        text = " ".join(block.split())
        if text:
            yield text


@attrs.define(eq=False)
class Passages:
    """An index over passages, built at the first search.

    Args:
        passages: what can be found.
    """

    passages: tuple[Passage, ...] = attrs.field(converter=tuple[Passage, ...])
    _building: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _ranker: Any = attrs.field(default=None, init=False)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Passages:
        """An index over Markdown files, in the order of their names."""
        return cls(passage for path in sorted(paths) for passage in split(path.stem, path.read_text(encoding="utf-8")))

    def fingerprint(self) -> str:
        """The digest of the passages."""
        return hashlib.blake2b(msgspec.msgpack.encode(self.passages), digest_size=16).hexdigest()

    @runtime.effect
    async def search(self, query: str, k: int) -> list[Hit]:
        """The `k` passages nearest to a query, best first."""
        return await anyio.to_thread.run_sync(self._search, query, k)

    def _search(self, query: str, k: int) -> list[Hit]:
        bm25s: Any = importlib.import_module("bm25s")
        with self._building:
            if self._ranker is None:
                ranker = bm25s.BM25()
                texts = [f"{passage.title} {passage.text}" for passage in self.passages]
                ranker.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
                self._ranker = ranker
        words = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        if not words:
            return []
        scores = [round(float(score), _SCORE_DIGITS) for score in self._ranker.get_scores(words)]
        best = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]
        return [Hit(self.passages[place], scores[place]) for place in best]
