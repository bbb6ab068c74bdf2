"""Streams: effects that answer in pieces. Each chunk is recorded with its time, and how the stream ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, Self

import anyio
import msgspec

from runtime import failure
from runtime.effects import EffectCall
from runtime.scope import SCOPE, EffectScope

Ended = Callable[[int, bytes, BaseException | None], None]
"""Told once how the stream ended: its status, its chunks as they are stored, what it raised."""
_CLOSE_SECONDS = 5.0


class Stream(Protocol):
    """What a step iterates over."""

    async def __anext__(self) -> Any:
        """The next chunk."""
        ...

    async def aclose(self) -> None:
        """Take no more of it."""
        ...


def pack(chunks: list[bytes], offsets: list[int]) -> bytes:
    """The stored value of a stream: its encoded chunks, and for each the nanoseconds since it was asked for."""
    return msgspec.msgpack.encode(([msgspec.Raw(chunk) for chunk in chunks], offsets))


def unpack(data: bytes) -> tuple[list[bytes], list[int]]:
    """The chunks and offsets of a stored stream.

    Raises:
        msgspec.ValidationError: the bytes are no stored stream.
    """
    chunks, offsets = msgspec.msgpack.decode(data, type=tuple[list[msgspec.Raw], list[int]])
    return [bytes(chunk) for chunk in chunks], offsets


class LiveStream:
    """A provider's stream on its way to a step.

    Args:
        call: of the effect.
        begin: called before the first chunk: the scope of the effect's body, and whom to tell of the end.
        encode: a chunk as it is stored.
    """

    def __init__(
        self,
        call: EffectCall,
        begin: Callable[[], Awaitable[tuple[EffectScope, Ended]]],
        encode: Callable[[Any], bytes],
    ) -> None:
        self._call, self._begin, self._encode = call, begin, encode
        self._source: AsyncIterator[Any] | None = None
        self._inner: EffectScope | None = None
        self._ended: Ended | None = None
        self._asked_at = 0
        self._chunks: list[bytes] = []
        self._offsets: list[int] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        source = self._source
        if source is None:
            self._inner, self._ended = await self._begin()
            self._asked_at = time.perf_counter_ns()
            self._source = source = self._iterate()
        elif self._ended is None:
            raise StopAsyncIteration
        token = SCOPE.set(self._inner)
        try:
            chunk = await anext(source)
        except StopAsyncIteration:
            self._end(failure.OK, None)
            raise
        except BaseException as error:
            self._end(failure.status_of(error), error)
            raise
        finally:
            SCOPE.reset(token)
        self._offsets.append(time.perf_counter_ns() - self._asked_at)
        self._chunks.append(self._encode(chunk))
        return chunk

    def _iterate(self) -> AsyncIterator[Any]:
        made: AsyncIterator[Any] = self._call.invoke()
        return made

    async def aclose(self) -> None:
        """Close the provider's stream; what was taken of it is recorded as `cut`."""
        if self._source is None or self._ended is None:
            return
        close = getattr(self._source, "aclose", None)
        self._end(failure.CUT, None)
        if close is not None:
            # Also where the step was cancelled: a connection must not stay open.
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True), contextlib.suppress(Exception):
                await close()

    def _end(self, status: int, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(status, pack(self._chunks, self._offsets), error)


async def close_all(streams: list[Stream]) -> None:
    """Close what a span left open: a stream belongs to the span that asked for it."""
    for stream in streams:
        await stream.aclose()
