"""The floor: about the least that pure Python can do and still keep every field.

The same functions run bare; each effect's request and response and each step's output are encoded once by msgpack, hashed,
written with a checksum and synced. A step's output that is what its effect gave is not written twice: who writes this
by hand knows. No graph, no index, no recovery, no redaction, no lanes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from benchmarks import refund, workload
from benchmarks.measure import main
from runtime.effects import MARK
from storage import codec

PACKAGES: Final = ("msgspec",)


class Floor:
    """A queue, a thread, a file."""

    def __init__(self, path: Path) -> None:
        self._queue: deque[tuple[Any, ...] | None] = deque()
        self._wake = threading.Event()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.sent = self.stored = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def put(self, *fields: Any) -> None:
        """Hand a record over."""
        self.sent += 1
        self._queue.append(fields)
        if len(self._queue) > 500:
            self._wake.set()

    def _work(self) -> None:
        pack = msgspec.msgpack.Encoder().encode
        stopped = False
        while not stopped:
            self._wake.wait(0.005)
            self._wake.clear()
            parts: list[bytes] = []
            while self._queue:
                fields = self._queue.popleft()
                if fields is None:
                    stopped = True
                    continue
                digests = [
                    hashlib.blake2b(one, digest_size=16).digest() for one in fields if type(one) is bytes and len(one) > 511
                ]
                body = pack((fields, digests))
                parts += [len(body).to_bytes(4, "little"), zlib.crc32(body).to_bytes(4, "little"), body]
                self.stored += 1
            if parts:
                os.write(self._file, b"".join(parts))
                os.fdatasync(self._file)

    def close(self) -> None:
        """Write what waits."""
        self._queue.append(None)
        self._wake.set()
        self._thread.join()
        os.close(self._file)


async def recorded(floor: Floor, turn: workload.Turn, *, as_list: bool) -> bool:
    """The workload by hand, with what it does handed to the floor."""
    encode = codec.encode

    async def call(effect: Any, **request: Any) -> Any:
        asked = codec.encode_request(request)
        value = await getattr(effect, MARK).fn(**request)
        floor.put(effect.__name__, asked, encode(value))
        return value

    floor.put("input", encode(turn))
    query = await call(workload.complete, prompt=refund.rewrite_prompt(turn.number, turn.text))
    floor.put("rewrite", None)  # what the effect before it gave, as in the others
    vector = await call(workload.embed_list if as_list else workload.embed_text, text=query)
    floor.put("embed", None)
    hits = await call(workload.search, query=query, first=refund.first_of(vector if as_list else vector.data))
    floor.put("rerank?", encode({"query": query, "hits": hits}))
    hits = refund.ranked(hits, await call(workload.score, query=query, count=len(hits)))
    floor.put("rerank", encode(hits))
    floor.put("retrieve", None)
    answer = await call(workload.complete, prompt=refund.answer_prompt(turn.number, turn.text, hits))
    floor.put("generate", None)
    cited = refund.citations(answer, hits)
    floor.put("cite", encode(cited))
    verdict: bool = (await call(workload.complete, prompt=refund.judge_prompt(turn.text, answer, cited))).endswith("True")
    floor.put("judge", encode(verdict))
    return verdict


class HandWritten:
    """The floor as a system."""

    def __init__(self, folder: Path, *, as_list: bool) -> None:
        self._path, self._as_list = folder / "floor", as_list
        self._floor = Floor(self._path)

    def run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        """See `System`."""
        return anyio.run(self._run, turns)

    async def _run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        return [await recorded(self._floor, workload.Turn(*one), as_list=self._as_list) for one in turns]

    def finish(self) -> None:
        """See `System`."""
        self._floor.close()

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """See `System`."""
        data, at, stored = self._path.read_bytes(), 0, 0
        while at < len(data):
            length, check = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8 + length
            assert zlib.crc32(data[at - length : at]) == check
            stored += 1
        return self._floor.sent, stored


def _make(folder: Path, asked: argparse.Namespace) -> HandWritten:
    return HandWritten(folder, as_list=asked.as_list)


if __name__ == "__main__":
    main(_make, PACKAGES)
