"""What passes between the standard steps. Every field is recorded, so every field can be asked for later."""

from __future__ import annotations

from typing import Literal

import msgspec

from runtime import Vector

Role = Literal["system", "user", "assistant"]
PartName = Literal["system", "retrieval", "user", "tool"]


class Turn(msgspec.Struct, frozen=True):
    """What a customer writes."""

    message: str
    customer: str = ""
    """Whom the order service and other tools look up. Keep names and addresses out of it."""
    tenant: str = ""


class Part(msgspec.Struct, frozen=True):
    """A named part of a prompt, so that a bill can be taken apart by where its tokens came from."""

    name: PartName
    text: str


class Message(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The parts, joined by blank lines."""
        return "\n\n".join(part.text for part in self.parts)


class ChatRequest(msgspec.Struct, frozen=True):
    """What a chat provider is asked."""

    messages: tuple[Message, ...]
    prefill: str = ""
    """The first words of the answer; the provider goes on from them."""
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    """In GBNF; the answer can only be one that it allows. A provider that cannot hold to one raises `ValueError`."""
    top_logprobs: int = 0
    """How many candidates to return for each token written; 0 for none."""


class Usage(msgspec.Struct, frozen=True):
    """What a paid call used."""

    input_tokens: int
    output_tokens: int = 0
    parts: dict[PartName, int] | None = None
    """Input tokens of each part, where the provider counts them."""
    cost_usd: float | None = None
    """None where no price is known; 0.0 for a local model."""
    price_date: str | None = None
    """ISO date of the price that the cost was computed with."""


class Candidate(msgspec.Struct, frozen=True):
    """A token that could have been written, with its natural logarithm of probability."""

    token: str
    logprob: float


class Completion(msgspec.Struct, frozen=True):
    """What a chat provider wrote, its prefill not included."""

    text: str
    system: str
    """Who serves the model: `local`, `openai`, ..."""
    model: str
    usage: Usage
    finish_reason: str
    response_id: str | None = None
    first_token_seconds: float | None = None
    """From the request to the first token; None where it was not measured."""
    logprobs: tuple[tuple[Candidate, ...], ...] | None = None
    """For each token written its candidates, likeliest first."""


class ChatChunk(msgspec.Struct, frozen=True):
    """A piece of a streamed answer. The last one has the `end`."""

    text: str
    end: Completion | None = None
    """The whole answer, in the last chunk only."""


class Embedding(msgspec.Struct, frozen=True):
    """A text as a vector."""

    vector: Vector
    system: str
    model: str
    usage: Usage


class Hit(msgspec.Struct, frozen=True):
    """A document that was found."""

    id: str
    text: str
    score: float
    title: str = ""
    version: str = ""
    status: str = ""
    """As the index holds it: `current`, `draft`, ..."""
    tenant: str = ""


class Found(msgspec.Struct, frozen=True):
    """What an index answered."""

    hits: tuple[Hit, ...]
    """Best first."""
    system: str
    index: str
    version: str
    """Of the index: it changes whenever any document does."""


class Scores(msgspec.Struct, frozen=True):
    """One score a text, in the order they were given; higher is better."""

    scores: tuple[float, ...]
    system: str
    model: str
    usage: Usage


class Draft(msgspec.Struct, frozen=True):
    """What `Generate` is to have written: a prompt of named parts, or a reply that needs no model."""

    parts: tuple[Part, ...] = ()
    prefill: str = ""
    grammar: str | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    reply: str | None = None
    """Where set, it is the answer and no model is called."""
    sources: tuple[str, ...] = ()
    """Ids of the documents that the answer may rest on."""
    facts: tuple[str, ...] = ()
    """Sentences of the answer that were written from a tool's record, not by a model."""


class Answer(msgspec.Struct, frozen=True):
    """What the customer is told."""

    text: str
    sources: tuple[str, ...] = ()
    """Ids of the documents it may rest on."""
    facts: tuple[str, ...] = ()
    """Sentences that were written from a tool's record."""
    model: str = ""
    """Empty where no model wrote it."""


class Support(msgspec.Struct, frozen=True):
    """Whether a claim is supported, and by what."""

    supported: bool
    source: str | None = None
    """Id of the document."""
    sentence: str = ""
    """The one that is nearest to the claim."""
    similarity: float = 0.0
    """Cosine, -1 to 1."""
    reason: str = ""
    """Why it is not supported."""


class Claim(msgspec.Struct, frozen=True):
    """A sentence of an answer that says something that can be checked."""

    text: str
    support: Support


class Cited(msgspec.Struct, frozen=True):
    """An answer's claims."""

    claims: tuple[Claim, ...]

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The claims that nothing supports."""
        return tuple(claim.text for claim in self.claims if not claim.support.supported)


class Verdict(msgspec.Struct, frozen=True):
    """What a judge says of an answer."""

    label: str
    score: int
    """1 for a pass, 0 for none."""
    probability: float
    """Of a pass, by the model's own token probabilities."""
    rationale: str
    rubric_version: str
