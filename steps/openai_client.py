"""The client of the OpenAI SDK: one an event loop, closed with it, and its errors as they can be recorded.

Connections belong to the event loop that opened them: another loop must never be given them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import msgspec

from steps.openai_protocol import UnexpectedResponse
from steps.prices import cost

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI, AsyncStream

NO_KEY: Final = "none"
"""Sent to servers that ask for no key; the SDK wants one."""

# HTTP statuses that another try may cure, beside 5xx, by the `openai` package.
_PASSING: Final = frozenset({408, 409, 429})
_CLOSE_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 0.1


@attrs.frozen
class Account:
    """A server, and the key that opens it."""

    base_url: str
    key: str = attrs.field(repr=False)

    async def client(self) -> AsyncOpenAI:
        """The running loop's client for this server and key.

        Raises:
            ImportError: the openai package is not installed.
        """
        try:
            mine = _clients.get()
        except LookupError:
            mine = _Clients()
            _clients.set(mine)
        async with mine.opening:
            if self not in mine.kept:
                # In a thread: importing the SDK and loading certificates take a third of a second.
                client = await anyio.to_thread.run_sync(self._open)
                keeper = _keep(client)
                await anext(keeper)
                mine.kept[self] = client, keeper
        return mine.kept[self][0]

    def _open(self) -> AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            text = "needs the openai package: pip install 'kitchenlog[openai]'; replaying what was recorded does not"
            raise ImportError(text, name=error.name) from error
        client = openai.AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0)
        # What is loaded when it is first asked for would be loaded on the event loop.
        _ = client.chat.completions, client.embeddings, cost("openai", "")
        return client


@attrs.define(eq=False)
class _Clients:
    opening: anyio.Lock = attrs.field(factory=anyio.Lock)
    kept: dict[Account, tuple[AsyncOpenAI, AsyncGenerator[None]]] = attrs.field(factory=dict)


_clients: anyio.lowlevel.RunVar[_Clients] = anyio.lowlevel.RunVar("kitchenlog_openai_clients")


async def _keep(client: AsyncOpenAI) -> AsyncGenerator[None]:
    # A loop has no hook for its end, but it closes the async generators that are open then.
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await client.close()


@contextlib.contextmanager
def recordable_errors(account: Account, expected: str, attributes: dict[str, Any]) -> Generator[None]:
    """Errors as they can be recorded and raised again.

    Args:
        account: whose key no error may show.
        expected: the answer that was hoped for, for people.
        attributes: where the HTTP status and what it says of a next try are told.

    Raises:
        openai.APIError: by its class, without its `request` and `response`; `retryable` where another try may help.
        UnexpectedResponse: the answer could not be read.
    """
    import openai

    try:
        yield
    except openai.APIError as error:
        _make_recordable(error, account.key, attributes)
        raise
    except ValueError as error:
        raise UnexpectedResponse(expected, f"what cannot be read: {error}") from error


def _make_recordable(error: APIError, key: str, attributes: dict[str, Any]) -> None:
    own = vars(error)
    own.pop("request", None)
    response = own.pop("response", None)
    if response is not None:
        attributes["http.response.status_code"] = response.status_code
        own["retryable"] = response.status_code in _PASSING or response.status_code >= 500
        if "retry-after" in response.headers:
            attributes["http.response.header.retry-after"] = response.headers["retry-after"]
    elif error.__cause__ is not None:  # no answer at all; the SDK's own message does not say why
        own["retryable"] = True
        cause = error.__cause__
        error.message = f"{error.message} {type(cause).__name__}{f': {cause}' if str(cause) else ''}"
    error.args = (error.message,)
    if key != NO_KEY:  # some servers repeat the key that they refuse
        error.args = (_without(error.message, key),)
        own.update({name: _without(value, key) for name, value in own.items()})


def _without(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return value.replace(key, "[key]")
    if isinstance(value, dict):
        return {_without(name, key): _without(item, key) for name, item in value.items()}
    return [_without(item, key) for item in value] if isinstance(value, list) else value


async def events(answer: AsyncStream[Any]) -> AsyncGenerator[Any]:
    """What a stream's server-sent events say, up to `[DONE]`. To be closed by who reads it.

    The SDK's own iterator leaves generators to the garbage collector, which trio warns of.

    Args:
        answer: the SDK's stream, not yet read.

    Raises:
        openai.APIError: the server tells of an error.
        openai.APIConnectionError: the connection broke.
        openai.APITimeoutError: the server fell silent.
        ValueError: an event is no JSON.
    """
    import httpx2
    import openai

    response = answer.response
    pieces = response.aiter_bytes()
    try:
        received, done = _Data(), False
        while not done and (piece := await anext(pieces, None)) is not None:
            for data in received.feed(piece):
                if data == b"[DONE]":
                    done = True
                    break
                told = msgspec.json.decode(data)
                error = told.get("error") if isinstance(told, dict) else None
                if error:
                    message = error.get("message") if isinstance(error, dict) else error
                    raise openai.APIError(str(message), response.request, body=error)
                yield told
        # A connection that was read to its end can be used again; what comes after the answer is no part of it.
        with anyio.move_on_after(_DRAIN_SECONDS), contextlib.suppress(httpx2.RequestError):
            async for _ in pieces:
                pass
    except httpx2.TimeoutException as error:
        raise openai.APITimeoutError(request=response.request) from error
    except httpx2.RequestError as error:
        raise openai.APIConnectionError(request=response.request) from error
    finally:
        # Also where the step was cancelled: the server must not go on writing for nobody.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True), contextlib.suppress(Exception):
            await response.aclose()
            await anext(pieces)  # from a closed connection: every generator below ends with the error


class _Data:
    """The data of server-sent events (WHATWG HTML, 9.2), as they come in."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            if name == b"data":
                self._lines.append(value.removeprefix(b" "))
            elif not line.strip() and self._lines:
                yield b"\n".join(self._lines)
                self._lines = []
