"""The output of a graph: glue that makes a run's result out of the values of nodes, by position and by name."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import typing
from typing import Any, Final

import msgspec

from runtime.declaration import PLAIN, StepInfo, snake
from runtime.errors import BuildError
from runtime.fingerprint import Fingerprint
from runtime.fingerprint.fields import constructor_hints
from runtime.node import Node, Placeholder

OUTPUT: Final = "output"


def shown_name(make: Any) -> str:
    """How messages call what makes the output."""
    return snake(getattr(make, "__name__", type(make).__name__))


def bind_output(make: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any, Node[Any]]]:
    """Each parameter of `make` that is given a node's value: its name, its type and the node.

    Raises:
        BuildError: `make` cannot be called with them, or one is no `node.value`.
    """
    shown = shown_name(make)
    if inspect.iscoroutinefunction(make):
        raise BuildError(f"{shown} is async; what build makes is computed at once: add it as a step")
    for key, value in _given(args, kwargs).items():
        if isinstance(value, Node):
            raise BuildError(f"build({shown}, ...): {key} is a node; give {value.name}.value")
        if not isinstance(value, Placeholder):
            raise BuildError(f"build({shown}, ...): {key} is {value!r}, not the .value of a node")
    try:
        bound = inspect.signature(make).bind(*args, **kwargs)
    except TypeError as error:
        raise BuildError(f"build({shown}, ...): {error}") from error
    hints = _hints_of(make)
    return [(key, hints.get(key, Any), one.node) for key, one in bound.arguments.items() if isinstance(one, Placeholder)]


def output_step(make: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepInfo:
    """The step that calls `make` with the values of nodes, in the order they were given."""
    count, names = len(args), tuple(kwargs)

    def assemble(*values: Any) -> Any:
        return make(*values[:count], **dict(zip(names, values[count:], strict=True)))

    given = list(_given(args, kwargs))
    parameters = tuple(
        inspect.Parameter(f"p{key}" if key.isdigit() else key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in given
    )
    result = make if inspect.isclass(make) else _hints_of(make).get("return", Any)
    info = StepInfo(make, assemble, OUTPUT, parameters, {}, result, is_async=False, policy=PLAIN)
    made = info.fingerprint
    wired = msgspec.msgpack.encode([made.digest, given])  # which value becomes which field is part of the glue
    digest = hashlib.blake2b(wired, digest_size=16, person=b"output").digest()
    info.keep_fingerprint(Fingerprint(digest, made.notes, made.reached))
    return info


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**{str(place): value for place, value in enumerate(args)}, **kwargs}


def _hints_of(make: Any) -> dict[str, Any]:
    """The annotations of a callable: of a class its fields and what its constructor takes."""
    found: dict[str, Any] = {}
    for read in (typing.get_type_hints, constructor_hints) if inspect.isclass(make) else (typing.get_type_hints,):
        with contextlib.suppress(Exception):  # unresolvable or none: the checkers see to it
            found.update(read(make))
    return found
