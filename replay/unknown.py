"""Values that a recording does not hold: what needs one is refused by name, never run on what stands for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storage import codec
from storage.errors import CorruptRecord
from storage.values import Opaque, StandIn


class UnknownInput(Exception):
    """A step cannot be run on what it was given: nobody knows it, or it is no value of the declared type any more."""


def opaque(what: str, stand_in: StandIn) -> str:
    """The sentence of a refusal.

    Args:
        what: is missing, for instance "its output".
        stand_in: what is there instead.
    """
    return f"opaque: {what} could not be recorded ({stand_in.reason if isinstance(stand_in, Opaque) else stand_in})"


def take(decode: Callable[[bytes], Any], data: bytes | None) -> Any:
    """A recorded value as an input.

    Raises:
        UnknownInput: it is not known.
    """
    if data is None:
        return decode(b"\xc0")
    stand_in = codec.holds_opaque(data)
    if stand_in is not None:
        raise UnknownInput(opaque("an input of it", stand_in))
    try:
        return decode(data)
    except codec.TypeChanged as error:
        raise UnknownInput(f"type changed: {error}") from error
    except CorruptRecord as error:
        raise UnknownInput(str(error)) from error
