"""Chat and embeddings over the OpenAI HTTP protocol: OpenAI itself, and every server that speaks it.

The official `openai` SDK carries the requests, with its own retries off: how often a step is tried again is the step's
declared policy, and each try is recorded as an attempt. A replay needs neither the SDK nor a server.

The key is in no fingerprint, recorded request, attribute or error. An error of the SDK keeps its class, `status_code`, `body`,
`code` and `request_id`, so that a replay raises what the run did; its `request` and `response`, which hold the key and cannot
be recorded, are taken off. What a server answers is checked against what the protocol says before anything is made of it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

import runtime
from steps.openai_client import NO_KEY, Account, events, recordable_errors
from steps.openai_protocol import ChatBody, ChunkBody, EmbeddingsBody, Logprobs, UnexpectedResponse, UsageBody, checked
from steps.prices import LOCAL, Prices
from steps.values import Candidate, ChatChunk, ChatRequest, Completion, Embedding, Usage

OPENAI_URL: Final = "https://api.openai.com/v1"
"""Where OpenAI's own API is, by the `openai` package."""

__all__ = ("OPENAI_URL", "OpenAIChat", "OpenAIEmbedder", "UnexpectedResponse")


def _base_url(_: object, __: object, value: str | None) -> None:
    parts = urlsplit(value or OPENAI_URL)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("base_url begins with http:// or https:// and names a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It is part of what is recorded.
        raise ValueError("base_url holds no user, query or fragment; a key is given as api_key")


def _served_by(service: _Service) -> str:
    host = urlsplit(service.url).hostname or ""
    if service.url == OPENAI_URL:
        return "openai"
    return LOCAL if host in {"localhost", "127.0.0.1", "::1"} else host


def _limit_of(service: _Service) -> str:
    return "max_completion_tokens" if service.url == OPENAI_URL else "max_tokens"


@attrs.frozen
class _Service:
    model: str
    base_url: str | None = attrs.field(default=None, validator=_base_url)
    api_key: str | None = attrs.field(default=None, repr=False)
    timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    system: str = attrs.field(default=attrs.Factory(_served_by, takes_self=True), kw_only=True)
    endpoint: str | None = attrs.field(default=None, kw_only=True)
    prices: Prices = attrs.field(factory=Prices, kw_only=True)

    @property
    def url(self) -> str:
        """Of the server."""
        # Never None, for which the SDK looks into the environment: where a request goes is part of what is recorded.
        return (self.base_url or OPENAI_URL).rstrip("/")

    @property
    def _where(self) -> str:
        return f"{self.system} at {self.endpoint or self.url}, {self.model}"

    def _account(self) -> Account:
        # OPENAI_API_KEY is OpenAI's alone: the SDK would send it to any server.
        key = (self.api_key or (os.environ.get("OPENAI_API_KEY", "") if self.url == OPENAI_URL else NO_KEY)).strip()
        if not key:
            raise ValueError("there is no key: give api_key, or set OPENAI_API_KEY")
        if not key.isascii() or not key.isprintable() or " " in key:
            # HTTP refuses the header, in an error that shows the key.
            raise ValueError("the key is none: it holds blanks or characters that no header may hold")
        return Account(self.url, key)

    def _attributes(self) -> dict[str, Any]:
        try:
            attributes = runtime.current().attributes
        except runtime.RuntimeMisuse:  # called outside a run: nothing is recorded
            return {}
        attributes |= {"gen_ai.system": self.system, "gen_ai.request.model": self.model}
        return attributes

    def _usage(self, used: UsageBody, model: str, attributes: dict[str, Any]) -> Usage:
        read, wrote = used.prompt_tokens, used.completion_tokens
        cached = (used.prompt_tokens_details and used.prompt_tokens_details.cached_tokens) or 0
        attributes |= {"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": wrote}
        if cached:
            attributes["gen_ai.usage.cache_read.input_tokens"] = cached
        price = None
        for name in dict.fromkeys((model, self.model)):  # the answer names the dated model, which a list may not know
            price = price or self.prices.cost(self.system, name, input_tokens=read, output_tokens=wrote, cache_read_tokens=cached)
        if price is None:
            return Usage(read, wrote)
        attributes |= {"gen_ai.cost_usd": price.usd, "gen_ai.price.source": price.source}
        if price.date is not None:
            attributes["gen_ai.price.date"] = price.date
        return Usage(read, wrote, cost_usd=price.usd, price_date=price.date)


@attrs.frozen
class OpenAIChat(_Service):
    """A language model behind the OpenAI chat completions protocol.

    `ChatRequest.prefill` is sent as a last message of the assistant's. A llama.cpp or vLLM server goes on from it; OpenAI's own
    models do not, they answer it.

    Args:
        model: as the server names it.
        base_url: of the server, up to and with `/v1`; by default OpenAI's. `OPENAI_BASE_URL` is not looked at.
        api_key: by default `OPENAI_API_KEY` for OpenAI, and none for another server.
        timeout: seconds without a byte from the server. The whole call is bounded by the step's timeout.
        grammar: the server is llama.cpp's: it holds to `ChatRequest.grammar`, and it begins an answer that is not streamed
            with the prefill, which is taken off again. Without this, a request with a grammar raises `ValueError`.
        limit: the name under which `ChatRequest.max_tokens` is sent; by default `max_completion_tokens` to OpenAI and
            `max_tokens`, which every server knows, to others.
        omit: names of parameters that the model refuses and that are not sent, such as `temperature` for a reasoning model.
        system: who serves the model, for attributes and prices; by default `openai`, `local` for this machine, or the host.
            A gateway on this machine is named, or what it serves passes for free.
        endpoint: what the fingerprint says instead of `base_url`, for a server that has another address at each start.
        prices: what the cost is computed with.

    Raises:
        ValueError: `base_url` is no plain URL.
    """

    grammar: bool = attrs.field(default=False, kw_only=True)
    limit: str = attrs.field(default=attrs.Factory(_limit_of, takes_self=True), kw_only=True)
    omit: tuple[str, ...] = attrs.field(default=(), kw_only=True)

    def fingerprint(self) -> str:
        """System, server, model and how it is asked; never the key."""
        ways = ["llama.cpp"] if self.grammar else []
        ways += [self.limit] if self.limit != _limit_of(self) else []
        ways += [f"without {name}" for name in self.omit]
        return ", ".join([self._where, *ways])

    @runtime.effect
    async def complete(self, request: ChatRequest) -> Completion:
        """The answer, at once.

        Raises:
            ValueError: the request has a grammar and `grammar` is not set, or there is no key.
            UnexpectedResponse: the answer is no chat completion.
            openai.APIStatusError: the server refused, by the subclass for its status.
            openai.APIConnectionError: the server could not be reached, or was silent for `timeout` seconds.
            ImportError: the openai package is not installed.
        """
        attributes, asked, account = self._attributes(), self._asked(request), self._account()
        client = await account.client()
        with recordable_errors(account, "a chat completion", attributes):
            answer = await client.chat.completions.create(**asked)
        read = checked(answer, ChatBody, "a chat completion")
        if not read.choices:
            raise UnexpectedResponse("a chat completion with a choice", "none - at `$.choices`")
        choice = read.choices[0]
        told = choice.message
        text = told.content or ""
        if self.grammar:
            text = text.removeprefix(request.prefill)
        reason = choice.finish_reason
        if not text and told.refusal:
            text, reason = told.refusal, "refusal"
        tokens = [] if choice.logprobs is None else _candidates(choice.logprobs)
        logprobs = tuple(tokens) if request.top_logprobs else None
        return self._completion(text, read.model, read.usage, reason, read.id, None, logprobs, attributes)

    @runtime.effect
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer in pieces; the last one, without text, carries the whole.

        Raises:
            Exception: as `complete`, also after some pieces; `UnexpectedResponse` where the stream ends before the answer does.
        """
        attributes, asked, account = self._attributes(), self._asked(request), self._account()
        client = await account.client()
        expected = "a chunk of a chat completion"
        texts: list[str] = []
        refusals: list[str] = []
        tokens: list[tuple[Candidate, ...]] = []
        reason, used, first, read = None, None, None, None
        with recordable_errors(account, expected, attributes):
            began = time.perf_counter()
            answer = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            async with contextlib.aclosing(events(answer)) as chunks:
                async for raw in chunks:
                    read = checked(raw, ChunkBody, expected)
                    used = read.usage or used
                    for piece in read.choices[:1]:
                        reason = piece.finish_reason or reason
                        tokens += [] if piece.logprobs is None else _candidates(piece.logprobs)
                        refusals.append(piece.delta.refusal or "")
                        text = piece.delta.content
                        if text:
                            first = first or time.perf_counter() - began
                            texts.append(text)
                            yield ChatChunk(text)
        if read is None or reason is None or used is None:
            missing = "usage" if reason is not None else "a finish_reason"
            raise UnexpectedResponse(f"{missing} before the end of the stream", f"its end after {len(texts)} pieces of text")
        text = "".join(texts)
        if not text and any(refusals):
            text, reason = "".join(refusals), "refusal"
        logprobs = tuple(tokens) if request.top_logprobs else None
        yield ChatChunk("", self._completion(text, read.model, used, reason, read.id, first, logprobs, attributes))

    def _asked(self, request: ChatRequest) -> dict[str, Any]:
        if request.grammar is not None and not self.grammar:
            raise ValueError(f"{self._where} takes no grammar; a llama.cpp server does: OpenAIChat(..., grammar=True)")
        messages = [{"role": message.role, "content": message.text} for message in request.messages]
        if request.prefill:
            messages.append({"role": "assistant", "content": request.prefill})
        asked: dict[str, Any] = {"model": self.model, "messages": messages, self.limit: request.max_tokens}
        asked["temperature"] = request.temperature
        if request.seed is not None:
            asked["seed"] = request.seed
        if request.stop:
            asked["stop"] = list(request.stop)
        if request.top_logprobs:
            asked |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.grammar is not None:
            asked["extra_body"] = {"grammar": request.grammar}
        return {name: value for name, value in asked.items() if name not in self.omit} | {"timeout": self.timeout}

    def _completion(
        self,
        text: str,
        model: str,
        used: UsageBody,
        reason: str,
        response_id: str | None,
        first: float | None,
        logprobs: tuple[tuple[Candidate, ...], ...] | None,
        attributes: dict[str, Any],
    ) -> Completion:
        if response_id is not None:
            attributes["gen_ai.response.id"] = response_id
        usage = self._usage(used, model, attributes)
        return Completion(text, self.system, model, usage, reason, response_id, first, logprobs)


@attrs.frozen
class OpenAIEmbedder(_Service):
    """Vectors behind the OpenAI embeddings protocol.

    Args:
        model: as the server names it.
        base_url: as `OpenAIChat`'s, and so are those not named here.
        dimensions: how many numbers a vector has, where the model can shorten it.

    Raises:
        ValueError: `base_url` is no plain URL.
    """

    dimensions: int | None = attrs.field(default=None, kw_only=True)

    def fingerprint(self) -> str:
        """System, server, model and dimensions; never the key."""
        return f"{self._where}{'' if self.dimensions is None else f', {self.dimensions} dimensions'}"

    @runtime.effect
    async def embed(self, text: str) -> Embedding:
        """One text.

        Raises:
            UnexpectedResponse: the answer holds no vector.
            Exception: as `OpenAIChat.complete`.
        """
        attributes, account = self._attributes(), self._account()
        asked: dict[str, Any] = {} if self.dimensions is None else {"dimensions": self.dimensions}
        client = await account.client()
        expected = "an embedding"
        with recordable_errors(account, expected, attributes):
            # As base64 the numbers come as they are, without a decimal form in between.
            answer = await client.embeddings.create(
                model=self.model, input=text, encoding_format="base64", timeout=self.timeout, **asked
            )
            read = checked(answer, EmbeddingsBody, expected)
            if not read.data:
                raise UnexpectedResponse(expected, "none - at `$.data`")
            given = read.data[0].embedding
            vector = runtime.Vector(base64.b64decode(given)) if isinstance(given, str) else runtime.Vector.of(given)
        return Embedding(vector, self.system, read.model, self._usage(read.usage, read.model, attributes))


def _candidates(logprobs: Logprobs) -> list[tuple[Candidate, ...]]:
    return [
        tuple(Candidate(one.token, one.logprob) for one in sorted(written.top_logprobs, key=lambda one: -one.logprob))
        for written in logprobs.content or ()
    ]
