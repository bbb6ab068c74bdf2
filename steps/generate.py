"""Generate: the answer to a customer."""

from __future__ import annotations

import attrs

from runtime import step
from steps.attributes import completed, tell
from steps.prompt import Compose, request_of, tokens_of_parts
from steps.providers import Chat, provides
from steps.values import Answer, Hit, Turn


@attrs.frozen
class Generate:
    """Have a model write the answer.

    Args:
        llm: writes it.
        compose: makes the prompt of named parts, or a reply that needs no model. `steps.prompt.FromDocuments` is one.
    """

    llm: Chat = attrs.field(validator=provides("complete"))
    compose: Compose

    @step
    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Answer:
        """The answer, with the words that it was given to begin with."""
        draft = await self.compose(turn, hits)
        if draft.reply is not None:
            tell("generate", {"generate.model_called": False})
            return Answer(draft.reply, draft.sources, draft.facts)
        written = await self.llm.complete(request_of(draft))
        tell("generate", {**completed(written), **tokens_of_parts(draft.parts, written.usage)})
        return Answer(f"{draft.prefill}{written.text}".strip(), draft.sources, draft.facts, written.model)
