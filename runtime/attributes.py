"""Attributes and log lines as data that can be stored: what cannot be is told by a stand-in, and costs nothing around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage import codec
from storage.errors import CorruptRecord


def clean_attributes(given: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    """The attributes of a trace, a span or an effect."""
    if not given:
        return None
    if set(map(type, given)) == {str}:
        whole = _plain(given)
        if type(whole) is dict:
            return whole
    return {_name(key): _plain(value) for key, value in given.items()}


def clean_log(lines: Sequence[Any] | None) -> list[Any] | None:
    """Log lines: each a message and its fields."""
    if not lines:
        return None
    whole = _plain(lines)
    if type(whole) is list:
        return whole
    return [[_plain(message), clean_attributes(fields) or {}] for message, fields in lines]


def _plain(value: Any) -> Any:
    data = codec.encode_with_sets(value)
    try:
        return codec.decode_any(data)
    except CorruptRecord as error:  # a map with keys that are values of several parts
        return codec.opaque(value, str(error))


def _name(key: Any) -> str:
    return codec.as_utf8(key) if isinstance(key, str) else codec.opaque(key, "").text
