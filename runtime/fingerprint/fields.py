"""The fields of value classes: attrs classes, dataclasses and msgspec Structs."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Final

import attrs
import msgspec

_GENERATED: Final = (
    "__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__setattr__", "__delattr__",
    "__replace__", "__new__",
)  # fmt: skip


def fields_of(value: Any) -> list[str] | None:
    """The names of the fields that tell an instance from another, or None of a class that declares none."""
    kind = type(value)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind) if field.eq or field.init]
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.compare or field.init]
    return None


def field_defaults(cls: type) -> Iterator[tuple[str, Any]]:
    """What the fields of a class are made of where nothing is given, converters and validators among it."""
    if attrs.has(cls):
        for one in attrs.fields(cls):
            default = None if one.default is attrs.NOTHING else getattr(one.default, "factory", one.default)
            yield one.name, (default, one.converter, one.validator)
    elif dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            found = field.default if field.default is not dataclasses.MISSING else field.default_factory
            yield field.name, None if found is dataclasses.MISSING else found
    elif issubclass(cls, msgspec.Struct):
        for place, default in enumerate(cls.__struct_defaults__):
            yield f"default {place}", getattr(default, "factory", default)


def constructor_hints(cls: Any) -> dict[str, Any]:
    """The types of what the constructor of a class takes, by parameter: of a value class those of its fields.

    Raises:
        NameError: an annotation names what cannot be found.
    """
    if issubclass(cls, msgspec.Struct):
        return typing.get_type_hints(cls)  # its __init__ is a slot and tells nothing
    init = cls.__init__
    try:
        hints = typing.get_type_hints(init)
    except NameError:
        if not (inspect.isfunction(init) and is_generated(init, "__init__")):
            raise
        # It repeats the types of inherited fields, whose names only the module of the base class knows.
        hints = _field_hints(cls)
    return {name: hint.type if isinstance(hint, dataclasses.InitVar) else hint for name, hint in hints.items()}


def _field_hints(cls: Any) -> dict[str, Any]:
    declared = typing.get_type_hints(cls)
    if not attrs.has(cls):
        return declared
    # What a converter takes is not the type of its field.
    return {one.alias: Any if one.converter else declared.get(one.name, Any) for one in attrs.fields(cls)}


def is_generated(fn: types.FunctionType, name: str) -> bool:
    """Whether a method was made by attrs or dataclasses."""
    file = fn.__code__.co_filename
    return file.startswith("<attrs generated") or (file == "<string>" and name in _GENERATED)
