"""Judge: does an answer pass a rubric?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

import attrs

from runtime import step
from steps.attributes import completed, tell
from steps.providers import Chat, provides
from steps.values import Answer, Candidate, ChatRequest, Cited, Completion, Message, Part, Turn, Verdict

GRAMMAR: Final = 'root ::= "yes" | "no"'
_SAID: Final = re.compile(r"(yes|no)[.!,;]*(?:\s|$)")
CANDIDATES: Final = 20
"""How many candidates of the first token are asked for: yes and no are nearly always among them."""


@attrs.frozen
class Judge:
    """Ask a model whether an answer meets a rubric, and take its probability of `yes`.

    Args:
        llm: judges.
        rubric: one sentence that a good answer fits.
        rubric_version: names it.
        label: of a pass; a fail is `not_` and this.
        examples: answers with whether they pass.
        threshold: the least probability of a pass, 0 to 1.
        heeds_citations: whether an unsupported claim fails the answer whatever the model says. A rubric that does not ask for
            support is blind to it otherwise.
        grammar: holds the model to yes or no; None for a provider that takes no grammar.
    """

    llm: Chat = attrs.field(validator=provides("complete"))
    rubric: str
    rubric_version: str = "v1"
    label: str = "policy_correct"
    examples: tuple[tuple[str, bool], ...] = ()
    threshold: float = 0.5
    heeds_citations: bool = False
    grammar: str | None = GRAMMAR

    @step
    async def __call__(self, turn: Turn, answer: Answer, cited: Cited) -> Verdict:
        """The verdict."""
        shots = [
            message
            for text, passes in self.examples
            for message in (self._question(text), Message("assistant", (Part("user", "yes" if passes else "no"),)))
        ]
        system = Message("system", (Part("system", "You answer yes or no."),))
        request = ChatRequest(
            (system, *shots, self._question(answer.text)), max_tokens=2, grammar=self.grammar, top_logprobs=CANDIDATES
        )
        written = await self.llm.complete(request)
        probability = probability_of_yes(written)
        unsupported = cited.unsupported if self.heeds_citations else ()
        passed = probability > self.threshold and not unsupported
        rationale = f"P(yes) {probability:.2f}: {self.rubric}"
        if unsupported:
            rationale = f"unsupported: {'; '.join(unsupported)}"
        verdict = Verdict(self.label if passed else f"not_{self.label}", int(passed), probability, rationale, self.rubric_version)
        tell(
            "judge",
            {
                **completed(written),
                "judge.rubric_version": self.rubric_version,
                "judge.score": verdict.score,
                "judge.label": verdict.label,
                "judge.rationale": rationale,
            },
        )
        return verdict

    def _question(self, answer: str) -> Message:
        return Message("user", (Part("user", f"A good answer {self.rubric}.\nAnswer: {answer}\nIs it a good answer?"),))


def probability_of_yes(written: Completion) -> float:
    """P(yes) / (P(yes) + P(no)) of the first token; without token probabilities, 1 or 0 by the text.

    Raises:
        ValueError: the model said neither.
    """
    first = written.logprobs[0] if written.logprobs else ()
    yes, no = _mass(first, "yes"), _mass(first, "no")
    if yes + no > 0:
        return yes / (yes + no)
    said = _SAID.match(written.text.strip().lower())
    if said is not None:
        return float(said[1] == "yes")
    raise ValueError(f"the judge said neither yes nor no: {written.text!r}")


def _mass(candidates: Iterable[Candidate], word: str) -> float:
    return sum(math.exp(one.logprob) for one in candidates if one.token.strip().lower() == word)
