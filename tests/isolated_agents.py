"""Agents that another process can import."""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import random
import socket
import struct
import time
import urllib.request
import uuid
from typing import Any

import runtime
from runtime import Graph, effect, step


@effect
async def provider(text: str) -> str:
    return text.upper()


async def asks(text: str) -> str:
    return await provider(text)


async def louder(text: str) -> str:
    return f"{await provider(text)}!"


async def asks_otherwise(text: str) -> str:
    return await provider(f"{text}?")


@effect
async def lookup(where: dict[str, Any]) -> str:
    return str(sorted(where))


async def looks_up(text: str) -> str:
    return await lookup({"vector": runtime.Vector.of([1.0, 2.0]), "day": dt.date(2026, 1, 1), "words": {text}})


async def looks_up_otherwise(text: str) -> str:
    return await lookup({"vector": runtime.Vector.of([1.0, 3.0]), "day": dt.date(2026, 1, 2), "words": {text}, "raw": b"x"})


def _asking() -> runtime.Agent[str, str]:
    graph = Graph("isolated.asks", input=str)
    return graph.build(graph.add(asks, graph.input))


asking = _asking()


def _looking() -> runtime.Agent[str, str]:
    graph = Graph("isolated.looks", input=str)
    return graph.build(graph.add(looks_up, graph.input))


looking = _looking()


def by_c(port: int) -> int:
    """What a C library does: connect, and send a line, past Python's socket module."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = struct.pack("!H4s8s", port, socket.inet_aton("127.0.0.1"), b"")
    address = struct.pack("=H", socket.AF_INET) + there
    sock = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    failed = libc.connect(sock, address, len(address))
    line = b"POST /from-c HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    libc.send(sock, line, len(line), 0)
    libc.recv(sock, ctypes.create_string_buffer(100), 100, 0)
    libc.close(sock)
    return int(failed)


def by_urllib(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"{}", timeout=10) as answer:
        return int(answer.status)


def by_c_process(port: int) -> int:
    """A process that C starts: `system` of its library. 0, or what it says where it could not."""
    return int(ctypes.CDLL(None).system(b"true"))


def _one(fn: Any, name: str) -> runtime.Agent[int, int]:
    graph = Graph(name, input=int)
    return graph.build(graph.add(fn, graph.input))


calling_c = _one(by_c, "isolated.c")
calling_urllib = _one(by_urllib, "isolated.urllib")
starting_c = _one(by_c_process, "isolated.process")


@step
async def stamped(text: str) -> dict[str, Any]:
    return {"text": text, "at": time.time(), "day": dt.datetime.now(dt.UTC).date().isoformat()}


async def clocked(text: str) -> dict[str, Any]:
    runtime.current().uuid()
    made = await stamped(text)
    return {"text": made["text"], "declared": runtime.current().time(), "random": runtime.current().random.random()}


async def chance(text: str) -> dict[str, Any]:
    return {"text": text, "id": uuid.uuid4().hex, "die": random.randint(1, 10**9)}


async def shuffled(text: str) -> list[str]:
    return list({f"{text}{n}" for n in range(20)})


async def pure(text: str) -> str:
    time.time()
    return await provider(text)


async def from_file(text: str) -> str:
    return os.environ.get("KITCHENLOG_TEST_VALUE", "nothing") + text


async def dated(text: str) -> str:
    return await provider(f"{text} on {dt.datetime.now(dt.UTC).date().isoformat()} at {time.time()}")


async def opens_a_socket(text: str) -> str:
    return str(socket.getaddrinfo("localhost", 80))


def _impure() -> runtime.Agent[str, Any]:
    graph = Graph("isolated.impure", input=str)
    for fn in (clocked, chance, shuffled, from_file, dated, opens_a_socket):
        graph.add(fn, graph.input)
    return graph.build(graph.add(pure, graph.input))


impure = _impure()


def _clean() -> runtime.Agent[str, Any]:
    graph = Graph("isolated.clean", input=str)
    return graph.build(graph.add(pure, graph.input))


clean = _clean()
