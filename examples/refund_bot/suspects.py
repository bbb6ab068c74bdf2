"""Which steps of a turn to suspect, from what the trace tells of them. A table as on an incident review."""

from __future__ import annotations

from typing import Any

import attrs

import runtime


@attrs.frozen
class Suspect:
    """A step that did something that asks for a look."""

    address: str
    signal: str
    evidence: str


def suspects(recording: runtime.Recording) -> tuple[Suspect, ...]:
    """In the order of the trace."""
    found: list[Suspect] = []
    told = {address: span.attributes for address, span in recording.spans.items()}
    hits: list[dict[str, Any]] = recording.spans["retrieve"].result.value or []
    statuses = {hit["id"]: hit["status"] for hit in hits}
    ids = told["retrieve"]["retrieval.doc_ids"]
    for place, one in enumerate(ids, 1):
        if statuses.get(one, "current") != "current":
            found.append(Suspect("retrieve", f"served a {statuses[one]} as a candidate", f"retrieval.doc_ids[{place}] = {one}"))
    rerank = told["retrieve/rerank"]
    top = rerank.get("rerank.top1_id")
    if statuses.get(top, "current") != "current":
        verb = "promoted" if rerank["rerank.changed_top1"] else "kept"
        changed = str(rerank["rerank.changed_top1"]).lower()
        found.append(
            Suspect("retrieve/rerank", f"{verb} the {statuses[top]} on top", f"rerank.top1_id = {top}, changed_top1 = {changed}")
        )
    generate = told["generate"]
    read, whole = generate.get("prompt.retrieval_tokens"), generate.get("gen_ai.usage.input_tokens")
    if found and read is not None:
        found.append(Suspect("generate", "read it, the best document last", f"{read} of {whole} prompt tokens were retrieval"))
    unsupported = told["cite"].get("citation.unsupported") or []
    if unsupported:
        found.append(Suspect("cite", "flagged a claim", f"citation.unsupported = {unsupported[0]}"))
        if told["judge"].get("judge.score") == 1:
            found.append(Suspect("judge", "passed the answer all the same", "judge.score = 1: its rubric asks for no support"))
    return tuple(found)


def is_the_failure(recording: runtime.Recording) -> bool:
    """The draft on top, a window of 14 days in the answer, the claim flagged, the judge content."""
    seen = {suspect.address for suspect in suspects(recording)}
    answer = recording.spans["generate"].result.value
    return {"retrieve/rerank", "cite", "judge"} <= seen and "14 days" in answer["text"]


def is_mended(recording: runtime.Recording) -> bool:
    """A window of 30 days and no claim flagged."""
    answer = recording.spans["generate"].result.value
    return "30 days" in answer["text"] and not recording.spans["cite"].attributes["citation.unsupported"]
