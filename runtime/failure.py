"""Exceptions as recorded data, and back."""

from __future__ import annotations

import re
from typing import Any, Final

import anyio

from runtime.errors import RecordedError, Refused
from storage import codec
from storage.records import Error

OK, ERROR, CANCELLED, TIMEOUT, BLOCKED, CUT = range(6)
STATUS: Final = ("ok", "error", "cancelled", "timeout", "blocked", "cut")
"""`cut` is a stream's alone: whoever read it stopped before its end."""

_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{4,}")


class StepTimeout(TimeoutError):
    """An attempt of a step took longer than its declared timeout."""


def status_of(error: BaseException) -> int:
    """The recorded status of what a call raised."""
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return CANCELLED
    if isinstance(error, Refused):
        return BLOCKED
    return TIMEOUT if isinstance(error, TimeoutError) else ERROR


def describe(error: BaseException) -> Error:
    """An exception as it is stored. Never raises."""
    kind = type(error)
    try:
        message = str(error)
    except Exception as broken:
        message = f"<str failed: {type(broken).__name__}>"
    text = _ADDRESS.sub("0x", message).encode("utf-8", "backslashreplace").decode()
    given = codec.encode(list(error.args))
    args = given if codec.holds_opaque(given) is None else None
    data: bytes | None = None
    own = {key: value for key, value in vars(error).items() if key != "__notes__"}
    if own:
        data = codec.encode(own)
        if codec.holds_opaque(data) is not None:
            data = None
    retryable = getattr(error, "retryable", False) is True
    return Error(f"{kind.__module__}:{kind.__qualname__}", text, args, data, retryable)


def rebuild(error: Error | None) -> BaseException:
    """The exception that a recorded one is raised as: its own class where that is loaded, never a constructor's call."""
    if error is None:
        return RecordedError("unknown", "the recording holds no details")
    found = _loaded(error.type)
    if found is None or (error.args is None and found.__init__ is not Exception.__init__):
        return RecordedError(error.type, error.message)
    args: list[Any] = codec.decode_any(error.args) if error.args is not None else [error.message]
    made = found.__new__(found, *args)
    made.args = tuple(args)
    if error.data is not None:
        for key, value in codec.decode_any(error.data).items():
            setattr(made, key, value)
    return made


_classes: dict[str, type[Exception]] = {}


def _loaded(name: str) -> type[Exception] | None:
    known = _classes.get(name)
    if known is None:
        # Only classes that exist already, found by walking them: data never names an import or an attribute.
        todo: list[type[Exception]] = [Exception]
        while todo:
            one = todo.pop()
            _classes.setdefault(f"{one.__module__}:{one.__qualname__}", one)
            todo.extend(one.__subclasses__())
        known = _classes.get(name)
    return known
