"""Effects: calls that leave the process's own computation, and with entropy the only door for nondeterminism."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import attrs

from runtime.declaration import name_arguments, plain_names
from runtime.errors import BuildError, Refused
from runtime.identity import owner_text
from runtime.scope import SCOPE
from storage import codec

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__kitchenlog_effect__"
SIDE_EFFECT: Final = 1
IDEMPOTENT: Final = 2
STREAM: Final = 4
ITEM: Final = 8
"""Of a nested step: an iteration of a loop or an item of a map."""

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
    is_stream: bool
    side_effect: bool
    idempotent: bool
    snapshot: bool
    plain_names: tuple[str, ...] | None
    flags: int
    """As they are stored with an intent."""
    _codec: codec.Codec | None = None

    @property
    def codec(self) -> codec.Codec:
        """Of the result, or of a stream's chunks."""
        if self._codec is None:
            declared = self._hints().get("return", Any)
            if self.is_stream:
                declared = next(iter(typing.get_args(declared)), Any)
            self._codec = codec.Codec(declared)
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
        """Call the function itself: a value, an awaitable of an async effect, an iterator of a stream."""
        return self.effect.fn(*self.args, **self.kwargs)

    def arguments(self) -> dict[str, Any]:
        """By parameter name; `self` is the fingerprint of the object a method belongs to."""
        effect, args = self.effect, self.args
        if effect.is_method:
            return {"self": owner_text(args[0]), **name_arguments(effect.parameters, args[1:], self.kwargs)}
        names = effect.plain_names
        if names is not None and not self.kwargs and len(args) == len(names):
            return dict(zip(names, args))  # noqa: B905 - just compared; `strict` costs as much as the rest
        return name_arguments(effect.parameters, args, self.kwargs)


@overload
def effect(fn: F, /) -> F: ...
@overload
def effect(*, side_effect: bool = False, idempotent: bool = False, snapshot: bool = False) -> Callable[[F], F]: ...
def effect(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    side_effect: bool = False,
    idempotent: bool = False,
    snapshot: bool = False,
) -> Any:
    """Declare an effect: a provider, tool, database or HTTP call.

    Its request (the arguments by name) and its outcome are recorded; a replay answers it from the recording. An async
    generator is a stream: its chunks are recorded with their times, and so is how it ended.

    Args:
        fn: the function or method.
        side_effect: it changes something outside. Its intent is on disk before it runs, and no replay repeats it
            unless it is named.
        idempotent: repeating it with the same idempotency key is harmless.
        snapshot: a method whose answers hold for the version that the object's `fingerprint()` tells, that of a search
            index for instance. A replay makes the call live only while that is the version that was recorded.

    Raises:
        BuildError: the function is a sync generator, or is no method though `snapshot` is set.
    """
    if fn is None:
        return lambda wrapped: _mark(wrapped, side_effect=side_effect, idempotent=idempotent, snapshot=snapshot)
    return _mark(fn, side_effect=side_effect, idempotent=idempotent, snapshot=snapshot)


def is_effect(fn: object) -> bool:
    """Whether a function or method was declared by `@effect`, so that its calls are recorded."""
    return hasattr(fn, MARK)


def _mark(fn: Callable[..., Any], *, side_effect: bool, idempotent: bool, snapshot: bool) -> Any:
    if not inspect.isroutine(fn):
        raise BuildError(f"@effect goes on a function, not on {fn!r}")
    if inspect.isgeneratorfunction(fn):
        raise BuildError(f"@effect: {fn.__qualname__} is a sync generator; make it an async one, which is recorded as a stream")
    parameters = tuple(inspect.signature(fn).parameters.values())
    is_method = bool(parameters) and parameters[0].name == "self"
    if snapshot and not is_method:
        raise BuildError(f"@effect(snapshot=True): {fn.__qualname__} is no method, so nothing tells its version")
    is_async, is_stream = inspect.iscoroutinefunction(fn), inspect.isasyncgenfunction(fn)
    asked = parameters[is_method:]
    flags = SIDE_EFFECT * side_effect | IDEMPOTENT * idempotent | STREAM * is_stream
    made = Effect(
        fn, fn.__name__, asked, is_method, is_async, is_stream, side_effect, idempotent, snapshot, plain_names(asked), flags
    )  # fmt: skip
    wrapper = _wrap(fn, made)
    setattr(wrapper, MARK, made)
    return wrapper


def _wrap(fn: Callable[..., Any], made: Effect) -> Callable[..., Any]:
    if made.is_async:

        @functools.wraps(fn)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            scope = SCOPE.get()
            if scope is None:
                _refuse_unseen(made)
                return await fn(*args, **kwargs)
            return await scope.frame.oracle.effect(scope, EffectCall(made, args, kwargs))

        return call_async

    @functools.wraps(fn)
    def call_sync(*args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None:
            _refuse_unseen(made)
            return fn(*args, **kwargs)
        oracle = scope.frame.oracle
        answer = oracle.stream if made.is_stream else oracle.effect_sync
        return answer(scope, EffectCall(made, args, kwargs))

    return call_sync


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
