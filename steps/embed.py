"""Embed: a query as a vector."""

from __future__ import annotations

import attrs

from runtime import Vector, step
from steps.attributes import tell, used
from steps.providers import Embedder, provides


@attrs.frozen
class Embed:
    """Turn a text into a vector.

    Args:
        embedder: does it. The index has to hold vectors of the same model.
    """

    embedder: Embedder = attrs.field(validator=provides("embed"))

    @step
    async def __call__(self, query: str) -> Vector:
        """The vector."""
        made = await self.embedder.embed(query)
        tell("embed", {**used(made.system, made.model, made.usage), "vector.dim": len(made.vector)})
        return made.vector
