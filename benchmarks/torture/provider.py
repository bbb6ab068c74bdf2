"""A provider on the loopback: it answers every request afresh, counts them, and misbehaves where the request says so.

It is a process of its own, so that no contestant's patches of clock or sockets reach it.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BIG = 2_000_000
"""Characters of the large answer."""


class Busy(Exception):
    """The provider answered with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the provider is busy: {status}")
        self.status = status


class Server(ThreadingHTTPServer):
    """Counts what reaches it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = 0
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        text = str(json.loads(self.rfile.read(int(self.headers["content-length"])))["q"])
        with server.lock:
            server.calls += 1
            number = server.calls
            server.asked[text] += 1
            times = server.asked[text]
        if wait := re.search(r"@(\d+)", text):
            time.sleep(int(wait[1]) / 1000)
        try:
            if self.path == "/stream":
                self._stream(text, number)
            elif "drop" in text:
                self._hang_up()
            elif "flaky" in text and times < 3:
                self._send(503, {"answer": "busy"})
            elif "null" in text:
                self._send(200, {"answer": None})
            elif "big" in text:
                self._send(200, {"answer": f"{number} ".ljust(BIG - 1, "x") + "."})
            else:
                self._send(200, {"answer": f"{text} #{number}"})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the caller was cancelled

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % server.calls)

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, text: str, number: int) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place in range(4):
            if "cut" in text and place == 2:
                self._hang_up()
                return
            event = f"data: {text} #{number}.{place}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@dataclass(frozen=True)
class Provider:
    """A running server, seen from the process that uses it."""

    url: str

    @property
    def calls(self) -> int:
        """How many requests have reached it."""
        with socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2]))) as line:
            line.sendall(b"GET /calls HTTP/1.0\r\n\r\n")
            return int(line.makefile("rb").read().rpartition(b"\r\n")[2])


@contextmanager
def serving() -> Generator[Provider]:
    """A server while the block runs."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Provider(process.stdout.readline().strip())
        finally:
            process.kill()


async def post(client: Any, url: str, path: str, text: str) -> Any:
    """Ask by an httpx client.

    Raises:
        Busy: another status than 200.
        httpx.TransportError: no whole answer came.
    """
    response = await client.post(f"{url}{path}", json={"q": text})
    if response.status_code != 200:
        raise Busy(response.status_code)
    return response.json()["answer"]


async def events(client: Any, url: str, text: str) -> AsyncIterator[str]:
    """The events of a stream, by an httpx client."""
    async with client.stream("POST", f"{url}/stream", json={"q": text}) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield line[6:]


if __name__ == "__main__":
    made = Server()
    print(f"http://127.0.0.1:{made.server_address[1]}", flush=True)
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    sys.stdin.read()  # until its user is gone
