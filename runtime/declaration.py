"""Steps: any callable with declared inputs and one value out.

`@step` marks a function, or the `__call__` of a class, as a step that makes a span of its own wherever it is called
inside a run. A callable given to `Graph.add` needs no mark.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

import attrs

from runtime.errors import BuildError
from runtime.fingerprint import Fingerprint, step_fingerprint
from runtime.fingerprint.fields import constructor_hints
from runtime.fingerprint.source import remember_source
from runtime.identity import IdentityCache
from runtime.scope import SCOPE
from storage.codec import Codec, Encode, encode, encode_with_sets, may_hold_sets

if TYPE_CHECKING:
    from runtime.parts import Part

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")

MARK: Final = "__kitchenlog_step__"
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@attrs.frozen
class Retry:
    """How often and after which waits a step is tried again.

    Args:
        attempts: tries in all, the first included.
        wait: seconds before the second attempt; doubled before each later one.
        max_wait: the longest wait in seconds.
        on: the exceptions that are worth another attempt.
    """

    attempts: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    wait: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    max_wait: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    on: tuple[type[Exception], ...] = (Exception,)


@attrs.frozen
class Policy:
    """How a step is run: plain data, part of its fingerprint."""

    retry: Retry | None = None
    timeout: float | None = None
    concurrency: int | None = None
    thread: bool = False
    plain: bool = attrs.field(init=False, repr=False, eq=False)
    """Whether the step is called as it is: no retry, timeout, limit or thread."""

    def __attrs_post_init__(self) -> None:
        asks = self.retry is None and self.timeout is None and self.concurrency is None and not self.thread
        object.__setattr__(self, "plain", asks)  # frozen, and read for every span


PLAIN: Final = Policy()


@attrs.frozen(eq=False)
class Mark:
    """What `@step` attaches to a function."""

    fn: Callable[..., Any]
    policy: Policy


def snake(name: str) -> str:
    """`RerankHits` as `rerank_hits`."""
    return _CAMEL.sub("_", name).lower()


@overload
def step(fn: F, /) -> F: ...
@overload
def step(
    *,
    retry: int | Retry | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    thread: bool = False,
) -> Callable[[F], F]: ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    retry: int | Retry | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    thread: bool = False,
) -> Any:
    """Declare a step.

    Args:
        fn: the function, or the `__call__` of a class whose instances are steps.
        retry: tries in all, or a `Retry`.
        timeout: seconds for one attempt.
        concurrency: how many may run at once in this process.
        thread: run a sync function in a worker thread.

    Raises:
        BuildError: the settings do not fit the function.
    """
    policy = Policy(Retry(retry) if isinstance(retry, int) else retry, timeout, concurrency, thread)
    if fn is None:
        return lambda wrapped: _mark(wrapped, policy)
    return _mark(fn, policy)


def _mark(fn: Callable[..., Any], policy: Policy) -> Any:
    if not inspect.isroutine(fn):
        raise BuildError(f"@step goes on a function or on a class's __call__, not on {fn!r}")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise BuildError(f"{fn.__qualname__} yields; a step returns one value")
    is_async = inspect.iscoroutinefunction(fn)
    if is_async and policy.thread:
        raise BuildError(f"{fn.__qualname__} is async: thread=True is for sync functions")
    if policy.timeout is not None and not is_async and not policy.thread:
        raise BuildError(f"{fn.__qualname__} is sync: a timeout cannot stop it; declare thread=True or make it async")
    mark = Mark(fn, policy)
    if is_async:

        @functools.wraps(fn)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            scope = SCOPE.get()
            if scope is None:
                return await fn(*args, **kwargs)
            return await scope.frame.oracle.step(scope, bind(mark, args, kwargs))

        wrapper: Any = call_async
    else:

        @functools.wraps(fn)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            scope = SCOPE.get()
            if scope is None:
                return fn(*args, **kwargs)
            return scope.frame.oracle.step_sync(scope, bind(mark, args, kwargs))

        wrapper = call_sync
    setattr(wrapper, MARK, mark)
    remember_source(fn)
    return wrapper


@attrs.define(eq=False)
class StepInfo:
    """What is known of a callable that runs as a step."""

    target: Callable[..., Any]
    """The callable as it was given."""
    run: Callable[..., Any]
    """The same without the span that calling a marked step makes."""
    name: str
    parameters: tuple[inspect.Parameter, ...]
    hints: dict[str, Any]
    result: Any
    is_async: bool
    policy: Policy
    plain_names: tuple[str, ...] | None = attrs.field(init=False)
    """See `plain_names`."""
    parts: tuple[Part, ...] = ()
    """Of a control node or an agent: what it runs."""
    _fingerprint: Fingerprint | None = None
    _codec: Codec | None = None
    _inputs: dict[str, Codec] | None = None
    _encode_request: Encode | None = None

    def __attrs_post_init__(self) -> None:
        self.plain_names = plain_names(self.parameters)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the code and configuration."""
        if self._fingerprint is None:
            self._fingerprint = step_fingerprint(self.target)
        return self._fingerprint

    def keep_fingerprint(self, made: Fingerprint) -> None:
        """Take a fingerprint that was made elsewhere."""
        self._fingerprint = made

    @property
    def codec(self) -> Codec:
        """Of the result."""
        if self._codec is None:
            try:
                self._codec = Codec(self.result)
            except TypeError as error:
                raise BuildError(f"the result of step {self.name} cannot be recorded: {error}") from error
        return self._codec

    @property
    def encode_request(self) -> Encode:
        """Of a call's arguments by name."""
        if self._encode_request is None:
            careful = any(may_hold_sets(self.hints.get(one.name, Any)) for one in self.parameters)
            self._encode_request = encode_with_sets if careful else encode
        return self._encode_request

    def input_codec(self, name: str) -> Codec:
        """Of one parameter."""
        if self._inputs is None:
            self._inputs = {}
        if name not in self._inputs:
            self._inputs[name] = Codec(self.hints.get(name, Any))
        return self._inputs[name]


