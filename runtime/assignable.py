"""Whether a value of one declared type may be given where another is asked.

A net under the type checkers for those who do not run them: what both checkers accept is never refused here.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import types
import typing
from typing import Any, Final

_PROMOTED: Final[dict[Any, tuple[Any, ...]]] = {float: (int,), complex: (int, float)}
_COVARIANT: Final = (
    collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, collections.abc.Set,
    collections.abc.Mapping, collections.abc.Iterator, collections.abc.Reversible, frozenset,
)  # fmt: skip
_INVARIANT: Final = (list, dict, set, collections.deque, collections.defaultdict, collections.OrderedDict)
_BUILTIN: Final = (*_COVARIANT, *_INVARIANT)


def assignable(have: Any, want: Any) -> bool:
    """Whether `have` fits `want`. Unsure is yes."""
    have, want = _bare(have), _bare(want)
    if _is_open(have) or _is_open(want) or have == want:
        return True
    if _is_union(have):
        return all(assignable(one, want) for one in typing.get_args(have))
    if _is_union(want):
        return any(assignable(have, one) for one in typing.get_args(want))
    if typing.get_origin(have) is typing.Literal:
        values = typing.get_args(have)
        if typing.get_origin(want) is typing.Literal:
            return set(values) <= set(typing.get_args(want))
        return all(assignable(type(value), want) for value in values)
    if typing.get_origin(want) is typing.Literal:
        return have is bool or (isinstance(have, type) and issubclass(have, enum.Enum))  # may have no other values
    return _classes(have, want)


def _bare(declared: Any) -> Any:
    if declared is None:
        return type(None)
    if typing.get_origin(declared) is typing.Annotated:
        return _bare(typing.get_args(declared)[0])
    return _bare(declared.__supertype__) if hasattr(declared, "__supertype__") else declared


def _is_open(declared: Any) -> bool:
    return declared is Any or declared is object or isinstance(declared, (typing.TypeVar, str, typing.ForwardRef))


def _is_union(declared: Any) -> bool:
    return typing.get_origin(declared) in {typing.Union, types.UnionType}


def _classes(have: Any, want: Any) -> bool:
    had, wanted = typing.get_origin(have) or have, typing.get_origin(want) or want
    if not isinstance(had, type) or not isinstance(wanted, type):
        return True
    if getattr(wanted, "_is_protocol", False) and wanted.__module__ != "collections.abc":
        return True
    if typing.is_typeddict(had) or typing.is_typeddict(wanted):
        return True  # by their fields, which is for the checkers
    try:
        if not issubclass(had, (wanted, *_PROMOTED.get(wanted, ()))):
            return False
    except TypeError:
        return True
    return _arguments(have, want, had, wanted)


def _arguments(have: Any, want: Any, had: type, wanted: type) -> bool:
    given, asked = typing.get_args(have), typing.get_args(want)
    if had is str and asked and wanted in _COVARIANT:
        return assignable(str, asked[0])  # a str is a sequence of str only
    if not given or not asked:
        return True
    if had is tuple and wanted is tuple:
        return _tuples(given, asked)
    if had is tuple and wanted in _COVARIANT:
        return all(assignable(one, asked[0]) for one in given if one is not Ellipsis)
    if len(given) != len(asked) or had not in _BUILTIN or wanted not in _BUILTIN:
        return True  # how the parameters of other classes map and vary, only the checkers know
    if had is wanted and had in _INVARIANT:
        return all(assignable(one, two) and assignable(two, one) for one, two in zip(given, asked, strict=True))
    return all(assignable(one, two) for one, two in zip(given, asked, strict=True))


def _tuples(given: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    if len(asked) == 2 and asked[1] is Ellipsis:
        return all(assignable(one, asked[0]) for one in given if one is not Ellipsis)
    if len(given) == 2 and given[1] is Ellipsis:
        return False
    return len(given) == len(asked) and all(assignable(one, two) for one, two in zip(given, asked, strict=True))
