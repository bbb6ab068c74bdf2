"""Recording runs whose steps use `time`, `random` and the like directly: `Runtime(entropy="ambient")`."""

from __future__ import annotations

from typing import Any, Final

from runtime import ambient
from runtime.recorder import Recorder, Redact
from runtime.scope import Scope
from runtime.unrecorded import read_clock
from storage.log import Log, Sink

MOST_READINGS: Final = 100_000
"""Of one lane of a span: a loop that watches a clock must not fill the memory."""


class AmbientRecorder(Recorder):
    """As `Recorder`; readings of direct use are recorded among those of `runtime.current()`, in the order of each lane."""

    def __init__(self, log: Log, sink: Sink, *, seed: bytes, redact: Redact, check: bool) -> None:
        super().__init__(log, sink, seed=seed, redact=redact, check=check)
        self.ambient = seed

    def draw(self, scope: Scope, kind: str) -> Any:
        """See `runtime.oracle.Oracle.draw`."""
        if not ambient.is_direct(kind):
            return self.keep(scope, kind, read_clock(kind))
        value = ambient.real(kind)
        draws = scope.frame.draws
        if draws is not None and len(draws.get(scope.lane, ())) >= MOST_READINGS:
            scope.frame.find(f"read clocks more than {MOST_READINGS} times: the rest is not recorded")
            return value
        return self.keep(scope, kind, value)
