"""The OpenAI-compatible provider against a real HTTP server: what happened is recorded as it was and replays without a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import openai
import pytest

import runtime
from runtime.streams import unpack
from steps.openai_compatible import OpenAIChat, UnexpectedResponse
from steps.prices import Prices, Rate
from tests.loopback import (
    END,
    Ask,
    Heard,
    Listen,
    Loopback,
    Reply,
    asked,
    attempts,
    body,
    event,
    record,
    replay,
    same,
    says,
    serving,
    stalls,
    streams,
    warm_up,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as made:
        yield made


@pytest.fixture
def kitchen(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    warm_up()
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as made:
        yield made


def test_an_answer_is_recorded_with_what_it_used(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [says(body())]
    prices = Prices({("local", "small-2026-01-01"): Rate("2026-11-01", input=1e-6, output=2e-6)})
    recording, came = record(kitchen, Ask(OpenAIChat("small", server.url, prices=prices)))

    assert came.text == "Paris"
    assert (came.system, came.model, came.finish_reason, came.response_id) == ("local", "small-2026-01-01", "stop", "chatcmpl-1")
    assert (came.usage.input_tokens, came.usage.output_tokens, came.usage.price_date) == (24, 8, "2026-11-01")
    [call] = recording.calls
    assert call.attributes == {
        "gen_ai.system": "local",
        "gen_ai.request.model": "small",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 24,
        "gen_ai.usage.output_tokens": 8,
        "gen_ai.cost_usd": pytest.approx(24e-6 + 16e-6),
        "gen_ai.price.date": "2026-11-01",
        "gen_ai.price.source": "override",
    }
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_a_full_queue_and_a_fault_are_recorded_as_attempts(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"error": {"message": "slow down", "code": "rate_limit", "type": "requests", "param": None}}
    server.script = [says(refused, 429, retry_after="1"), says(b"oops", 500), says(body())]
    recording, came = record(kitchen, Ask(OpenAIChat("small", server.url)))

    assert came.text == "Paris"
    assert attempts(recording) == [("error", "RateLimitError"), ("error", "InternalServerError"), ("ok", None)]
    assert [call.address for call in recording.calls] == [f"ask!{n}/complete" for n in (1, 2, 3)]
    first = next(recording.calls)
    assert first.attributes["http.response.status_code"] == 429
    assert first.attributes["http.response.header.retry-after"] == "1"
    assert first.result is not None
    assert first.result.error is not None
    assert first.result.error.retryable
    assert len(server.seen) == 3, "the step's policy says how often to try again, not the SDK"
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_a_silent_server_runs_into_the_steps_timeout(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [stalls, says(body())]
    recording, came = record(kitchen, Ask(OpenAIChat("small", server.url)))

    assert came.text == "Paris"
    assert attempts(recording) == [("timeout", "StepTimeout"), ("ok", None)]
    assert [call.result and call.result.status for call in recording.calls] == ["cancelled", "ok"]
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_the_providers_own_timeout_and_no_server_at_all_are_errors_of_the_sdk(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [stalls, stalls, stalls]
    slow, came = record(kitchen, Ask(OpenAIChat("small", server.url, timeout=0.1)))
    assert type(came) is openai.APITimeoutError
    assert attempts(slow) == [("error", "APITimeoutError")] * 3
    server.stop()
    gone, other = record(kitchen, Ask(OpenAIChat("small", server.url)))
    assert type(other) is openai.APIConnectionError
    assert "ConnectError" in str(other), "the SDK itself says no more than 'Connection error.'"

    assert same(replay(kitchen, slow, monkeypatch, server), came)
    assert same(replay(kitchen, gone, monkeypatch, server), other)


def test_an_error_keeps_its_class_and_what_the_server_said(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [says({"error": {"message": "no such model", "code": "model_not_found"}}, 404, x_request_id="r1")] * 3
    recording, came = record(kitchen, Ask(OpenAIChat("small", server.url)))
    replayed = replay(kitchen, recording, monkeypatch, server)

    for error in (came, replayed):
        assert type(error) is openai.NotFoundError
        assert (error.status_code, error.code, error.request_id) == (404, "model_not_found", "r1")
        assert error.body == {"message": "no such model", "code": "model_not_found"}
        assert not hasattr(error, "response")
    assert same(came, replayed)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (says(b"<html>", content_type="text/html"), "not declared as JSON"),
        (says(b'{"id": '), "cannot be read"),
        (says(b"\xff\xfe"), "cannot be read"),
        (says(b"[]"), "got `array`"),
        (says({"error": {"message": "overloaded"}}), r"\$\.choices"),
        (says(body(choices=[])), r"\$\.choices"),
        (says(body(choices=[{"message": {"role": "assistant"}, "finish_reason": None}])), r"\$\.choices\[0\]\.finish_reason"),
        (says(body(choices=[{"finish_reason": "stop"}])), r"\$\.choices\[0\]\.message"),
        (says(body(choices=[{"finish_reason": "stop", "message": {"content": 7}}])), r"\$\.choices\[0\]\.message\.content"),
        (says(body(usage=None)), r"\$\.usage"),
        (says(body(usage={"prompt_tokens": "many"})), r"\$\.usage"),
    ],
)
def test_an_answer_that_is_none_says_what_was_expected(server: Loopback, reply: Reply, found: str) -> None:
    server.script = [reply]
    with pytest.raises(UnexpectedResponse, match=found) as raised:
        anyio.run(OpenAIChat("small", server.url).complete, asked())
    assert raised.value.expected.startswith("a chat completion")


def test_an_answer_that_is_none_replays(kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = [says(body(usage=None))] * 3
    recording, came = record(kitchen, Ask(OpenAIChat("small", server.url)))

    assert type(came) is UnexpectedResponse
    assert same(replay(kitchen, recording, monkeypatch, server), came)


# Streams


def test_a_slow_stream_is_recorded_piece_by_piece(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [streams(event(""), event("Par"), event("is"), *END, pause=0.05)]
    recording, came = record(kitchen, Listen(OpenAIChat("small", server.url)))

    assert came.texts == ("Par", "is", "")
    assert (came.end.text, came.end.finish_reason, came.end.response_id) == ("Paris", "stop", "chatcmpl-2")
    assert (came.end.usage.input_tokens, came.end.usage.output_tokens, came.end.usage.cost_usd) == (24, 3, 0.0)
    assert server.seen[0][2]["stream_options"] == {"include_usage": True}
    [call] = recording.calls
    assert call.result is not None
    assert call.result.status == "ok"
    assert call.attributes["gen_ai.usage.output_tokens"] == 3
    chunks, offsets = unpack(call.result.data or b"")
    assert len(chunks) == 3
    assert 0.1e9 <= came.end.first_token_seconds * 1e9 <= offsets[0]
    assert offsets == sorted(offsets)
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_a_stream_that_is_cut_is_tried_again(kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = [
        streams(event("Par"), event("i"), then="cut"),
        streams(event("Par")),  # ends as if it were whole
        streams(event("Par"), event("is"), *END),
    ]
    recording, came = record(kitchen, Listen(OpenAIChat("small", server.url)))

    assert came.texts == ("Par", "is", "")
    assert attempts(recording) == [("error", "APIConnectionError"), ("error", "UnexpectedResponse"), ("ok", None)]
    results = [call.result for call in recording.calls if call.result is not None]
    assert [(one.status, len(unpack(one.data or b"")[0])) for one in results] == [("error", 2), ("error", 1), ("ok", 3)]
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_a_stream_that_stalls_is_hung_up_at_the_steps_timeout(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [streams(event("Par"), then="stalls"), streams(event("Paris"), *END)]
    recording, came = record(kitchen, Listen(OpenAIChat("small", server.url)))

    assert came.texts == ("Paris", "")
    assert server.hung_up.wait(1)
    assert attempts(recording) == [("timeout", "StepTimeout"), ("ok", None)]
    assert [call.result and call.result.status for call in recording.calls] == ["cancelled", "ok"]
    assert replay(kitchen, recording, monkeypatch, server) == came


def test_a_stream_that_is_left_is_hung_up_and_recorded_as_cut(
    kitchen: runtime.Runtime, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [streams(event("Par"), then="stalls")]
    recording, came = record(kitchen, Listen(OpenAIChat("small", server.url), most=1))

    assert came == Heard(("Par",), None)
    assert server.hung_up.wait(1)
    assert [call.result and call.result.status for call in recording.calls] == ["cut"]
    assert replay(kitchen, recording, monkeypatch, server) == came


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([event("Par"), b"data: {nonsense\n\n"], "cannot be read"),
        ([event("Par"), b'data: {"id": "x"}\n\n'], "`choices`"),
        ([event("Par", usage={"prompt_tokens": 1.5})], r"\$\.usage"),
        ([event("Par"), END[0], END[2]], "expected usage before the end"),
        ([END[2]], "expected a finish_reason before the end"),
    ],
)
def test_a_stream_that_is_none_says_what_was_expected(server: Loopback, events: list[bytes], found: str) -> None:
    server.script = [streams(*events)]

    async def read() -> None:
        async for _ in OpenAIChat("small", server.url).stream(asked()):
            pass

    with pytest.raises(UnexpectedResponse, match=found):
        anyio.run(read)


def test_an_error_within_a_stream_is_the_sdks(server: Loopback) -> None:
    server.script = [streams(event("Par"), b'data: {"error": {"message": "overloaded", "code": "busy"}}\n\n')]

    async def read() -> None:
        async for _ in OpenAIChat("small", server.url).stream(asked()):
            pass

    with pytest.raises(openai.APIError, match="overloaded") as raised:
        anyio.run(read)
    assert raised.value.code == "busy"


# Another process


ALONE = """
import sys

