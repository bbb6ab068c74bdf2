"""Fingerprints of code and configuration: what a step's outcome depends on besides its inputs."""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from runtime.fingerprint.traversal import Traversal


@attrs.frozen
class Fingerprint:
    """Of a step."""

    digest: bytes
    """16 bytes."""
    notes: tuple[str, ...]
    """What could not be followed."""
    reached: tuple[str, ...]
    """Module-qualified names of every function and class that was followed."""


_known: weakref.WeakKeyDictionary[Any, Fingerprint] = weakref.WeakKeyDictionary()


def code_fingerprint(target: Any) -> Fingerprint:
    """Of a function or class, with everything of its distribution that it reaches."""
    try:
        known = _known.get(target)
    except TypeError:
        known = None
    if known is not None:
        return known
    walk = Traversal()
    walk.reach(target)
    made = _finish(walk)
    try:
        _known[target] = made
    except TypeError:
        return made
    return made


def config_digest(obj: object) -> tuple[bytes, tuple[str, ...]]:
    """Of an instance's configuration, field by field, and what could not be followed.

    Raises:
        Unfingerprintable: a part can be neither encoded nor named.
    """
    walk = Traversal()
    walk.put(b"config")
    walk.owner(obj)
    return walk.digest, walk.notes


def step_fingerprint(target: Any) -> Fingerprint:
    """Of a callable as a step: its code, and the configuration of the instance it belongs to.

    Raises:
        Unfingerprintable: a part of the configuration can be neither encoded nor named.
    """
    walk = Traversal()
    walk.step(target)
    return _finish(walk)


def _finish(walk: Traversal) -> Fingerprint:
    return Fingerprint(walk.digest, walk.notes, walk.reached)
