"""Hybrid search: words by BM25 and meaning by embeddings, half and half. For indexes that fit in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import attrs
import msgspec

import runtime
from runtime import Vector
from steps.attributes import used
from steps.installed import load
from steps.sentences import sentences
from steps.values import Embedding, Found, Hit, Scores, Usage

_WEIGHTS: Final = "0.5 BM25 (bm25s, Lucene's form, k1 1.5, b 0.75, English stop words) + 0.5 cosine"
_DIGITS: Final = 6
"""Scores are rounded to as many: what lies beyond differs between processors."""
_SENTENCES_KEPT: Final = 4096


class Encoder(Protocol):
    """An embedder's plain function, for texts that are embedded once for all runs. It is not recorded."""

    def fingerprint(self) -> str:
        """Model, version and settings."""
        ...

    def encode(self, text: str) -> Embedding:
        """One text, L2 normalised, in the thread that asks."""
        ...


class Document(msgspec.Struct, frozen=True):
    """A text that can be found and cited."""

    id: str
    title: str
    text: str
    version: str = ""
    status: str = ""
    """`current`, `draft`, ...: what the source says of it. Nothing here filters by it."""
    tenant: str = ""
    """Whose it is; empty for everybody's."""


def content_digest(documents: Sequence[Document], *settings: str) -> str:
    """16 hexadecimal digits that change with any document, whatever the order of the documents, and with any setting."""
    content = [sorted(documents, key=lambda document: document.id), settings]
    return hashlib.blake2b(msgspec.msgpack.encode(content), digest_size=8).hexdigest()


def _all_distinct(_: object, __: object, documents: Sequence[Document]) -> None:
    ids = [document.id for document in documents]
    if twice := {each for each in ids if ids.count(each) > 1}:
        raise ValueError(f"more than one document has the id {min(twice)!r}")


def _version(index: HybridIndex) -> str:
    return content_digest(index.documents, index.encoder.fingerprint(), _WEIGHTS)


@attrs.define(eq=False)
class HybridIndex:
    """An `Index` of documents: 0.5 x BM25 + 0.5 x cosine, each scaled to 0..1 over the documents that the tenant may see.

    It is built at the first live search. Of a document it reads what its encoder reads, so split long ones.

    Args:
        documents: what can be found.
        encoder: of the documents; the vectors that `search` is given have to be of the same model.
        name: of the index.

    Raises:
        ValueError: two documents have the same id.
    """

    documents: tuple[Document, ...] = attrs.field(converter=tuple[Document, ...], validator=_all_distinct)
    encoder: Encoder
    name: str = "documents"
    version: str = attrs.field(default=attrs.Factory(_version, takes_self=True), init=False)
    """Changes with any document and with the encoder."""
    _building: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _built: tuple[_Words, Any] | None = attrs.field(default=None, init=False)

    def fingerprint(self) -> str:
        """Name, version and how scores are made."""
        return f"hybrid index {self.name}, version {self.version}, {_WEIGHTS}, {self.encoder.fingerprint()}"

    @runtime.effect(snapshot=True)
    async def search(self, query: str, vector: Vector, k: int, tenant: str) -> Found:
        """The `k` best documents of the tenant and of everybody.

        Args:
            query: the words to look for.
            vector: the query's embedding.
            k: the most documents to return.
            tenant: who asks.

        Raises:
            ModelMissing: the encoder or bm25s is not installed.
            ValueError: the vector is not as long as the index's.
        """
        hits = await anyio.to_thread.run_sync(self._search, query, vector, k, tenant)
        return Found(hits, "local", self.name, self.version)

    def _search(self, query: str, vector: Vector, k: int, tenant: str) -> tuple[Hit, ...]:
        np = load("numpy")
        visible = [place for place, document in enumerate(self.documents) if document.tenant in {"", tenant}]
        if not visible:
            return ()
        words, vectors = self._build()
        if len(vector) != vectors.shape[1]:
            raise ValueError(f"the query's vector has {len(vector)} numbers and the index's have {vectors.shape[1]}")
        lexical = np.array(words.scores(query))[visible]
        semantic = vectors[visible] @ np.asarray(vector)
        scores = (0.5 * _scaled(lexical) + 0.5 * _scaled(semantic)).round(_DIGITS).tolist()
        found = [_hit(self.documents[place], score) for place, score in zip(visible, scores, strict=True)]
        return tuple(sorted(found, key=lambda hit: (-hit.score, hit.id))[: max(k, 0)])

    def _build(self) -> tuple[_Words, Any]:
        with self._building:
            if self._built is None:
                texts = [_searched(document) for document in self.documents]
                self._built = _Words.of(texts), load("numpy").stack([self.encoder.encode(text).vector for text in texts])
            return self._built


