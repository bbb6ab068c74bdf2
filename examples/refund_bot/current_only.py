"""The repair, in a file of its own: a rerank that drops what is not in force before it scores."""

from __future__ import annotations

import attrs

from runtime import step
from steps import Hit, Rerank


@attrs.frozen
class CurrentOnly:
    """Rerank the hits whose status is current; the others are dropped.

    Args:
        rerank: orders what is left.
    """

    rerank: Rerank

    @step
    async def __call__(self, query: str, hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
        """Best first."""
        current = tuple(hit for hit in hits if hit.status == "current")
        return await self.rerank.order(query, current)
