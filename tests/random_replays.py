"""Random programs of the law, recorded and replayed: what plans and differences are tried with."""

from __future__ import annotations

import functools
import tempfile
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st

from replay.replayer import Replayer
from replay.result import Replay, replay, request_of
from runtime.recording import Recording
from tests import law
from tests.test_law import EXAMPLES, cases, choose_swaps, record

SOME = settings(EXAMPLES, max_examples=60)
RANDOM = cases()
"""A program, where it is recorded, where it is replayed, and what is swapped of it."""
PLACES = st.lists(st.integers(0, 99), min_size=1, max_size=3)


def recorded(case: Any) -> tuple[Recording, Any]:
    """The recording of a case, and its program with what is swapped."""
    program, recorded_on, _, picks = case
    with tempfile.TemporaryDirectory() as folder:
        recording = record(program, recorded_on, folder)
    return recording, choose_swaps(program, recording, picks)


def replayed(case: Any, recording: Recording, program: Any, *, swaps: bool, live: str | list[str] | None = None) -> Replay:
    """A replay of it."""
    law.LIVE = True
    agent = law.build(program)
    swap = {address: law.swap_step(program, address, body) for address, body in program.swaps.items()} if swaps else None
    request = request_of(recording, agent, swap=swap, override=None, live=live, budget_usd=None, code="current")
    made = functools.partial(
        replay, recording, agent, request, redact=lambda value: value, call="", replayer=Replayer
    )  # fmt: skip
    return anyio.run(made, backend=case[2])
