"""The one table of names: what storage holds, and what each dialect calls it.

Storage holds the OpenTelemetry GenAI names where there are any, and names of the same style where there are none. A dialect is a
column; a name that a column leaves out is the stored one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from storage.rows.columns import Declared


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

COLUMNS: Final[dict[str, Declared]] = {
    "step.kind": Declared("step_kind", "id"),
    "gen_ai.system": Declared("system", "id"),
    "gen_ai.request.model": Declared("model", "id"),
    "gen_ai.response.id": Declared("response_id", "id"),
    "gen_ai.response.time_to_first_chunk": Declared("time_to_first_chunk", "number"),
    "gen_ai.usage.input_tokens": Declared("input_tokens", "integer"),
    "gen_ai.usage.output_tokens": Declared("output_tokens", "integer"),
    "gen_ai.usage.cache_read.input_tokens": Declared("cache_read_tokens", "integer"),
    "gen_ai.cost_usd": Declared("cost_usd", "number"),
    "gen_ai.price.date": Declared("price_date", "id"),
    "http.response.status_code": Declared("http_status", "integer"),
    "vector.dim": Declared("vector_dim", "integer"),
    "vectordb.system": Declared("vectordb_system", "id"),
    "vectordb.index": Declared("vectordb_index", "id"),
    "vectordb.version": Declared("vectordb_version", "id"),
    "retrieval.k": Declared("retrieval_k", "integer"),
    "retrieval.doc_ids": Declared("retrieval_doc_ids", "ids"),
    "retrieval.scores": Declared("retrieval_scores", "numbers"),
    "retrieval.versions": Declared("retrieval_versions", "ids"),
    "retrieval.tenants": Declared("retrieval_tenants", "ids"),
    "rerank.model": Declared("rerank_model", "id"),
    "rerank.top1_id": Declared("rerank_top1_id", "id"),
    "rerank.top1_score": Declared("rerank_top1_score", "number"),
    "rerank.changed_top1": Declared("rerank_changed_top1", "flag"),
    "generate.model_called": Declared("generate_model_called", "flag"),
    "prompt.system_tokens": Declared("prompt_system_tokens", "integer"),
    "prompt.retrieval_tokens": Declared("prompt_retrieval_tokens", "integer"),
    "prompt.user_tokens": Declared("prompt_user_tokens", "integer"),
    "prompt.tool_tokens": Declared("prompt_tool_tokens", "integer"),
    "prompt.tokens_estimated": Declared("prompt_tokens_estimated", "flag"),
    "citation.claims_extracted": Declared("citation_claims_extracted", "integer"),
    "citation.claims_supported": Declared("citation_claims_supported", "integer"),
    "citation.sources": Declared("citation_sources", "ids"),
    "judge.rubric_version": Declared("judge_rubric_version", "id"),
    "judge.score": Declared("judge_score", "number"),
    "judge.label": Declared("judge_label", "id"),
}
"""Attributes of spans and effects that are columns of rows. Text is none: no preview, output, claim or rationale."""

ATTRIBUTES: Final[dict[str, str]] = {
    "outcome.csat": "outcome.csat_response",
}
"""Stored name -> the chapter's, where they differ."""

ROOT_ATTRIBUTES: Final = ("http.route", "outcome.")
"""Attributes of the trace, by their beginnings, that the chapter's JSON has on the root span."""
