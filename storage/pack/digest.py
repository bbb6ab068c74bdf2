"""Keyed digests of a pack's sections (docs/pack.md, section 3)."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from storage.digest import DIGEST_BYTES, Mac

SectionUse = Literal["block", "shared", "footer"]
_USES: Final[tuple[SectionUse, ...]] = ("block", "shared", "footer")


class SectionMac:
    """BLAKE2b-128 under a key derived from the store's.

    Args:
        mac: the store's digests.
    """

    __slots__ = ("_states",)

    def __init__(self, mac: Mac) -> None:
        key = mac("keyid", b"pack")
        self._states = {use: hashlib.blake2b(key=key, digest_size=DIGEST_BYTES, person=use.encode()) for use in _USES}

    def __call__(self, use: SectionUse, stored: bytes) -> bytes:
        """The 16-byte digest of a section's stored bytes."""
        state = self._states[use].copy()
        state.update(stored)
        return state.digest()
