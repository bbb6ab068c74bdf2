"""What a process that is killed leaves: record files that nobody holds, and no packs."""

from __future__ import annotations

import runtime


def leave(kitchen: runtime.Runtime) -> None:
    """End a runtime as a kill ends it, once all that was recorded is on disk."""
    log, kitchen.log = kitchen.log, None
    assert log is not None
    sealer = log._sealer
    assert sealer is not None
    sealer.close()
    log._end(30.0)
    sealer.after_fork()  # lets the files go without a word to the store
    kitchen.close()
