"""Whether a document supports a claim, without a language model: what it counts, what it names, whether it denies.

A claim is held against every sentence of the documents, and against the halves of a sentence that turns with `but` or a
semicolon. Four tests:

- **Quantities.** Each number of the claim stands in the sentence with the same unit, in figures or in words, and on the same
  side: `after 30 days`, `more than 30 days` and `30 days or more` are over, every other 30 days is not. Hours, days and weeks
  are one unit, and so are months and years, rupees and paise; business days are not days. A number without a unit agrees with
  any. Of numbers without a unit, order numbers and the like, and words such as `one of`, are left out.
- **Names.** Each word of a named clause, policy or the like (`the courtesy clause`) stands in the document, title or text. A
  document that has them all in its title comes before the others.
- **Nearness.** The cosine of the two sentences' embeddings reaches the threshold.
- **Polarity.** Of the sentences that pass the other tests the nearest decides: where either of the two denies (`not`, `no`,
  `without`, `refuse`, `free`, ...) both do, except that being over and denying undo each other: `no refund after 30 days` says
  what `a refund within 30 days` says.

It knows nothing of who does what: a sentence of the same subject and numbers that says something else passes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs

import runtime
from steps.hybrid import Document, Encoder, content_digest
from steps.installed import load
from steps.quantities import Quantity, quantities, words
from steps.sentences import sentences
from steps.values import Support

_DENIALS: Final = re.compile(
    r"no|not|never|none|nor|neither|nobody|nothing|nowhere|cannot|without|unable|ineligible|"
    r"unavailable|impossible|prohibited|forbidden|refuse|refuses|refused|reject|rejects|rejected|deny|"
    r"denies|denied|decline|declines|declined|exclude|excludes|excluded|excluding|except|non|free"
)
_NO_DENIALS: Final = re.compile(
    r"\b(?:not only|no doubt|whether or not|feel free|(?:no|not) (?:more|later|longer|less|fewer) than)\b"
)
_TURN: Final = re.compile(r";\s+|,?\s+(?:but|however|although|whereas)\s+", re.IGNORECASE)
_FEWEST_WORDS: Final = 3
_NAMED: Final = re.compile(r"\b((?:[a-z]+[ -]){1,4})(?:clause|policy|terms|programme|program|scheme|guarantee)\b")
_NOT_NAMES: Final = re.compile(
    r"the|a|an|this|that|our|your|their|its|any|each|every|under|of|in|by|per|to|with|and|or|"
    r"is|are|was|as|for|on|from|shop|store|current|new|same|following|above|relevant|applicable|see|"
    r"which"
)
_DIGITS: Final = 6


def denies(text: str) -> bool:
    """Whether a sentence says that something is not so."""
    told = words(_NO_DENIALS.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")))
    return any(_DENIALS.fullmatch(word) or word.endswith("n't") for word in told)


def named(text: str) -> tuple[str, ...]:
    """The clauses and policies that a sentence names, each by the words before `clause`, `policy` and the like."""
    found: list[str] = []
    for match in _NAMED.finditer(text.lower()):
        name: list[str] = []
        for word in reversed(re.split(r"[ -]", match[1].strip(" -"))):
            if _NOT_NAMES.fullmatch(word):
                break
            name.insert(0, word)
        if name:
            found.append(" ".join(name))
    return tuple(found)


@attrs.frozen
class _Said:
    """What is read out of a sentence, or of a half of one."""

    text: str
    counts: frozenset[Quantity]
    denies: bool

    @classmethod
    def of(cls, text: str) -> _Said:
        return cls(text, quantities(text), denies(text))

    def counts_as(self, claim: _Said) -> bool:
        """Whether each of the claim's quantities is here."""
        return all(any(mine.agrees(theirs) for mine in self.counts) for theirs in claim.counts)

    def leans_as(self, claim: _Said) -> bool:
        """Whether it affirms what the claim affirms."""
        if not claim.counts:
            return self.denies == claim.denies
        return all(
            any(mine.agrees(theirs) and (mine.over ^ self.denies) == (theirs.over ^ claim.denies) for mine in self.counts)
            for theirs in claim.counts
        )


@attrs.frozen
class _Sentence:
    """What a claim is held against."""

    said: _Said
    whole: str
    document: Document
    title: frozenset[str]
    """The words of the document's title."""
    vocabulary: frozenset[str]
    """The words of the document, title and text."""

    def names(self, names: Iterable[str]) -> bool:
        return all(set(name.split()) <= self.vocabulary for name in names)

    def bears(self, names: Iterable[str]) -> bool:
        """Whether it is from the document of these names, and not from one that mentions them."""
        return all(set(name.split()) <= self.title for name in names)


