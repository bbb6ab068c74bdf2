"""The law: minimal replay equals full re-execution, and no answer crosses."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import runtime
from replay.answers import Answers
from replay.matching import Matching
from replay.replayer import Replayer
from replay.result import Replay, replay, request_of
from runtime.recording import Call, Recording, Span, static
from tests import law

EXAMPLES = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    phases=(Phase.generate,),
)


def record(program: law.Program, backend: str, folder: str) -> Recording:
    law.LIVE = False
    law.latency.seed(program.seed)
    law.recorded_world.seed(program.seed)
    with runtime.Runtime(folder, backend=backend) as kitchen:
        with contextlib.suppress(law.StepFailed):
            kitchen.run(law.build(program), program.value)
        [line] = kitchen.list()
        return kitchen.open(line.trace_id)


def replayed(program: law.Program, recording: Recording, backend: str, replayer: Any, *, swaps: bool) -> Replay:
    law.LIVE = True
    agent = law.build(program)
    swap = {address: law.swap_step(program, address, body) for address, body in program.swaps.items()} if swaps else None
    live = "needed" if swaps and program.live else None
    request = request_of(recording, agent, swap=swap, override=None, live=live, budget_usd=None, code="current")

    async def call() -> Replay:
        return await replay(recording, agent, request, redact=lambda value: value, call="", replayer=replayer)

    return anyio.run(call, backend=backend)


def outcome(done: Replay, name: str) -> law.Outcome:
    found = done.replayer.results.get(name)
    if found is None or found.status == "blocked":
        entry = done.replayer.entries.get(name)
        return ("blocked", None) if entry is not None and entry.status == "blocked" else ("skip", None)
    return ("ok", found.value) if found.ok else (found.status, "" if found.error is None else found.error.message)


@st.composite
def cases(draw: st.DrawFn) -> tuple[law.Program, str, str, list[tuple[int, int, bool]]]:
    backends = st.sampled_from(("asyncio", "trio"))
    picks = st.lists(
        st.tuples(st.integers(0, 99), st.integers(1, law.M - 1), st.sampled_from((False, False, False, True))),
        min_size=1,
        max_size=2,
    )
    return draw(law.programs()), draw(backends), draw(backends), draw(picks)


def choose_swaps(program: law.Program, recording: Recording, picks: list[tuple[int, int, bool]]) -> law.Program:
    statics = sorted(
        {static(address) for address, item in recording.tree() if isinstance(item, Span)}, key=lambda one: -one.count("/")
    )
    swaps: dict[str, law.Body] = {}
    for place, salt, same in picks:
        address = statics[place % len(statics)]  # the deepest first: nested swaps are the hard ones
        name = address.rpartition("/")[2]
        body = program.bodies[name] if name in program.bodies else program.bodies[program.nodes[int(name[1:])][0]]
        swaps[address] = body if same else attrs.evolve(body, salt=(body.salt + salt) % law.M)
    return attrs.evolve(program, swaps=swaps)


def cancelled_nodes(recording: Recording) -> bool:
    return any(span.result.status == "cancelled" for span in recording.spans.values())


WANTED = {
    "two levels of nesting": 0.3,
    "equal requests answered differently": 0.3,
    "a race with a cancelled loser": 0.2,
    "a step that tries again": 0.2,
    "a nested swap": 0.2,
    "a blocked address": 0.2,
}


class Coverage:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def note(self, recording: Recording, program: law.Program, done: Replay) -> None:
        calls = list(recording.calls)
        self.seen["programs"] += 1
        self.seen["two levels of nesting"] += any(
            address.count("/") >= 2 and not item_is_effect(item) for address, item in recording.tree()
        )
        self.seen["equal requests answered differently"] += any(
            len({other.result.digest for other in calls if other.key == call.key and other.result is not None}) > 1
            for call in calls
        )
        self.seen["a race with a cancelled loser"] += any(
            call.result is not None and call.result.status == "cancelled" for call in calls
        )
        self.seen["a step that tries again"] += any(
            program.bodies[body].tries > 1 for body, inputs in program.nodes if len(inputs) == 1
        )
        self.seen["a nested swap"] += any("/" in address for address in program.swaps)
        self.seen["a blocked address"] += bool(done.blocked)


def item_is_effect(item: Span | Call) -> bool:
    return isinstance(item, Call)


def check(
    case: tuple[law.Program, str, str, list[tuple[int, int, bool]]], replayer: Any, coverage: Coverage | None = None
) -> None:
    program, recorded_on, replayed_on, picks = case
    with tempfile.TemporaryDirectory() as folder:
        recording = record(program, recorded_on, folder)
    if cancelled_nodes(recording) or not list(recording.tree()):
        return  # a failed node cancelled its sibling: which call was cut is the scheduler's
    plain = replayed(program, recording, replayed_on, replayer, swaps=False)
    assert plain.certificate.ok, plain.certificate.entries
    for name, span in recording.spans.items():
        if span.node >= 0:
            assert outcome(plain, name)[1] == (span.result.value if span.result.ok else span.result.error.message)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]

    swapped = choose_swaps(program, recording, picks)
    full = law.Interpreter(swapped, recording).run()
    done = replayed(swapped, recording, replayed_on, replayer, swaps=True)
    if any("reassigned" in entry.reason for entry in done.certificate.entries):
        # Equal requests came from other tasks than recorded: which of them asked first is the scheduler's, and it is said so.
        if coverage is not None:
            coverage.seen["reassigned, and said so"] += 1
        return
    for name, expected in full.items():
        assert outcome(done, name) == expected, (name, expected, done.certificate.entries)
    assert set(map(static, done.ran)) <= set(map(static, done.plan.runs)) | added(done), (done.ran, done.plan.runs)
    if coverage is not None:
        coverage.note(recording, swapped, done)


def added(done: Replay) -> set[str]:
    """What the recording never held cannot be in a plan made from it."""
    known = {static(address) for address in done.recording.addresses()}
    return {static(address) for address in done.ran if static(address) not in known}


@pytest.mark.timeout(400)
def test_minimal_replay_equals_full_reexecution(capsys: pytest.CaptureFixture[str]) -> None:
    coverage = Coverage()

    @EXAMPLES
    @given(cases())
    def holds(case: tuple[law.Program, str, str, list[tuple[int, int, bool]]]) -> None:
        check(case, Replayer, coverage)

    holds()
    with capsys.disabled():
        print("\nlaw:", dict(coverage.seen))  # noqa: T201 - the share of hard cases is part of the result
    total = coverage.seen["programs"]
    assert total >= 200
    for what, share in WANTED.items():
        assert coverage.seen[what] / total >= share, (what, coverage.seen)


class CrossedMatching(Matching):
    """A planted bug: equal calls get each other's answers."""

    def _same_lane(self, key: Any, lane: str) -> Call | None:
        free = self._free(key)
        return free[-1] if free else None


class CrossedAnswers(Answers):
    match = CrossedMatching


class Crossing(Replayer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, answers=CrossedAnswers, **kwargs)


class DroppingSiblings(Replayer):
    """A planted bug: the values of siblings that a swap does not touch are lost."""

    async def _node(self, spec: Any, values: Any) -> Any:
        found = await super()._node(spec, values)
        entry = self.entries.get(spec.name)
        touched = spec.name in self.request.swaps or self.request.swaps.below(spec.name)
        if self.request.swaps and entry is not None and entry.status == "reused" and not touched and spec.index == 0:
            self.results.pop(spec.name, None)
            return None
        return found


class CuttingTooEarly(Replayer):
    """A planted bug: a nested swap is cut off at its parent whatever it gives."""

    async def _probe(self, span: Span) -> bool:
        await super()._probe(span)
        return False


@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", [Crossing, DroppingSiblings, CuttingTooEarly])
def test_a_planted_bug_is_found(bug: type[Replayer]) -> None:
    @EXAMPLES
    @given(cases())
    def holds(case: tuple[law.Program, str, str, list[tuple[int, int, bool]]]) -> None:
        check(case, bug)

    with pytest.raises((AssertionError, ExceptionGroup)):
        holds()
