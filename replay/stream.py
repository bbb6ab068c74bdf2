"""A recorded stream: its chunks in their order, at once or at the pace at which they came, then the end it had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from replay.unknown import opaque
from runtime import failure, streams
from runtime.effects import EffectCall
from runtime.recording import Call
from runtime.scope import EffectScope, Scope
from runtime.streams import Ended, LiveStream
from runtime.unrecorded import RAW
from storage import codec

if TYPE_CHECKING:
    from replay.answers import Answers
    from replay.asked import Asked


class AnsweredStream:
    """What a step reads in a replay.

    Args:
        answers: of the span that asks.
        scope: where it asks.
        call: what it asks.
    """

    def __init__(self, answers: Answers, scope: Scope, call: EffectCall) -> None:
        self._answers, self._scope, self._call = answers, scope, call
        self._asked: Asked | None = None
        self._live: LiveStream | None = None
        self._recorded: Call | None = None
        self._chunks: list[bytes] = []
        self._offsets: list[int] = []
        self._asked_at = 0.0
        self._taken = 0
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        asked = self._asked or self._begin()
        if self._live is not None:
            return await self._live.__anext__()
        if self._over:
            raise StopAsyncIteration
        if self._taken < len(self._chunks):
            await self._wait(self._offsets[self._taken])
            chunk = self._answers.decoded(asked, self._chunks[self._taken], self._call.effect.codec)
            self._taken += 1
            return chunk
        await self._end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Take no more of it: right where the recorded step stopped too."""
        if self._live is not None:
            await self._live.aclose()
            return
        asked, recorded = self._asked, self._recorded
        if asked is None or recorded is None or self._over:
            return
        self._over = True
        assert recorded.result is not None
        self._answers.delivery.advance(recorded.completion)
        if recorded.result.status in {"cut", "cancelled"} and self._taken == len(self._chunks):
            asked.result = recorded.result
            return
        taken = streams.pack(self._chunks[: self._taken], [0] * self._taken)
        asked.result = self._answers.evaluator.stream_result(failure.CUT, taken, None)
        if self._answers.verify:
            self._answers.refuse(
                "diverged",
                f"took {self._taken} chunks of {asked.address} and no more; the recorded step read on to its end",
            )

    def _begin(self) -> Asked:
        answers, call = self._answers, self._call
        self._asked = asked = answers.ask_effect(self._scope, call)
        if answers.goes_live(asked, call):
            encode = call.effect.codec.encode
            self._live = LiveStream(call, self._begin_live, lambda chunk: answers.evaluator.encode(chunk, encode))
            return asked
        self._recorded = recorded = answers.recorded_call(asked)
        assert recorded.result is not None
        assert recorded.result.data is not None
        if codec.is_opaque(recorded.result.data):
            raise answers.refuse("unreplayable", opaque(f"the answer of {asked.address}", codec.decode_any(recorded.result.data)))
        self._chunks, self._offsets = streams.unpack(recorded.result.data)
        self._asked_at = anyio.current_time()
        return asked

    async def _wait(self, offset_ns: int) -> None:
        """Until so long after the stream was asked for, where it is to come at the recorded pace."""
        if self._answers.evaluator.request.paced:
            await anyio.sleep_until(self._asked_at + offset_ns / 1e9)
        else:
            await anyio.lowlevel.checkpoint()

    async def _begin_live(self) -> tuple[EffectScope, Ended]:
        answers, asked = self._answers, self._asked
        assert asked is not None
        inner = EffectScope(RAW, self._scope, asked.name, asked.nth, asked.address)
        answers.evaluator.frontier.live_calls += 1

        def ended(status: int, data: bytes, error: BaseException | None) -> None:
            answers.evaluator.frontier.live_calls -= 1
            answers.came_live(asked, inner, answers.evaluator.stream_result(status, data, error))

        return inner, ended

    async def _end(self) -> None:
        asked, recorded = self._asked, self._recorded
        assert asked is not None
        assert recorded is not None
        assert recorded.result is not None
        if recorded.result.status == "cut":
            self._over = True
            self._answers.delivery.advance(recorded.completion)
            if self._answers.verify:
                reason = f"read {asked.address} past its chunk {self._taken}, where the recorded step stopped"
                raise self._answers.refuse("diverged", reason)
            raise self._answers.refuse_miss(asked)
        if self._answers.evaluator.request.paced:
            await self._wait(recorded.duration_ns)
        await self._answers.turn(self._scope.frame, recorded, asked)
        self._over = True
        asked.result = recorded.result
        if not recorded.result.ok:
            raise self._answers.rebuilt(asked, recorded.result)