def _collected(scorer: FusionScorer) -> str:
    return content_digest(scorer.documents)


def _keeping(scorer: FusionScorer) -> Callable[[str], Embedding]:
    return lru_cache(_SENTENCES_KEPT)(scorer.encoder.encode)


@attrs.define(eq=False)
class FusionScorer:
    """A `Scorer`: 0.5 x BM25 as a share of the best text's + 0.5 x the cosine of the sentence nearest to the query.

    Args:
        encoder: of the query and the sentences. The sentences used last are kept, so texts of an index cost nothing again;
            the usage counts them all the same.
        documents: the collection that the texts come from, which tells BM25 a rare word from a common one. Without it a word
            that the few texts share counts for little, though it may be what sets them apart from all others.
    """

    encoder: Encoder
    documents: tuple[Document, ...] = attrs.field(default=(), converter=tuple[Document, ...])
    _collection: str = attrs.field(default=attrs.Factory(_collected, takes_self=True), init=False)
    _encode: Callable[[str], Embedding] = attrs.field(default=attrs.Factory(_keeping, takes_self=True), init=False)

    def fingerprint(self) -> str:
        """How scores are made, and the encoder."""
        settings = f"{_WEIGHTS} of the nearest sentence, collection {self._collection}"
        return f"fusion scorer, {settings}, {self.encoder.fingerprint()}"

    @runtime.effect
    async def score(self, query: str, texts: tuple[str, ...]) -> Scores:
        """One score a text, at most 1.

        Raises:
            ModelMissing: the encoder or bm25s is not installed.
        """
        scores = await anyio.to_thread.run_sync(self._score, query, texts)
        with suppress(runtime.RuntimeMisuse):  # called outside a run: nothing is recorded
            runtime.current().attributes.update(used(scores.system, scores.model, scores.usage))
        return scores

    def _score(self, query: str, texts: tuple[str, ...]) -> Scores:
        np = load("numpy")
        asked = self.encoder.encode(query)
        lexical = _Words.of([*texts, *map(_searched, self.documents)]).scores(query)[: len(texts)]
        best = max(lexical, default=0.0) or 1.0
        tokens = asked.usage.input_tokens
        scores: list[float] = []
        for words, text in zip(lexical, texts, strict=True):
            embedded = [self._encode(sentence) for sentence in sentences(text)]
            tokens += sum(each.usage.input_tokens for each in embedded)
            nearest = max((float(np.dot(each.vector, asked.vector)) for each in embedded), default=0.0)
            scores.append(round(0.5 * words / best + 0.5 * nearest, _DIGITS))
        return Scores(tuple(scores), "local", f"bm25s + {asked.model}", Usage(tokens, cost_usd=0.0))


@attrs.frozen
class _Words:
    """BM25 over texts."""

    size: int
    ranker: Any
    """None where the texts hold no word to look for."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Words:
        bm25s = load("bm25s")
        tokens = bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False) if texts else []
        if not any(tokens):
            return cls(len(texts), None)
        ranker = bm25s.BM25()
        ranker.index(tokens, show_progress=False)
        return cls(len(texts), ranker)

    def scores(self, query: str) -> list[float]:
        """One score a text, 0 where no word is shared."""
        words = load("bm25s").tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        known = [] if self.ranker is None else [word for word in words if word in self.ranker.vocab_dict]
        if self.ranker is None or not known:
            return [0.0] * self.size
        return [float(score) for score in self.ranker.get_scores(known)]


def _searched(document: Document) -> str:
    return f"{document.title}. {document.text}"


def _hit(found: Document, score: float) -> Hit:
    return Hit(found.id, found.text, score, found.title, found.version, found.status, found.tenant)


def _scaled(scores: Any) -> Any:
    """To 0..1; all 0 where they are all the same."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else scores * 0.0
