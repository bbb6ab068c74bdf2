"""Effects: calls that leave the process's own computation, and with entropy the only door for nondeterminism."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import attrs

from runtime.declaration import name_arguments
from runtime.errors import BuildError, Refused
from runtime.identity import owner_text
from runtime.scope import SCOPE
from storage import codec

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__kitchenlog_effect__"

# While a replay is active, an effect outside every span is one whose thread nobody saw: it must not go live.
_replays: list[str] = []


@attrs.define(eq=False)
class Effect:
    """What `@effect` knows of a function."""

    fn: Callable[..., Any]
    name: str
    parameters: tuple[inspect.Parameter, ...]
    is_method: bool
    is_async: bool
    side_effect: bool
    idempotent: bool
    _codec: codec.Codec | None = None
    _encode: codec.Encode | None = None

    @property
    def codec(self) -> codec.Codec:
        """Of the result."""
        if self._codec is None:
            self._codec = codec.Codec(self._hints().get("return", Any))
        return self._codec

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.fn)
        except NameError as error:
            raise BuildError(f"effect {self.name}: an annotation cannot be resolved: {error}") from error


@attrs.define(eq=False)
class EffectCall:
    """One call of an effect."""

    effect: Effect
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def invoke(self) -> Any:
        """Call the function itself: a value, or an awaitable of an async effect."""
        return self.effect.fn(*self.args, **self.kwargs)

    def arguments(self) -> dict[str, Any]:
        """By parameter name; `self` is the fingerprint of the object a method belongs to."""
        effect = self.effect
        if not effect.is_method:
            return name_arguments(effect.parameters, self.args, self.kwargs)
        owner, *rest = self.args
        named = name_arguments(effect.parameters, tuple(rest), self.kwargs)
        return {"self": owner_text(owner), **named}


@overload
def effect(fn: F, /) -> F: ...
@overload
def effect(*, side_effect: bool = False, idempotent: bool = False) -> Callable[[F], F]: ...
def effect(fn: Callable[..., Any] | None = None, /, *, side_effect: bool = False, idempotent: bool = False) -> Any:
    """Declare an effect: a provider, tool, database or HTTP call.

    Its request (the arguments by name) and its outcome are recorded; a replay answers it from the recording.

    Args:
        fn: the function or method.
        side_effect: it changes something outside. Its intent is on disk before it runs, and no replay repeats it
            unless it is named.
        idempotent: repeating it with the same idempotency key is harmless.

    Raises:
        BuildError: the function yields.
    """
    if fn is None:
        return lambda wrapped: _mark(wrapped, side_effect=side_effect, idempotent=idempotent)
    return _mark(fn, side_effect=side_effect, idempotent=idempotent)


def _mark(fn: Callable[..., Any], *, side_effect: bool, idempotent: bool) -> Any:
    if not inspect.isroutine(fn) or inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise BuildError(f"@effect goes on a function that returns one value, not on {fn!r}")
    parameters = tuple(inspect.signature(fn).parameters.values())
    is_method = bool(parameters) and parameters[0].name == "self"
    is_async = inspect.iscoroutinefunction(fn)
    made = Effect(fn, fn.__name__, parameters[is_method:], is_method, is_async, side_effect, idempotent)
    if is_async:

        @functools.wraps(fn)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            scope = SCOPE.get()
            if scope is None:
                _refuse_unseen(made)
                return await fn(*args, **kwargs)
            return await scope.frame.oracle.effect(scope, EffectCall(made, args, kwargs))

        wrapper: Any = call_async
    else:

        @functools.wraps(fn)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            scope = SCOPE.get()
            if scope is None:
                _refuse_unseen(made)
                return fn(*args, **kwargs)
            return scope.frame.oracle.effect_sync(scope, EffectCall(made, args, kwargs))

        wrapper = call_sync
    setattr(wrapper, MARK, made)
    return wrapper


def _refuse_unseen(effect: Effect) -> None:
    if _replays:
        raise Refused(
            f"effect {effect.name} was called outside every step while a replay runs; a thread or task that was "
            "started before the run cannot be told from one of the replay"
        )


class replaying:  # noqa: N801 - reads as a statement: with replaying(trace_id)
    """While entered, effects outside every span are refused."""

    def __init__(self, trace: str) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        _replays.append(self._trace)

    def __exit__(self, *_: object) -> None:
        _replays.remove(self._trace)
