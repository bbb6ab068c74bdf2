"""What the standard steps ask of the world. Any object with these methods will do; nothing inherits from anything.

Two things make an object a provider: its methods are effects (`@runtime.effect`), so that they are recorded and a replay
answers them; and `fingerprint()` names the model or the index and its version, so that a recording tells what answered.
A few lines wrap any SDK:

    @attrs.frozen
    class MyChat:
        client: Any
        model: str

        def fingerprint(self) -> str:
            return f"my chat, {self.model}"

        @runtime.effect
        async def complete(self, request: ChatRequest) -> Completion:
            answer = await self.client.ask(self.model, [m.text for m in request.messages])
            return Completion(answer.text, "mine", self.model, Usage(answer.read, answer.wrote), "stop")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import attrs

from runtime import BuildError, Vector, is_effect
from steps.values import ChatChunk, ChatRequest, Completion, Embedding, Found, Scores, Support


class Provider(Protocol):
    """What all of them have."""

    def fingerprint(self) -> str:
        """Name, model or index, version, and every setting that changes an answer."""
        ...


class Chat(Provider, Protocol):
    """A language model."""

    async def complete(self, request: ChatRequest) -> Completion:
        """The answer, at once."""
        ...


class StreamingChat(Chat, Protocol):
    """A language model that writes as it thinks."""

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer in pieces; the last one carries the whole."""
        ...


class Embedder(Provider, Protocol):
    """Texts to vectors."""

    async def embed(self, text: str) -> Embedding:
        """One text."""
        ...


class Index(Provider, Protocol):
    """Documents to search.

    Declare `search` with `@runtime.effect(snapshot=True)`: a query that was never recorded is then answered live only by the
    version of the index that was recorded.
    """

    async def search(self, query: str, vector: Vector, k: int, tenant: str) -> Found:
        """The `k` best documents that the tenant may see."""
        ...


class Scorer(Provider, Protocol):
    """How well texts answer a query."""

    async def score(self, query: str, texts: tuple[str, ...]) -> Scores:
        """One score a text."""
        ...


class Checker(Provider, Protocol):
    """Whether the policies in force support what was said."""

    async def check(self, claims: tuple[str, ...]) -> tuple[Support, ...]:
        """One finding a claim."""
        ...


def require_effects(provider: object, *methods: str) -> None:
    """Refuse a provider whose calls would not be recorded.

    Args:
        provider: the object.
        methods: the names of what will be called.

    Raises:
        BuildError: a method is missing or is no effect, or there is no `fingerprint()`.
    """
    kind = type(provider).__qualname__
    for name in methods:
        method = getattr(provider, name, None)
        if method is None:
            raise BuildError(f"{kind} has no method {name}; see steps.providers for what a provider has")
        if not is_effect(method):
            raise BuildError(
                f"{kind}.{name} is no effect: its calls would not be recorded, and a replay would repeat them. "
                f"Put @runtime.effect on it"
            )
    if not callable(getattr(provider, "fingerprint", None)):
        raise BuildError(f"{kind} has no fingerprint(): return its name, model or index, version and settings as one string")


def provides(*methods: str) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """The attrs validator of a field that holds a provider."""

    def check(_instance: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
        require_effects(value, *methods)

    return check
