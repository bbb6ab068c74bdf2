"""A proxy on 127.0.0.1 before a real S3 server: it passes requests on, and spoils those that a test names."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Spoil = Callable[["Handler"], None]


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def proxy(self) -> Proxy:
        assert isinstance(self.server, Proxy)
        return self.server

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.replied = False
        with self.proxy.lock:
            self.proxy.seen.append(Seen(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
            spoil = self.proxy.script.pop(0) if self.proxy.script else pass_on
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            spoil(self)

    do_GET = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def ask(self) -> Reply:
        """What the server answers."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=20)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, text in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    upstream.putheader(name, text)
            upstream.endheaders(self.body)
            answer = upstream.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            upstream.close()

    def begin(self, reply: Reply) -> None:
        """The status and the headers."""
        self.send_response_only(reply.status)
        for name, text in reply.headers:
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, text)
        if self.command != "HEAD" and not any(name.lower() == "content-length" for name, _ in reply.headers):
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection; with a reset, where the client sees an error and no end."""
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.script: list[Spoil] = []
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error here."""


@contextlib.contextmanager
def proxying(upstream: int) -> Generator[Proxy]:
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def pass_on(handler: Handler) -> None:
    reply = handler.ask()
    handler.begin(reply)
    handler.wfile.write(reply.body)


def lose_reply(handler: Handler) -> None:
    handler.ask()
    handler.hang_up()


def reset(handler: Handler) -> None:
    handler.hang_up(reset=True)


def reset_in_body(handler: Handler) -> None:
    reply = handler.ask()
    handler.begin(reply)
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler.wfile.flush()
    time.sleep(0.05)
    handler.hang_up(reset=True)


def cut(handler: Handler) -> None:
    reply = handler.ask()
    handler.begin(reply)
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler.hang_up()


def flip(handler: Handler) -> None:
    """One byte is another."""
    reply = handler.ask()
    handler.begin(reply)
    handler.wfile.write(bytes([reply.body[0] ^ 1]) + reply.body[1:])


def stall(handler: Handler) -> None:
    """Nothing comes, and the connection stays."""
    handler.proxy.released.wait(30)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A byte every tenth of a second: no read times out."""
    reply = handler.ask()
    handler.begin(reply)
    for byte in reply.body:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if handler.proxy.released.wait(0.1):
            break
    handler.close_connection = True


def delayed(seconds: float) -> Spoil:
    def spoil(handler: Handler) -> None:
        time.sleep(seconds)
        pass_on(handler)

    return spoil


def answer(status: int, code: str = "", message: str = "", body: bytes | None = None, **headers: str) -> Spoil:
    """An error as S3 writes them, or any other body."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def spoil(handler: Handler) -> None:
        reply = Reply(status, [("content-type", "application/xml"), *headers.items()], xml if body is None else body)
        handler.begin(reply)
        if handler.command != "HEAD":
            handler.wfile.write(reply.body)

    return spoil


def after(spoil: Spoil) -> Spoil:
    """The server does what it is asked for, and then this is answered."""

    def both(handler: Handler) -> None:
        handler.ask()
        spoil(handler)

    return both
