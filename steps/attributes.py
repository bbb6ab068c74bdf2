"""What the standard steps tell of themselves on their spans, in the vocabulary of `runtime.vocabulary`."""

from __future__ import annotations

from typing import Any, Final, Literal

from runtime import current
from steps.values import Completion, Usage

Kind = Literal["rewrite", "embed", "retrieve", "rerank", "generate", "cite", "judge"]

PREVIEW_CHARACTERS: Final = 80


def tell(kind: Kind, attributes: dict[str, Any]) -> None:
    """Set what kind of step the running span is, and its attributes."""
    current().attributes.update({"step.kind": kind, **attributes})


def preview(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW_CHARACTERS else f"{line[: PREVIEW_CHARACTERS - 1]}…"


def used(system: str, model: str, usage: Usage) -> dict[str, Any]:
    """What a call of a model tells."""
    told: dict[str, Any] = {
        "gen_ai.system": system,
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
    }
    if usage.output_tokens:
        told["gen_ai.usage.output_tokens"] = usage.output_tokens
    if usage.cost_usd is not None:
        told["gen_ai.cost_usd"] = usage.cost_usd
    if usage.price_date is not None:
        told["gen_ai.price.date"] = usage.price_date
    return told


def completed(completion: Completion) -> dict[str, Any]:
    """What a chat call tells."""
    told = used(completion.system, completion.model, completion.usage)
    if completion.response_id is not None:
        told["gen_ai.response.id"] = completion.response_id
    if completion.first_token_seconds is not None:
        told["gen_ai.response.time_to_first_chunk"] = completion.first_token_seconds
    return told
