"""Runtimes on a bucket of the session's SeaweedFS, each with a spool of its own, and what the server is asked for."""

from __future__ import annotations

import collections
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import attrs

import runtime
from storage.objects.s3 import S3ObjectStore
from tests.s3_proxy import Handler, Proxy, Spoil, pass_on
from tests.seaweed import BUCKET, Seaweed

KEY = "5e" * 32
_NUMBER = itertools.count()


@runtime.effect
async def ask(text: str) -> str:
    return f"{text.upper()} " * 120


async def answer(text: str) -> str:
    return await ask(text)


graph = runtime.Graph("bucket.bot", input=str)
AGENT = graph.build(graph.add(answer, graph.input))


@attrs.define
class Bucket:
    """A place in the bucket that nothing is in yet."""

    server: Seaweed
    folder: Path
    prefix: str = attrs.field(factory=lambda: f"store/{os.getpid()}-{next(_NUMBER)}")
    endpoint: str | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    @property
    def s3(self) -> dict[str, Any]:
        told = {"region": "us-east-1", "profile": "cook", "path_style": True, "deadline": 20.0}
        return {**told, "endpoint": self.endpoint or self.server.endpoint, **self.settings}

    def kitchen(self, process: str = "one", **options: Any) -> runtime.Runtime:
        """A runtime as another process on another machine has it: with a spool of its own."""
        told: dict[str, Any] = {"key": KEY, "s3": self.s3, "spool": self.folder / process, **options}
        return runtime.Runtime(self.url, **told)

    def hurry(self, endpoint: str, **settings: float) -> None:
        """Go another way from now on, with little patience. The store is made before: a new server takes its time."""
        with self.kitchen() as kitchen:
            kitchen._writing()
        self.endpoint, self.settings = endpoint, settings

    def objects(self) -> S3ObjectStore:
        return S3ObjectStore(BUCKET, self.prefix, self.server.settings())

    def packs(self, prefix: str = "hot/") -> list[str]:
        return [key for key in self.stored(prefix) if key.endswith(".pack")]

    def stored(self, prefix: str = "") -> list[str]:
        store = self.objects()
        try:
            return [one.key for one in store.list(prefix)]
        finally:
            store.close()

    def waiting(self, process: str = "one") -> list[str]:
        """The record files in a spool."""
        return sorted(file.name for file in (self.folder / process).rglob("*.log"))


def puts(proxy: Proxy) -> list[str]:
    """The packs that the server was asked to take."""
    return [one.path for one in proxy.seen if one.method == "PUT" and one.path.endswith(".pack")]


def always(proxy: Proxy, spoil: Spoil) -> None:
    """Every request from now on."""
    proxy.script = [spoil] * 100_000


def never(proxy: Proxy) -> None:
    proxy.script = []


@attrs.define
class Gate:
    """Holds packs back until it is opened."""

    held: int = 0
    opened: threading.Event = attrs.field(factory=threading.Event)

    def spoil(self, handler: Handler) -> None:
        if handler.command == "PUT" and handler.path.endswith(".pack"):
            self.held += 1
            self.opened.wait(30)
        pass_on(handler)


def count_requests(client: Any) -> collections.Counter[str]:
    """Counts what a client of boto3 sends, by operation."""
    sent: collections.Counter[str] = collections.Counter()

    def note(**told: Any) -> None:
        sent[told["event_name"].rpartition(".")[2]] += 1

    client.meta.events.register("before-send.s3", note)
    return sent


async def until(what: Callable[[], object]) -> None:
    with anyio.fail_after(40):
        while not what():  # noqa: ASYNC110 - what is waited for is done by threads, which tell no loop
            await anyio.sleep(0.01)


def eventually(what: Callable[[], object], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.01)