def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(event)

if sys.argv[3] == "replay":
    sys.modules["openai"] = sys.modules["genai_prices"] = None
    sys.addaudithook(audit)

import attrs, runtime
from steps.openai_compatible import OpenAIChat
from steps.values import ChatRequest, Completion

@attrs.frozen
class Ask:
    chat: OpenAIChat

    async def __call__(self, question: str) -> Completion:
        return await self.chat.complete(ChatRequest(()))

graph = runtime.Graph("alone", input=str)
agent = graph.build(graph.add(Ask(OpenAIChat("small", sys.argv[2])), graph.input))
with runtime.configure(sys.argv[1]):
    if sys.argv[3] == "run":
        print(runtime.run(agent, "x").output.text)
        try:
            runtime.run(agent, "x")
        except Exception as error:
            print(type(error).__name__)
    else:
        runtime.register(agent)
        for line in runtime.list():
            done = runtime.replay(line.trace_id)
            try:
                print(done.output.text, done.certificate.proved)
            except runtime.RecordedError as error:
                print(error)
"""


def test_a_replay_needs_no_sdk_and_names_an_error_whose_class_is_not_there(server: Loopback, tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    server.script = [says(body()), says({"error": {"message": "no such model"}}, 404)]
    told: list[list[str]] = []
    for what in ("run", "replay"):
        command = [sys.executable, str(script), str(tmp_path / "store"), server.url, what]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.append(done.stdout.splitlines())
        server.stop()

    assert told[0] == ["Paris", "NotFoundError"]
    assert told[1] == ["openai:NotFoundError: Error code: 404 - no such model", "Paris True"]