@attrs.frozen(eq=False)
class Bound:
    """A marked step with the arguments of one call."""

    info: StepInfo
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    alias: str | None = None
    """The node's name inside an agent that runs as a step, or the part's inside a control node."""
    item: int | None = None
    """Which iteration of a loop or item of a map it is."""

    @property
    def name(self) -> str:
        """Of the call."""
        return self.alias or self.info.name

    def arguments(self) -> dict[str, Any]:
        """By parameter name, as they were given."""
        names, args = self.info.plain_names, self.args
        if names is not None and not self.kwargs and len(args) == len(names):
            return dict(zip(names, args))  # noqa: B905 - just compared; `strict` costs as much as the rest
        return name_arguments(self.info.parameters, args, self.kwargs)


def plain_names(parameters: tuple[inspect.Parameter, ...]) -> tuple[str, ...] | None:
    """The names that as many positional arguments bind to, or None where that takes a look at the signature."""
    if any(one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD} for one in parameters):
        return None
    return tuple(one.name for one in parameters)


def name_arguments(parameters: tuple[inspect.Parameter, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name; extra ones raise as the call itself would.

    Raises:
        TypeError: they do not fit the parameters.
    """
    bound = inspect.Signature(parameters).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def bind(mark: Mark, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
    """The call of a marked step, `self` taken off where it is a method."""
    if "self" in _first_parameter(mark.fn) and args:
        owner = args[0]
        return Bound(_describe_method(mark, owner), args[1:], kwargs)
    return Bound(_describe_function(mark), args, kwargs)


@functools.cache
def _first_parameter(fn: Callable[..., Any]) -> str:
    return next(iter(inspect.signature(fn).parameters), "")


@functools.cache
def _describe_function(mark: Mark) -> StepInfo:
    return _info(getattr(mark, "wrapper", mark.fn), mark.fn, mark.fn, mark.fn.__name__, mark.policy)


_methods = IdentityCache[StepInfo]()


def _describe_method(mark: Mark, owner: object) -> StepInfo:
    known = _methods.get(owner, mark)
    if known is None:
        name = snake(type(owner).__name__) if mark.fn.__name__ == "__call__" else mark.fn.__name__
        bound = mark.fn.__get__(owner)
        target: Any = owner if mark.fn.__name__ == "__call__" else bound
        known = _info(target, bound, mark.fn, name, mark.policy)
        _methods.put(owner, mark, known)
    return known


def describe(target: Callable[..., Any]) -> StepInfo:
    """What a callable is as a step.

    Raises:
        BuildError: it is none.
    """
    if isinstance(target, StepInfo):
        return target
    if inspect.isclass(target) and not _is_value_class(target):
        raise BuildError(f"{target.__qualname__} is a class; give an instance of it: {target.__qualname__}(...)")
    mark = getattr(target, MARK, None)
    if mark is not None:
        owner = getattr(target, "__self__", None)
        if owner is not None:
            return _describe_method(mark, owner)
        if _first_parameter(mark.fn) == "self":
            raise BuildError(f"{mark.fn.__qualname__} is a method; give it bound to an instance")
        return _describe_function(mark)
    if isinstance(target, functools.partial):
        return _describe_partial(target)
    if inspect.isroutine(target) or inspect.isclass(target):
        return _describe_plain(target)
    method = inspect.getattr_static(type(target), "__call__", None)
    if method is None or not callable(target):
        raise BuildError(f"{target!r} is no step: it cannot be called")
    if hasattr(type(target), "as_step"):  # a finished agent: its one input is declared by the graph
        made: StepInfo = target.as_step()  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        return made
    mark = getattr(method, MARK, None)
    if mark is not None:
        return _describe_method(mark, target)
    call: Any = method
    _refuse_hidden_steps(target)
    return _info(target, target, call, snake(type(target).__name__), PLAIN)


def _is_value_class(target: type) -> bool:
    # A class is a callable too: Reply as glue builds a Reply. A class whose instances are called is a step left bare.
    return not any("__call__" in vars(base) for base in target.__mro__)


def _describe_plain(target: Any) -> StepInfo:
    fn = target.__func__ if inspect.ismethod(target) else target
    name = getattr(fn, "__name__", "step")
    if name == "<lambda>":
        name = "derived"
    if not inspect.ismethod(target) and inspect.isfunction(fn) and _first_parameter(fn) == "self":
        raise BuildError(f"{fn.__qualname__} is a method; give it bound to an instance")
    return _info(target, target, fn, snake(name) if inspect.isclass(fn) else name, PLAIN)


def _describe_partial(target: functools.partial[Any]) -> StepInfo:
    inner = describe(target.func)
    run = functools.partial(inner.run, *target.args, **target.keywords)
    parameters = tuple(inspect.signature(target).parameters.values())
    kept = tuple(p for p in parameters if p.name not in target.keywords)
    return StepInfo(target, run, inner.name, kept, inner.hints, inner.result, inner.is_async, inner.policy)


def _refuse_hidden_steps(target: object) -> None:
    kind: Any = type(target)
    if not attrs.has(kind):
        return
    for field in attrs.fields(kind):
        value = getattr(target, field.name)
        call = inspect.getattr_static(type(value), "__call__", None)
        if attrs.has(type(value)) and inspect.iscoroutinefunction(call) and not hasattr(call, MARK):
            raise BuildError(
                f"{type(target).__qualname__}.{field.name} holds a {type(value).__qualname__}, a step whose calls would "
                f"leave no span: put @step on {type(value).__qualname__}.__call__"
            )


def _info(
    target: Callable[..., Any],
    run: Callable[..., Any],
    fn: Callable[..., Any],
    name: str,
    policy: Policy,
) -> StepInfo:
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise BuildError(f"step {name} yields; a step returns one value")
    try:
        hints = constructor_hints(fn) if inspect.isclass(fn) else typing.get_type_hints(fn)
    except Exception as error:
        if inspect.isbuiltin(fn) or not hasattr(fn, "__annotations__"):
            hints = {}
        else:
            raise BuildError(f"step {name}: an annotation cannot be resolved: {error}") from error
    try:
        parameters = tuple(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        parameters = (inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY),)
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise BuildError(f"step {name}: {parameter.name} is keyword-only and has no default; edges are positional")
    result = fn if inspect.isclass(fn) else hints.pop("return", Any)
    hints.pop("return", None)
    return StepInfo(target, run, name, parameters, hints, result, inspect.iscoroutinefunction(fn), policy)
