"""Rerank: hits in a better order."""

from __future__ import annotations

import attrs
import msgspec

from runtime import step
from steps.attributes import tell, used
from steps.providers import Scorer, provides
from steps.values import Hit


@attrs.frozen
class Rerank:
    """Order hits by how well a scorer says that they answer the query.

    Args:
        scorer: scores their texts.
        keep: at most so many; None for all.
    """

    scorer: Scorer = attrs.field(validator=provides("score"))
    keep: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))

    @step
    async def __call__(self, query: str, hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
        """Best first, with the scorer's scores; hits of one score keep their order."""
        return await self.order(query, hits)

    async def order(self, query: str, hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
        """The same for a step that does more than this one: without a span of its own."""
        if not hits:
            tell("rerank", {"rerank.changed_top1": False})
            return ()
        scored = await self.scorer.score(query, tuple(hit.text for hit in hits))
        if len(scored.scores) != len(hits):
            raise ValueError(f"{scored.model} gave {len(scored.scores)} scores for {len(hits)} texts: one is needed for each")
        order = sorted(range(len(hits)), key=lambda place: -scored.scores[place])[: self.keep]
        found = tuple(msgspec.structs.replace(hits[place], score=scored.scores[place]) for place in order)
        tell(
            "rerank",
            {
                **used(scored.system, scored.model, scored.usage),
                "rerank.model": scored.model,
                "rerank.top1_id": found[0].id,
                "rerank.top1_score": found[0].score,
                "rerank.changed_top1": found[0].id != hits[0].id,
            },
        )
        return found
