"""Exceptions as recorded data, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import anyio

from runtime.errors import RecordedError, Refused
from storage import codec
from storage.records import Error

OK, ERROR, CANCELLED, TIMEOUT, BLOCKED, CUT = range(6)
STATUS: Final = ("ok", "error", "cancelled", "timeout", "blocked", "cut")
"""`cut` is a stream's alone: whoever read it stopped before its end."""

_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{4,}")
_OWN_FIELDS: Final[dict[type[Exception], tuple[str, ...]]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}
"""What the language's own exceptions keep neither in their arguments nor in their `__dict__`."""
_NO_FIELDS: Final = codec.encode({})
_CANCELLED: Final = frozenset({"asyncio.exceptions.CancelledError", "trio.Cancelled"})


class StepTimeout(TimeoutError):
    """An attempt of a step took longer than its declared timeout."""


def is_cancellation(error: BaseException) -> bool:
    """Whether a loop has cancelled what raised this."""
    try:
        return isinstance(error, anyio.get_cancelled_exc_class())
    except RuntimeError:  # a worker thread has no loop to ask
        return f"{type(error).__module__}.{type(error).__qualname__}" in _CANCELLED


def status_of(error: BaseException) -> int:
    """The recorded status of what a call raised."""
    if is_cancellation(error):
        return CANCELLED
    if isinstance(error, Refused):
        return BLOCKED
    return TIMEOUT if isinstance(error, TimeoutError) else ERROR


def describe(error: BaseException) -> Error:
    """An exception as it is stored. Never raises, whatever the exception's own code does."""
    if isinstance(error, RecordedError) and error.recorded is not None:
        return error.recorded  # a step let it pass: it is the recorded error still
    data = _encoded(lambda: _fields(error))
    try:
        retryable = getattr(error, "retryable", False) is True
    except Exception:
        retryable = False
    args = _encoded(lambda: list(error.args))
    return Error(_type_of(error), _text_of(error), args, None if data == _NO_FIELDS else data, retryable)


def _type_of(error: BaseException) -> str:
    return codec.as_utf8(f"{type(error).__module__}:{type(error).__qualname__}")


def _text_of(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception as broken:
        message = f"<str failed: {type(broken).__name__}>"
    return codec.as_utf8(_ADDRESS.sub("0x", message))


def _fields(error: BaseException) -> dict[str, Any]:
    found = {key: value for key, value in vars(error).items() if key != "__notes__"}
    for kind, names in _OWN_FIELDS.items():
        if isinstance(error, kind):
            found.update({name: value for name in names if (value := getattr(error, name)) is not None})
    return found


def _encoded(take: Callable[[], Any]) -> bytes | None:
    """The stored bytes of a part of an exception, or None where they would not tell it."""
    try:
        data = codec.encode(take())
        return data if codec.holds_opaque(data) is None else None
    except Exception:
        return None


def rebuild(error: Error | None) -> Exception:
    """The exception that a recorded one is raised as.

    It is of its own class where that is loaded and what was rebuilt describes itself as the recorded one did; else it is a
    `RecordedError` with the recorded text.
    """
    if error is None:
        return RecordedError("unknown", "the recording holds no details")
    try:
        made = _made_again(error)
    except Exception:  # a class may refuse what it is given
        made = None
    if made is not None and (_type_of(made), _text_of(made)) == (error.type, error.message):
        return made
    stands = RecordedError(error.type, error.message)
    stands.recorded = error
    return stands


def _made_again(error: Error) -> Exception | None:
    found = _loaded(error.type)
    if found is None or (error.args is None and found.__init__ is not Exception.__init__):
        return None
    args: list[Any] = codec.decode_any(error.args) if error.args is not None else [error.message]
    # What the language's own classes do with their arguments is known and harmless; no other constructor is called.
    base: Any = found
    while base.__module__ != "builtins":
        base = base.__base__
    made: Exception = base.__new__(found, *args)
    base.__init__(made, *args)
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
