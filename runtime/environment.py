"""What a run depended on besides its code: recorded to name the likely cause of a divergence."""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from importlib import metadata

import msgspec


@functools.cache
def encoded() -> bytes:
    """The environment of this process (docs/format.md, section 5)."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(name, distribution.version)
    return msgspec.msgpack.encode(
        {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "platform": sys.platform,
            "machine": platform.machine(),
            "hash_seed": os.environ.get("PYTHONHASHSEED", "random"),
            "time_zone": "/".join(time.tzname),
            "versions": dict(sorted(versions.items())),
        }
    )
