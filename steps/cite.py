"""Cite: which claims of an answer the policies in force support."""

from __future__ import annotations

import re
from typing import Final

import attrs

from runtime import step
from steps.attributes import tell
from steps.providers import Checker, provides
from steps.sentences import sentences
from steps.values import Answer, Cited, Claim, Hit, Support

TOOL: Final = "tool"
"""The source of a sentence that was written from a tool's record."""

_CHECKABLE: Final = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred)\b"
    r"|\b(?:clause|policy|guarantee|warranty)\b",
    re.IGNORECASE,
)


def claims_of(answer: Answer) -> tuple[str, ...]:
    """The sentences that say something that can be checked: a number, or the name of a rule. A source's own id is none."""
    named = {f"({source})" for source in answer.sources}
    return tuple(one for one in sentences(answer.text) if one not in named and _CHECKABLE.search(one))


@attrs.frozen
class Cite:
    """Check the claims of an answer.

    Args:
        checker: knows the policies in force.
    """

    checker: Checker = attrs.field(validator=provides("check"))

    @step
    async def __call__(self, answer: Answer, hits: tuple[Hit, ...]) -> Cited:
        """Every claim with what supports it. The hits are what the answer was written from, not what is in force."""
        claims = claims_of(answer)
        asked = tuple(claim for claim in claims if claim not in answer.facts)
        found = dict(zip(asked, await self.checker.check(asked), strict=True)) if asked else {}
        cited = Cited(tuple(Claim(claim, found.get(claim) or Support(supported=True, source=TOOL)) for claim in claims))
        tell(
            "cite",
            {
                "citation.claims_extracted": len(claims),
                "citation.claims_supported": len(claims) - len(cited.unsupported),
                "citation.unsupported": list(cited.unsupported),
                "citation.sources": sorted({claim.support.source for claim in cited.claims if claim.support.source is not None}),
            },
        )
        return cited
