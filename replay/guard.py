"""The guard of a replay: what leaves the process by another door than an effect is refused, in the name of the step that did it.

Sockets, name resolution and process starts are refused, file writes are named. Only code of steps that are replayed is
concerned, in its own tasks and threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from replay.doors import DOORS
from runtime.ambient import AMBIENT
from runtime.errors import Refused

if TYPE_CHECKING:
    from replay.answers import Answers
    from replay.evaluation import Evaluator

_WAY_OUT: Final = "a replay refuses what no recording can answer: declare it as an @effect"


class StepGuard:
    """The guard of one span that runs again.

    Args:
        answers: of the span, where a refusal is noted, so that no handler in the step hides it.
        strict: whether file writes are refused too.
    """

    def __init__(self, answers: Answers, *, strict: bool) -> None:
        self._answers, self._strict = answers, strict

    def refuse(self, address: str, what: str) -> Refused:
        """The exception to raise instead of doing it."""
        return self._refuse(address, f"{address} tried to {what}; {_WAY_OUT}")

    def writes(self, address: str, what: str) -> None:
        """Name a written file.

        Raises:
            Refused: the guard is strict.
        """
        if self._strict:
            raise self._refuse(address, f'{address} tried to {what}; guard="strict" refuses it')
        told = f"let be: {what}"
        if told not in self._answers.deeds:
            self._answers.deeds.append(told)

    def _refuse(self, address: str, reason: str) -> Refused:
        if self._answers.over:  # a thread or task that outlives its step: what is said of the step comes after
            self._answers.evaluator.late[address] = reason
        return self._answers.refuse("blocked", reason)

    def hold(self) -> Callable[[], None]:
        """Go on guarding until what is returned was called."""
        return _hold()


class GlueGuard:
    """The guard of glue that is computed again.

    Args:
        evaluator: of the replay.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def refuse(self, address: str, what: str) -> Refused:
        """The exception to raise instead of doing it."""
        return self._refuse(address, f"glue {address} tried to {what}; {_WAY_OUT}")

    def writes(self, address: str, what: str) -> None:
        """Refuse a file where the guard is strict. Glue has no span to name one on."""
        if self._evaluator.request.strict:
            raise self._refuse(address, f'glue {address} tried to {what}; guard="strict" refuses it')

    def hold(self) -> Callable[[], None]:
        """Go on guarding until what is returned was called."""
        return _hold()

    def _refuse(self, address: str, reason: str) -> Refused:
        self._evaluator.late[address] = reason
        return Refused(reason)


def _hold() -> Callable[[], None]:
    doors, clocks = DOORS.hold(), AMBIENT.hold()

    def release() -> None:
        clocks()
        doors()

    return release


@contextlib.contextmanager
def guarded() -> Generator[None]:
    """While entered, steps of replays are guarded, and their direct use of clocks and randomness is answered."""
    release = _hold()
    try:
        yield
    finally:
        release()
