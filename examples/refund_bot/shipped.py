"""The recording that ships with the example: a small store with a key of its own, holding one turn that went wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import runtime

SHIPPED: Final = Path(__file__).parent / "recording"
_PRIVATE: Final = 0o600


def copy_of(folder: Path) -> runtime.Runtime:
    """A runtime over a copy of the shipped store, made anew: a replay adds a trace of its own, and a checkout is to stay clean.

    Args:
        folder: where the copy goes; what is there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED, folder)
    (folder / "key").chmod(_PRIVATE)
    return runtime.Runtime(folder)


def trace_of(kitchen: runtime.Runtime) -> str:
    """The id of the shipped turn."""
    (line,) = kitchen.list(where="kind = 'run'")
    return line.trace_id
