"""Rewrite: a customer's words as a search query."""

from __future__ import annotations

from typing import Final

import attrs

from runtime import step
from steps.attributes import completed, preview, tell
from steps.providers import Chat, provides
from steps.values import ChatRequest, Message, Part, Role, Turn

INSTRUCTIONS: Final = "Name the topics of the customer's message as search words."


@attrs.frozen
class Rewrite:
    """Add a model's search words to the message.

    Args:
        llm: writes them.
        instructions: what it is told.
        examples: messages with the words that should be written for them.
        grammar: in GBNF, the words it may write; None for any.
        max_tokens: the most it may write.
        keeps_message: whether the query begins with the message itself. A weak rewrite then adds and cannot take away.
    """

    llm: Chat = attrs.field(validator=provides("complete"))
    instructions: str = INSTRUCTIONS
    examples: tuple[tuple[str, str], ...] = ()
    grammar: str | None = None
    max_tokens: int = 24
    keeps_message: bool = True

    @step
    async def __call__(self, turn: Turn) -> str:
        """The query."""
        shots = [message for asked, words in self.examples for message in (_said("user", asked), _said("assistant", words))]
        request = ChatRequest(
            (Message("system", (Part("system", self.instructions),)), *shots, _said("user", turn.message)),
            max_tokens=self.max_tokens,
            grammar=self.grammar,
        )
        written = await self.llm.complete(request)
        words = " ".join(written.text.split())
        query = f"{turn.message} {words}" if self.keeps_message else words
        tell("rewrite", {**completed(written), "input.preview": preview(turn.message), "output": words})
        return query


def _said(role: Role, text: str) -> Message:
    return Message(role, (Part("user", text),))
