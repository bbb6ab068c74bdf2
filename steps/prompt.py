"""Prompts of named parts, and what each part costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs

from steps.values import ChatRequest, Draft, Hit, Message, Part, PartName, Turn, Usage

Compose = Callable[[Turn, tuple[Hit, ...]], Awaitable[Draft]]
"""What `Generate` is told to have written for a turn. It may call effects, to look up an order for instance."""

NAMES: Final[tuple[PartName, ...]] = ("system", "retrieval", "user", "tool")


@attrs.frozen
class FromDocuments:
    """Have the model answer from the documents that were found.

    Args:
        system: who the model is.
        best_last: whether the best document stands last, nearest to the question: a small model believes what it read last.
        max_tokens: the most it may write.
    """

    system: str
    best_last: bool = False
    max_tokens: int = 256

    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Draft:
        """The parts of the prompt."""
        parts = (Part("system", self.system), documents(hits, best_last=self.best_last), Part("user", turn.message))
        return Draft(parts, max_tokens=self.max_tokens, sources=tuple(hit.id for hit in hits))


def documents(hits: Sequence[Hit], *, best_last: bool) -> Part:
    """The texts of hits as one part."""
    ordered = reversed(hits) if best_last else hits
    return Part("retrieval", "\n\n".join(hit.text for hit in ordered))


def request_of(draft: Draft) -> ChatRequest:
    """The chat request of a draft: its system parts as the system message, the others in their order as the user's."""
    system = tuple(part for part in draft.parts if part.name == "system")
    rest = tuple(part for part in draft.parts if part.name != "system")
    messages = (*([Message("system", system)] if system else []), Message("user", rest))
    return ChatRequest(messages, draft.prefill, draft.max_tokens, stop=draft.stop, grammar=draft.grammar)


def tokens_of_parts(parts: Sequence[Part], usage: Usage) -> dict[str, Any]:
    """The attributes that say how many tokens each part took.

    Where the provider did not count them, the input tokens are apportioned by the parts' characters, and said to be estimated.
    """
    counted = usage.parts
    if counted is None:
        counted = apportion(
            {name: sum(len(part.text) for part in parts if part.name == name) for name in NAMES}, usage.input_tokens
        )
    told: dict[str, Any] = {f"prompt.{name}_tokens": counted.get(name, 0) for name in NAMES}
    if usage.parts is None:
        told["prompt.tokens_estimated"] = True
    return told


def apportion(weights: dict[PartName, int], total: int) -> dict[PartName, int]:
    """`total` shared out by weight in whole numbers that add up to it: Hamilton's method of largest remainders."""
    whole = sum(weights.values())
    if whole == 0:
        return weights
    shares: dict[PartName, int] = {name: total * weight // whole for name, weight in weights.items()}
    behind = sorted(weights, key=lambda name: (-(total * weights[name] % whole), NAMES.index(name)))
    for name in behind[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
