"""A real HTTP server on 127.0.0.1 that answers as a test says, and steps around a provider that asks it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import attrs
import msgspec
import pytest

import runtime
from runtime.failure import STATUS
from runtime.recording import Recording
from steps.openai_compatible import OpenAIChat
from steps.values import ChatRequest, Completion, Message, Part

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def loopback(self) -> Loopback:
        assert isinstance(self.server, Loopback)
        return self.server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.loopback.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.loopback.script.pop(0)(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Loopback(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply] = []
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.released = threading.Event()
        self.hung_up = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def stop(self) -> None:
        if self.released.is_set():
            return
        self.released.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving() -> Generator[Loopback]:
    made = Loopback()
    try:
        yield made
    finally:
        made.stop()


def body(text: str = "Paris", **changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1744043456,
        "model": "small-2026-01-01",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32},
        **changes,
    }


def says(answer: Any, status: int = 200, **headers: str) -> Reply:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return lambda handler: handler.send(status, raw, **headers)


def stalls(handler: Handler) -> None:
    handler.loopback.released.wait(30)


def event(text: str | None = None, **changes: Any) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    chunk = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1, "model": "small-2026-01-01"}
    return b"data: " + json.dumps({**chunk, "choices": choices, **changes}).encode() + b"\n\n"


END = (
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    event(usage={"prompt_tokens": 24, "completion_tokens": 3, "total_tokens": 27}),
    b"data: [DONE]\n\n",
)


def streams(*events: bytes, pause: float = 0.0, then: str = "ends") -> Reply:
    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for one in events:
            time.sleep(pause)
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(one), one))
        if then == "cut":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif then == "stalls":
            # Readable: the client closed its end.
            handler.connection.settimeout(10)
            if not handler.connection.recv(1):
                handler.loopback.hung_up.set()
            handler.close_connection = True
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return reply


def asked(text: str = "What is the capital of France?", **changes: Any) -> ChatRequest:
    return ChatRequest((Message("user", (Part("user", text),)),), max_tokens=16, **changes)


@attrs.frozen
class Ask:
    chat: OpenAIChat

    @runtime.step(retry=runtime.Retry(3, wait=0.001), timeout=1.0)
    async def __call__(self, question: str) -> Completion:
        return await self.chat.complete(asked(question))


class Heard(msgspec.Struct, frozen=True):
    texts: tuple[str, ...]
    end: Completion | None


@attrs.frozen
class Listen:
    chat: OpenAIChat
    most: int = 1000

    @runtime.step(retry=runtime.Retry(3, wait=0.001), timeout=1.0)
    async def __call__(self, question: str) -> Heard:
        texts: list[str] = []
        end = None
        async for chunk in self.chat.stream(asked(question)):
            texts.append(chunk.text)
            end = chunk.end
            if len(texts) == self.most:
                break
        return Heard(tuple(texts), end)


def agent_of(step: Any) -> runtime.Agent[str, Any]:
    graph = runtime.Graph("provider.test", input=str)
    return graph.build(graph.add(step, graph.input))


def warm_up() -> None:
    """Load the SDK, so that no attempt's timeout pays for it."""
    anyio.run(OpenAIChat("m", "http://127.0.0.1:1/v1")._account().client)


def record(kitchen: runtime.Runtime, step: Any, text: str = "Where?") -> tuple[Recording, Any]:
    """The recording of a run, and what it returned or raised."""
    try:
        came: Any = kitchen.run(agent_of(step), text).output
    except Exception as error:  # what it is, the caller looks at
        came = error
    return kitchen.open(kitchen.list()[0].trace_id), came


def replay(kitchen: runtime.Runtime, recording: Recording, monkeypatch: pytest.MonkeyPatch, server: Loopback) -> Any:
    """What a replay returns or raises, with no server and no socket."""

    def refuse(*_: object) -> None:
        raise PermissionError("a replay opened a connection")

    server.stop()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        done = kitchen.replay(recording.trace_id)
        assert done.certificate.proved, done.certificate.entries
        try:
            return done.output
        except Exception as error:
            return error


def attempts(recording: Recording) -> list[tuple[str, str | None]]:
    [span] = recording.spans.values()
    return [(STATUS[how], None if why is None else why.type.split(":")[1]) for _, _, how, why in span.record.attempts or ()]


def same(one: BaseException, other: BaseException) -> bool:
    told = [{key: value for key, value in vars(error).items() if key != "__notes__"} for error in (one, other)]
    return type(one) is type(other) and one.args == other.args and told[0] == told[1]