def _read(document: Document) -> Iterator[_Sentence]:
    title, text = frozenset(words(document.title.lower())), frozenset(words(document.text.lower()))
    for whole in sentences(document.text):
        halves = [half for half in _TURN.split(whole) if len(words(half)) >= _FEWEST_WORDS]
        for said in dict.fromkeys([whole, *halves]):
            yield _Sentence(_Said.of(said), whole, document, title, title | text)


@attrs.frozen
class _Evidence:
    """Sentences and their embeddings, one a row."""

    sentences: tuple[_Sentence, ...]
    vectors: Any

    @classmethod
    def of(cls, documents: Sequence[Document], encoder: Encoder) -> _Evidence:
        found = tuple(sentence for document in documents for sentence in _read(document))
        if not found:
            return cls((), None)
        return cls(found, load("numpy").stack([encoder.encode(sentence.said.text).vector for sentence in found]))


@attrs.define(eq=False)
class SentenceChecker:
    """A `Checker`: a claim is supported if a sentence of a document says it, by the tests that this module's text names.

    Args:
        documents: what may be rested on, the policies in force for instance.
        encoder: of claims and sentences.
        threshold: the least cosine for a claim with a quantity or a name; 0.55 let a window of n days pass for the right n
            only, of 1 to 60 (measured on a shop's policies, 2026-11-24).
        plain_threshold: the least cosine for any other claim, which has nothing but its meaning to be held against. Claims on
            subjects that those policies have nothing on came to 0.62 (measured 2026-11-25).
    """

    documents: tuple[Document, ...] = attrs.field(converter=tuple[Document, ...])
    encoder: Encoder
    threshold: float = 0.55
    plain_threshold: float = 0.65
    _building: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _evidence: _Evidence | None = attrs.field(default=None, init=False)

    def fingerprint(self) -> str:
        """The documents' digest, the thresholds and the encoder."""
        content = content_digest(self.documents)
        return f"sentence checker, documents {content}, {self.threshold}/{self.plain_threshold}, {self.encoder.fingerprint()}"

    @runtime.effect
    async def check(self, claims: tuple[str, ...]) -> tuple[Support, ...]:
        """One finding a claim.

        Raises:
            ModelMissing: the encoder is not installed.
        """
        return await anyio.to_thread.run_sync(self._check, claims)

    async def check_against(self, claim: str, passage: str) -> Support:
        """Hold a claim against one passage, which is no document of this checker. Not recorded.

        Raises:
            ModelMissing: the encoder is not installed.
        """
        return await anyio.to_thread.run_sync(self._check_against, claim, passage)

    def _check(self, claims: tuple[str, ...]) -> tuple[Support, ...]:
        with self._building:
            if self._evidence is None:
                self._evidence = _Evidence.of(self.documents, self.encoder)
        return tuple(self._support(claim, self._evidence) for claim in claims)

    def _check_against(self, claim: str, passage: str) -> Support:
        return self._support(claim, _Evidence.of([Document("passage", "", passage)], self.encoder))

    def _support(self, claim: str, evidence: _Evidence) -> Support:
        if not evidence.sentences:
            return Support(supported=False, reason="there is nothing to rest on")
        said, names = _Said.of(claim), named(claim)
        cosines = (evidence.vectors @ load("numpy").asarray(self.encoder.encode(claim).vector)).round(_DIGITS).tolist()
        ranked = sorted(zip(cosines, evidence.sentences, strict=True), key=lambda pair: -pair[0])
        least = self.threshold if said.counts or names else self.plain_threshold
        fitting = [(cosine, each) for cosine, each in ranked if each.said.counts_as(said) and each.names(names)]
        fitting.sort(key=lambda pair: (pair[0] < least, not pair[1].bears(names)))  # stable: else the nearest first
        cosine, nearest = (fitting or ranked)[0]
        reason = ""
        if not fitting:
            reason = _lacking(said, names, evidence.sentences)
        elif cosine < least:
            reason = f"no sentence that would fit is near enough: {cosine:.2f}, and {least} is needed"
        elif not nearest.said.leans_as(said):
            reason = "the nearest sentence says the opposite"
        return Support(not reason, None if reason else nearest.document.id, nearest.whole, cosine, reason)


def _lacking(claim: _Said, names: tuple[str, ...], read: Sequence[_Sentence]) -> str:
    for name in names:
        if not any(sentence.names([name]) for sentence in read):
            return f"nothing is named {name!r}"
    told = ", ".join(sorted(str(quantity) for quantity in claim.counts))
    where = f" where {', '.join(names)} is named" if names else ""
    return f"no sentence says {told}{where}"
