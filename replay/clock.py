"""The clock of a span that runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runtime import ambient
from runtime.scope import Scope

if TYPE_CHECKING:
    from replay.answers import Answers

_TICK_NS: Final = 1000
"""What a reading that nothing was recorded of lies after the one before."""
_EXTENDED: Final = "clock extended"
_PATIENCE_NS: Final = 10**9
"""How much longer than recorded a span may take before its clock runs on: what waits for a time must reach it."""


class Clock:
    """Answers readings from the recording, in the order of each lane.

    Where the run did not record what code read of `time` and `datetime` directly, that code sees a clock which stands at
    the span's recorded start and ticks with each reading.

    Args:
        answers: of the span.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._read: dict[str, int] = {}
        self._ticks = 0
        self._began = ambient.real_monotonic_ns()

    def read(self, scope: Scope, kind: str) -> Any:
        """A reading; see `runtime.oracle.Oracle.draw`.

        Raises:
            Refused: the span stands as recorded and reads another clock than it did, or reads it more often.
        """
        if ambient.is_direct(kind) and not self._answers.evaluator.answers_direct_from_recording:
            return self._at_recorded_start(scope, kind)
        value = self._next(scope, kind)
        frame = scope.frame
        if frame.draws is None:
            frame.draws = {}
        frame.draws.setdefault(scope.lane, []).append((kind, value))  # of the replay's own trace
        return value

    def _next(self, scope: Scope, kind: str) -> Any:
        answers = self._answers
        recorded = {} if answers.recorded is None else answers.recorded.record.draws or {}
        readings = recorded.get(scope.lane, [])
        place = self._read.get(scope.lane, 0)
        self._read[scope.lane] = place + 1
        if place < len(readings) and readings[place][0] == kind:
            return readings[place][1]
        if answers.verify:
            raise answers.refuse("diverged", f"{scope.frame.address} read {_told(kind, place, readings)}")
        if _EXTENDED not in answers.reasons:
            answers.reasons.append(_EXTENDED)
        same = [value for was, value in readings if was == kind]
        if (not same and ambient.is_direct(kind)) or isinstance(same[0] if same else 0, bytes):
            return self._at_recorded_start(scope, kind)
        last = max(same) if same else (scope.frame.wall if kind == "time" else 0)
        return last + _TICK_NS * (place + 1 - len(same) if place >= len(same) else 1)

    def _at_recorded_start(self, scope: Scope, kind: str) -> Any:
        answers = self._answers
        self._ticks += 1
        took, start = (0, 0) if answers.recorded is None else (answers.recorded.record.duration, answers.recorded.record.start)
        passed = ambient.real_monotonic_ns() - self._began
        passed = self._ticks * _TICK_NS + (passed if passed > took + _PATIENCE_NS else 0)
        request = answers.evaluator.request
        return ambient.reading(scope, kind, request.shift_ns + passed, start)


def _told(kind: str, place: int, readings: list[tuple[str, Any]]) -> str:
    if place < len(readings):
        return f"{kind} in its reading {place + 1} of the clock, recorded {readings[place][0]}"
    return f"the clock {place + 1} times, recorded {len(readings)}"
