"""The one table of names: what storage holds, and what each dialect calls it.

Storage holds the OpenTelemetry GenAI names where there are any, and names of the same style where there are none. A dialect is a
column; a name that a column leaves out is the stored one.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class SpanName(NamedTuple):
    """What a kind of step is called."""

    chapter: str
    """The span's name in the JSON of `kitchenlog show --json`."""
    span_kind: str
    """OpenTelemetry's SpanKind."""


STEP_KIND: Final = "step.kind"
"""The stored attribute that says which row of `SPANS` a span is."""

ROOT_KIND: Final = "SERVER"
OWN_STEP_KIND: Final = "INTERNAL"
"""Of steps that are none of the table's."""

SPANS: Final[dict[str, SpanName]] = {
    "rewrite": SpanName("llm.query_rewrite", "CLIENT"),
    "embed": SpanName("vector.embed", "CLIENT"),
    "retrieve": SpanName("vector.retrieve", "CLIENT"),
    "rerank": SpanName("rerank.cross_encoder", "CLIENT"),
    "generate": SpanName("llm.generate", "CLIENT"),
    "cite": SpanName("tool.citation_check", "INTERNAL"),
    "judge": SpanName("llm.judge.policy_correct", "CLIENT"),
}

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "rewrite": (
        "gen_ai.system", "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.cost_usd",
        "input.preview", "output",
    ),
    "embed": ("gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.cost_usd", "vector.dim"),
    "retrieve": ("vectordb.system", "vectordb.index", "retrieval.k", "retrieval.doc_ids", "retrieval.scores"),
    "rerank": ("rerank.model", "rerank.top1_id", "rerank.top1_score", "rerank.changed_top1"),
    "generate": (
        "gen_ai.system", "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.cost_usd",
        "prompt.system_tokens", "prompt.retrieval_tokens", "prompt.user_tokens", "prompt.tool_tokens", "prompt.composition_hash",
    ),
    "cite": ("citation.claims_extracted", "citation.claims_supported", "citation.unsupported"),
    "judge": ("gen_ai.request.model", "judge.rubric_version", "judge.score", "judge.label", "judge.rationale"),
}  # fmt: skip
"""What a span of each kind carries where its work was done: the span contract."""

ATTRIBUTES: Final[dict[str, str]] = {
    "outcome.csat": "outcome.csat_response",
}
"""Stored name -> the chapter's, where they differ."""

ROOT_ATTRIBUTES: Final = ("http.route", "outcome.")
"""Attributes of the trace, by their beginnings, that the chapter's JSON has on the root span."""
