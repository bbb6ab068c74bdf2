"""What is known of an object for as long as it lives."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

from runtime import fingerprint

T = TypeVar("T")


class IdentityCache(Generic[T]):
    """Values by (object, key), compared by identity and dropped with the object. Objects without weak references are not kept."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[Any], dict[object, T]]] = {}

    def get(self, owner: object, key: object) -> T | None:
        """The value, or None."""
        found = self._held.get(id(owner))
        if found is None or found[0]() is not owner:
            return None
        return found[1].get(key)

    def put(self, owner: object, key: object, value: T) -> None:
        """Keep a value while its owner lives."""
        number = id(owner)
        found = self._held.get(number)
        if found is not None and found[0]() is owner:
            found[1][key] = value
            return
        try:
            reference = weakref.ref(owner, lambda _: self._held.pop(number, None))
        except TypeError:
            return
        self._held[number] = (reference, {key: value})


_owners = IdentityCache[str]()


def owner_text(owner: object) -> str:
    """How a recorded request names the object whose method was called: its type and the fingerprint of its configuration."""
    known = _owners.get(owner, None)
    if known is None:
        told = getattr(owner, "fingerprint", None)
        if callable(told):
            known = f"{type(owner).__qualname__} {told()}"
        else:
            digest, _ = fingerprint.config_digest(owner)
            known = f"{type(owner).__qualname__} {digest.hex()}"
        _owners.put(owner, None, known)
    return known
