"""Random programs of the law, recorded and replayed: what plans and differences are tried with."""

from __future__ import annotations

import functools
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st

from replay.replayer import Replayer
from replay.result import Replay, replay, request_of
from runtime.recording import Recording
from tests import law
from tests.test_law import CASES, EXAMPLES, kitchens, swapped, swaps_of

SOME = settings(EXAMPLES, max_examples=60)
RANDOM = CASES
"""A program, where it is recorded, where it is replayed, and what is swapped of it."""
PLACES = st.lists(st.integers(0, 99), min_size=1, max_size=3)


def recorded(case: Any) -> tuple[Recording, Any]:
    """The recording of a case, and its program with what is swapped."""
    with kitchens() as made:
        recording = made.record(case.program, law.build(case.program), case.recorded_on)
    return recording, swapped(case, recording)


def replayed(case: Any, recording: Recording, program: Any, *, swaps: bool, live: str | list[str] | None = None) -> Replay:
    """A replay of it."""
    law.LIVE = True
    agent = law.build(program)
    swap = swaps_of(program) if swaps else None
    request = request_of(recording, agent, swap=swap, override=None, live=live, budget_usd=None, code="current")
    made = functools.partial(replay, recording, agent, request, redact=lambda value: value, call="", replayer=Replayer)
    return anyio.run(made, backend=case.replayed_on)
