"""Retrieve: the documents for a query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from runtime import Vector, step
from steps.attributes import tell
from steps.providers import Index, provides
from steps.values import Hit

Reranking = Callable[[str, tuple[Hit, ...]], Awaitable[tuple[Hit, ...]]]
"""A step from a query and hits to hits."""


@attrs.frozen
class Retrieve:
    """Search an index.

    Args:
        index: what is searched.
        k: how many documents.
        tenant: whose documents may be found.
        rerank: a nested step that puts them in a better order; None leaves the index's.
    """

    index: Index = attrs.field(validator=provides("search"))
    k: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    tenant: str = ""
    rerank: Reranking | None = None

    @step
    async def __call__(self, query: str, vector: Vector) -> tuple[Hit, ...]:
        """The hits, best first."""
        found = await self.index.search(query, vector, self.k, self.tenant)
        tell(
            "retrieve",
            {
                "vectordb.system": found.system,
                "vectordb.index": found.index,
                "vectordb.version": found.version,
                "retrieval.k": self.k,
                "retrieval.doc_ids": [hit.id for hit in found.hits],
                "retrieval.scores": [hit.score for hit in found.hits],
                "retrieval.versions": [hit.version for hit in found.hits],
                "retrieval.tenants": [hit.tenant for hit in found.hits],
            },
        )
        return found.hits if self.rerank is None else await self.rerank(query, found.hits)
