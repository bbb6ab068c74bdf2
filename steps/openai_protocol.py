"""What the OpenAI HTTP protocol says, as far as it is read here, and what is said of an answer that does not keep to it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


class UnexpectedResponse(RuntimeError):
    """Raised when a server's answer is not what the protocol says.

    Args:
        expected: what the protocol says.
        found: what came instead, with its place in the answer.
    """

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected {expected}, found: {found}")


class CachedTokens(msgspec.Struct):
    """Of the tokens read."""

    cached_tokens: int | None = None


class UsageBody(msgspec.Struct):
    """What a call used, in tokens."""

    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None


class TopLogprob(msgspec.Struct):
    """A token that could have been written."""

    token: str
    logprob: float


class TokenLogprobs(msgspec.Struct):
    """Of one token that was written."""

    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct):
    """Of a choice."""

    content: list[TokenLogprobs] | None = None


class MessageBody(msgspec.Struct):
    """What the assistant wrote; without content where it refused."""

    content: str | None
    refusal: str | None = None


class ChoiceBody(msgspec.Struct):
    """One answer."""

    message: MessageBody
    finish_reason: str
    logprobs: Logprobs | None = None


class ChatBody(msgspec.Struct):
    """A chat completion."""

    choices: list[ChoiceBody]
    model: str
    usage: UsageBody
    id: str | None = None


class DeltaBody(msgspec.Struct):
    """What a chunk adds."""

    content: str | None = None
    refusal: str | None = None


class PieceBody(msgspec.Struct):
    """The part of a chunk that belongs to one answer."""

    delta: DeltaBody
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChunkBody(msgspec.Struct):
    """A chunk of a streamed chat completion. The last one has no choices and the usage."""

    choices: list[PieceBody]
    model: str
    usage: UsageBody | None = None
    id: str | None = None


class EmbeddingBody(msgspec.Struct):
    """One embedding: little-endian float32 as base64, or numbers where the server knows no base64."""

    embedding: str | list[float]


class EmbeddingsBody(msgspec.Struct):
    """Embeddings, one for each text."""

    data: list[EmbeddingBody]
    model: str
    usage: UsageBody


def checked(answer: object, kind: type[T], expected: str) -> T:
    """An answer as what it has to be.

    Args:
        answer: what the SDK made of the server's answer; it checks nothing.
        kind: what it has to be. A field without a default has to be there.
        expected: the same for people.

    Raises:
        UnexpectedResponse: it is something else.
    """
    if isinstance(answer, str):  # the SDK's word for an answer that was not declared as JSON
        raise UnexpectedResponse(expected, "text that is not declared as JSON")
    try:
        return msgspec.convert(answer, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        raise UnexpectedResponse(expected, str(error)) from error
