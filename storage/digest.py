"""Keyed digests and derived streams (docs/format.md, section 3)."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

DIGEST_BYTES: Final = 16
KEY_BYTES: Final = 32

Use = Literal["value", "request", "subject", "keyid", "certificate"]
_USES: Final[tuple[Use, ...]] = ("value", "request", "subject", "keyid", "certificate")


class Mac:
    """BLAKE2b-128 (RFC 7693) under a store's key, one pre-keyed state for each use.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_states",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a store's key is {KEY_BYTES} bytes, not {len(key)}")
        self._states = {use: hashlib.blake2b(key=key, digest_size=DIGEST_BYTES, person=use.encode()) for use in _USES}

    def __call__(self, use: Use, data: bytes) -> bytes:
        """The 16-byte digest of `data` for one use."""
        state = self._states[use].copy()
        state.update(data)
        return state.digest()

    @property
    def key_id(self) -> bytes:
        """8 bytes that name the key without telling it."""
        return self("keyid", b"")[:8]


def entropy(seed: bytes, address: str, lane: str, kind: str) -> bytes:
    """64 bytes that seed one generator of a span: a function of the trace's seed and of where it is asked for."""
    data = b"\0".join((kind.encode(), lane.encode(), address.encode()))
    return hashlib.blake2b(data, key=seed, person=b"entropy").digest()
