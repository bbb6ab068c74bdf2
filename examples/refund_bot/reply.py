"""What the bot says: a template with two gaps for refunds of late orders, the best sentence of a policy for all else.

A model of 135 million parameters cannot be trusted with a whole answer. What it is asked for is what it can do: read how long
the refund window is, and under which clause, from the passage nearest to its pen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

import attrs

from examples.refund_bot.orders import Orders, meant
from steps import Draft, Hit, Part, Turn
from steps.prompt import documents
from steps.sentences import sentences

_CLAUSE: Final = re.compile(r"\b([A-Z][a-z]+(?: [a-z]+)*) clause:")
_WINDOW: Final = (
    'root ::= " " days " days from delivery. The refund is processed under the " name " clause."\ndays ::= [1-9] [0-9]?\n'
)
LATE_DAYS: Final = 3
"""An order that comes more days than this after the promised date is late: the shop's own rule."""
_ALIKE: Final = 0.8
"""The least `difflib` ratio at which a word counts as a misspelt `refund`."""
_STEM: Final = 5
_EVERYDAY: Final = re.compile(
    "about|after|again|also|been|could|does|from|have|here|into|just|like|more|much|need|over|please|some|than|thanks?|that|their|"
    "them|then|there|they|this|very|want|were|what|when|where|which|will|with|would|your"
)


@attrs.frozen
class Quotation:
    """Quote the policy, whatever is asked: how the bot was before the experiment."""

    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Draft:
        """The best sentence."""
        return quote(turn.message, hits)


@attrs.frozen
class RefundReply:
    """Compose the prompt for one turn.

    Args:
        orders: the order service.
        system: who the model is.
        best_last: whether the best document stands last, nearest to the question: a small model believes what it read last.
    """

    orders: Orders
    system: str = "You are the refund assistant of a shop. Answer from the policies below."
    best_last: bool = True

    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Draft:
        """The template where a refund for a late order is asked for; else a quotation, or that the bot does not know."""
        order = meant(turn.message, await self.orders.of_customer(turn.customer))
        if not asks_for_refund(turn.message) or not hits or order is None or (order.days_late or 0) <= LATE_DAYS:
            return quote(turn.message, hits)
        fact = f"You are eligible for a refund of {order.price} on order {order.id}."
        parts = (
            Part("system", self.system),
            documents(hits, best_last=self.best_last),
            Part("tool", order.told()),
            Part("user", f"Customer: {turn.message}"),
        )
        return Draft(
            parts,
            f"{fact} Our refund window is",
            grammar(hits),
            max_tokens=32,
            sources=tuple(hit.id for hit in hits),
            facts=(fact,),
        )


def grammar(hits: Sequence[Hit]) -> str:
    """The two gaps, in GBNF: a number of days, and the name of a clause that stands at the head of a document that was read."""
    names = sorted({found.lower() for hit in hits for found in _CLAUSE.findall(hit.text)}) or ["refund"]
    return f"{_WINDOW}name ::= {' | '.join(f'{chr(34)}{name}{chr(34)}' for name in names)}\n"


def asks_for_refund(message: str) -> bool:
    """Whether a message is about a refund, misspelt or not."""
    text = message.lower()
    if re.search(r"money back|reimburse", text):
        return True
    words = re.findall(r"[a-z]+", text)
    return any(difflib.SequenceMatcher(None, word.removesuffix("s"), "refund").ratio() >= _ALIKE for word in words)


def quote(message: str, hits: Sequence[Hit]) -> Draft:
    """The sentence of the best current policy that shares most words with a message, with the policy's id."""
    current = [hit for hit in hits if hit.status == "current"]
    if not current:
        return Draft(reply="I am sorry, I do not know. A colleague will write to you.")
    best, wanted = current[0], stems(message)
    told = max(sentences(best.text), key=lambda sentence: len(wanted & stems(sentence)))
    return Draft(reply=f"{told} ({best.id})", sources=(best.id,))


def stems(text: str) -> set[str]:
    """The first letters of the words that say something."""
    return {word[:_STEM] for word in re.findall(r"[a-z]{4,}", text.lower()) if not _EVERYDAY.fullmatch(word)}
