"""Which values are vectors: they hardly compress and few readers want them, so they lie apart."""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import msgpack

_VECTOR: Final = 1
"""The code of the `Vector` extension (docs/format.md, section 6)."""
# An extension of over 255 bytes: its length, its code, and the code of an element type.
_HEAD: Final = re.compile(rb"(?:\xc8..|\xc9....)\x01[\x01-\x07]", re.DOTALL)
_decoder: Final = msgpack.Decoder()


def is_vector(content: bytes) -> bool:
    """Whether at least half of a value's stored bytes are vectors' bytes. Never raises."""
    if _HEAD.match(content):
        return True
    # Two bytes that no ASCII text has: looking for them is a hundred times faster than the search.
    if not (b"\xc8" in content or b"\xc9" in content) or _HEAD.search(content) is None:
        return False
    try:
        return 2 * _vector_bytes(_decoder.decode(content)) >= len(content)
    except Exception:  # stored bytes of a newer or a broken writer: they lie with the others
        return False


def _vector_bytes(value: Any) -> int:
    found = 0
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, msgpack.Ext):
            found += len(bytes(one.data)) if one.code == _VECTOR else 0
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found
