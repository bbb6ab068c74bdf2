"""The floor: about the least that pure Python can do and still keep every field.

The same functions run bare; each effect's request and response and each step's output are encoded once by msgpack, hashed,
written with a checksum and synced. No graph, no index, no recovery, no redaction, no lanes.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import workload
from runtime.effects import MARK
from storage import codec


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
    query = await call(workload.complete, prompt=f"rewrite {turn.number} {turn.text}")
    floor.put("rewrite", encode(query))
    vector = await call(workload.embed_list if as_list else workload.embed_text, text=query)
    floor.put("embed", encode(vector))
    hits = await call(workload.search, query=query, first=int(vector[0] * 255) if as_list else vector.data[0])
    floor.put("rerank?", encode({"query": query, "hits": hits}))
    scores = await call(workload.score, query=query, count=len(hits))
    hits = [hit for _, hit in sorted(zip(scores, hits, strict=True))]
    floor.put("rerank", encode(hits))
    floor.put("retrieve", encode(hits))
    answer = await call(workload.complete, prompt="\n".join(hits) + turn.text + str(turn.number))
    floor.put("generate", encode(answer))
    cited = workload.cite(answer, hits)
    floor.put("cite", encode(cited))
    verdict = len(await call(workload.complete, prompt=f"judge {turn.text} {answer} {cited}")) % 2 == 0
    floor.put("judge", encode(verdict))
    return verdict
