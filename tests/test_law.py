"""The law: minimal replay equals full re-execution, exactly the needed steps run, and no answer crosses."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Generator
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import runtime
from replay.replayer import Replayer
from replay.result import Replay, replay, request_of
from runtime.parts import parts_of
from runtime.recording import Call, Recording, Span, static
from tests import law
from tests.law_bugs import BUGS
from tests.law_interpreter import Ambiguous, Interpreter, Outcome
from tests.law_programs import programs

LONG = int(os.environ.get("KITCHENLOG_LAW", "10000"))
"""Programs of the long run."""
SHARDS = 10
EXAMPLES = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    phases=(Phase.generate,),
)


@attrs.frozen
class Case:
    """A program, where it runs, and what is changed of it."""

    program: law.Program
    recorded_on: str
    replayed_on: str
    edits: bool
    """Whether the code is edited; else it is swapped."""
    picks: list[tuple[str, int, int, bool]]
    """Of each change: of what (every execution of a step, one iteration or item, glue), which, by how much, and whether its code
    stays equal."""


_BACKENDS = st.sampled_from(("asyncio", "trio"))
_TARGETS = st.sampled_from(("step", "step", "step", "item", "item", "glue", "glue"))
_PICKS = st.lists(
    st.tuples(_TARGETS, st.integers(0, 99), st.integers(1, law.M - 1), st.sampled_from((False, False, False, True))),
    min_size=1,
    max_size=2,
)
_EDITS = st.sampled_from((False, False, False, True))
CASES = st.builds(Case, programs(), _BACKENDS, _BACKENDS, _EDITS, _PICKS)


class Kitchens:
    """A store for each loop, made anew after so many programs: an older one is slower to read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._made: dict[str, runtime.Runtime] = {}
        self._count = 0

    def record(self, program: law.Program, agent: Any, backend: str) -> Recording:
        """Run a program as an agent: built once and used often, since the fingerprints of its steps cost more than all else."""
        self._count += 1
        if self._count % 100 == 0:
            self.close()
        kitchen = self.of(backend)
        law.LIVE = False
        law.latency.seed(program.seed)
        law.recorded_world.seed(program.seed)
        try:
            trace = kitchen.run(agent, program.value).trace_id
        except law.StepFailed as error:
            trace = error.__notes__[-1].rpartition(" ")[2]
        return kitchen.open(trace)

    def of(self, backend: str) -> runtime.Runtime:
        """The store of a loop."""
        kitchen = self._made.get(backend)
        if kitchen is None:
            kitchen = self._made[backend] = runtime.Runtime(f"{self._folder}/{backend}{self._count}", backend=backend)
        return kitchen

    def close(self) -> None:
        for kitchen in self._made.values():
            kitchen.close()
        self._made.clear()


@contextlib.contextmanager
def kitchens() -> Generator[Kitchens]:
    with tempfile.TemporaryDirectory() as folder:
        made = Kitchens(folder)
        try:
            yield made
        finally:
            made.close()


def swaps_of(program: law.Program) -> dict[str, Any]:
    return {address: law.swap_step(program, address, stand_in) for address, stand_in in program.swaps.items()}


def replayed(program: law.Program, agent: Any, recording: Recording, backend: str, replayer: Any, *, live: bool) -> Replay:
    law.LIVE = True
    request = request_of(
        recording, agent, swap=swaps_of(program), override=None, live="needed" if live else None, budget_usd=None, code="current"
    )

    async def call() -> Replay:
        return await replay(recording, agent, request, redact=lambda value: value, call="", replayer=replayer)

    return anyio.run(call, backend=backend)


def outcome(done: Replay, name: str) -> Outcome:
    found = done.replayer.results.get(name)
    if found is None or found.status == "blocked":
        entry = done.replayer.entries.get(name)
        return ("blocked", None) if entry is not None and entry.status == "blocked" else ("skip", None)
    return ("ok", found.value) if found.ok else (found.status, "" if found.error is None else found.error.message)


def swapped(case: Case, recording: Recording) -> law.Program:
    """The program with the swaps of a case: of every execution of a step, of one iteration or item, or of glue."""
    program = case.program
    spans = {address for address, item in recording.tree() if isinstance(item, Span) and item.kind == "step"}
    named = {address for address in spans if _body_of(program, address) is not None}
    items = {address for address in named if "[" in address and not set(address) & set("~#!")}
    glue = _settings(program)
    deepest = sorted({static(address) for address in named}, key=lambda one: (-one.count("/"), one))
    steps = deepest or sorted(glue)  # a map of nothing has no steps
    choices = {"step": steps, "item": sorted(items) or steps, "glue": sorted(glue) or steps}
    swaps: dict[str, law.Body | int] = {}
    for target, place, salt, same in case.picks:
        address = choices[target][place % len(choices[target])]  # the deepest first: nested swaps are the hard ones
        if address in glue:
            swaps[address] = glue[address] + (0 if same else salt)
        elif (body := _body_of(program, address)) is not None:
            swaps[address] = body if same else attrs.evolve(body, salt=(body.salt + salt) % law.M)
    return attrs.evolve(program, swaps=swaps)


def _body_of(program: law.Program, address: str) -> law.Body | None:
    """The body of the step at an address; None where it is a control node or an agent."""
    name = static(address).rpartition("/")[2]
    if name in program.bodies:
        return program.bodies[name]
    if name == "part":
        return None
    nodes = program.part if "/" in address else program.nodes
    node = nodes[int(name[1:])]
    return program.bodies[node.parts[0]] if node.kind == "step" else None


def _settings(program: law.Program) -> dict[str, int]:
    """The setting of all glue, by address."""
    found: dict[str, int] = {}
    for place, node in enumerate(program.nodes):
        if node.kind in law.GLUE:
            found[law.glue_name(node.kind, place)] = node.setting
        for name in node.parts:
            if name == "part":
                above = f"n{place}" if node.kind == "sub" else f"n{place}/part"
                inner = enumerate(program.part)
                found |= {f"{above}/{law.glue_name(one.kind, at)}": one.setting for at, one in inner if one.kind in law.GLUE}
    return found


def edited(case: Case) -> law.Program:
    """The program with the edits of a case: of bodies, and of the settings of glue."""
    program = case.program
    bodies, nodes = dict(program.bodies), list(program.nodes)
    for target, place, salt, same in case.picks:
        if target != "glue":
            name = sorted(bodies)[place % len(bodies)]
            bodies[name] = bodies[name] if same else attrs.evolve(bodies[name], salt=(bodies[name].salt + salt) % law.M)
        else:
            at = place % len(nodes)
            nodes[at] = attrs.evolve(nodes[at], setting=nodes[at].setting + salt)
    return attrs.evolve(program, bodies=bodies, nodes=tuple(nodes))


def was_cancelled(recording: Recording) -> bool:
    return any(span.result.status == "cancelled" for span in recording.spans.values())


WANTED = {
    "two levels of nesting": 0.3,
    "equal requests answered differently": 0.3,
    "a race with a cancelled loser": 0.1,
    "a step that tries again": 0.1,
    "a step that is retried": 0.08,
    "a stream": 0.1,
    "a nested swap": 0.2,
    "a swap of one iteration or item": 0.03,
    "swapped glue": 0.08,
    "edited code": 0.1,
    "a blocked address": 0.1,
    "branch": 0.15,
    "map": 0.15,
    "loop": 0.15,
    "sub": 0.05,
    "a subgraph whose nodes run at once": 0.05,
    "a branch that flips": 0.02,
    "a map of other items": 0.02,
    "a loop that runs more or less often": 0.02,
}


class Coverage:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def note(self, recording: Recording, program: law.Program, done: Replay, case: Case, events: set[str]) -> None:
        calls = list(recording.calls)
        self.seen.update(["programs", *events, *{node.kind for node in program.nodes}])
        self.seen["two levels of nesting"] += any(
            address.count("/") >= 2 and not isinstance(item, Call) for address, item in recording.tree()
        )
        self.seen["equal requests answered differently"] += any(
            len({other.result.digest for other in calls if other.key == call.key and other.result is not None}) > 1
            for call in calls
        )
        self.seen["a race with a cancelled loser"] += any(
            call.result is not None and call.result.status == "cancelled" for call in calls
        )
        self.seen["a step that tries again"] += any(
            program.bodies[node.parts[0]].tries > 1 for node in program.nodes if node.kind == "step" and len(node.inputs) == 1
        )
        self.seen["a step that is retried"] += any(span.record.attempts for span in recording.spans.values())
        reached = any("part" in node.parts for node in program.nodes)
        self.seen["a subgraph whose nodes run at once"] += reached and not law.is_chain(program.part)
        self.seen["a stream"] += any(call.intent.name == "tell" for call in calls)
        self.seen["a nested swap"] += any("/" in address for address in program.swaps)
        self.seen["a swap of one iteration or item"] += any("[" in address for address in program.swaps)
        self.seen["swapped glue"] += any(isinstance(one, int) for one in program.swaps.values())
        self.seen["edited code"] += case.edits
        self.seen["a blocked address"] += bool(done.blocked)


def check(case: Case, replayer: Any, made: Kitchens, coverage: Coverage | None = None) -> None:
    agent = law.build(case.program)
    recording = made.record(case.program, agent, case.recorded_on)
    if was_cancelled(recording) or not list(recording.tree()):
        return  # a failed node cancelled its sibling: which call was cut is the scheduler's
    plain = replayed(case.program, agent, recording, case.replayed_on, replayer, live=False)
    assert plain.certificate.ok, plain.certificate.entries
    for name, span in recording.spans.items():
        if span.node >= 0:
            assert outcome(plain, name)[1] == (span.result.value if span.result.ok else span.result.error.message)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]

    program = edited(case) if case.edits else swapped(case, recording)
    full = Interpreter(program, recording)
    try:
        outcomes = full.run()
    except Ambiguous:
        return
    now = law.build(program) if case.edits else agent
    done = replayed(program, now, recording, case.replayed_on, replayer, live=program.live)
    if any("reassigned" in entry.reason for entry in done.certificate.entries):
        # Equal requests came from other tasks than recorded: which of them asked first is the scheduler's, and it is said so.
        if coverage is not None:
            coverage.seen["reassigned, and said so"] += 1
        return
    for name, expected in outcomes.items():
        assert outcome(done, name) == expected, (name, expected, done.certificate.entries)
    if not case.edits:
        assert sorted(map(static, done.ran)) == sorted(map(static, full.needed)), (done.ran, full.needed)
    assert set(map(static, done.ran)) <= set(map(static, done.plan.runs)) | added(done), (done.ran, done.plan.runs)
    if coverage is not None:
        coverage.note(recording, program, done, case, full.seen)


def added(done: Replay) -> set[str]:
    """What neither the recording nor the graph holds cannot be in a plan made from them: nested steps of a part never reached."""
    known = {static(address) for address in done.recording.addresses()} | set(parts_of(done.replayer.agent))
    return {static(address) for address in done.ran if static(address) not in known}


@pytest.mark.timeout(400)
def test_minimal_replay_equals_full_reexecution(capsys: pytest.CaptureFixture[str]) -> None:
    coverage = Coverage()
    with kitchens() as made:

        @EXAMPLES
        @given(CASES)
        def holds(case: Case) -> None:
            check(case, Replayer, made, coverage)

        holds()
    with capsys.disabled():
        print("\nlaw:", dict(coverage.seen))  # noqa: T201 - the share of hard cases is part of the result
    total = coverage.seen["programs"]
    assert total >= 150
    for what, share in WANTED.items():
        assert coverage.seen[what] / total >= share, (what, coverage.seen)


@pytest.mark.timeout(200)
def test_a_replay_is_a_whole_trace_that_replays() -> None:
    replays = 0
    with kitchens() as made:

        @settings(EXAMPLES, max_examples=60)
        @given(CASES)
        def holds(case: Case) -> None:
            nonlocal replays
            agent = law.build(case.program)
            recording = made.record(case.program, agent, case.recorded_on)
            if was_cancelled(recording) or not list(recording.tree()):
                return
            program = edited(case) if case.edits else swapped(case, recording)
            law.LIVE = True
            agent, swap = law.build(program) if case.edits else agent, swaps_of(program)
            live = "needed" if program.live else None
            kitchen = made.of(case.recorded_on)
            done = kitchen.replay(recording.trace_id, agent=agent, swap=swap, live=live)
            opened = kitchen.open(done.trace_id)
            assert len(set(opened.addresses())) == len(opened.addresses())
            known = {static(address) for address in opened.addresses()} | set(parts_of(agent)) | {one.name for one in agent.nodes}
            if not done.certificate.ok or not {static(address) for address in swap} <= known:
                return
            swap = {static(address): stand_in for address, stand_in in swap.items() if "[" not in address}
            again = kitchen.replay(done.trace_id, agent=agent, swap=swap)
            if len(swap) == len(program.swaps):
                assert again.certificate.ok, again.certificate.entries
                assert again.result is not None
                assert done.result is not None
                assert again.result.same(done.result)
                replays += 1

        holds()
    assert replays > 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_law_holds_for_many_programs(shard: int) -> None:
    with kitchens() as made:

        @seed(shard)
        @settings(EXAMPLES, derandomize=False, max_examples=LONG // SHARDS)
        @given(CASES)
        def holds(case: Case) -> None:
            check(case, Replayer, made)

        holds()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[Replayer]) -> None:
    kinds = BUGS[bug]
    cases = CASES if kinds is None else st.builds(Case, programs(kinds), _BACKENDS, _BACKENDS, _EDITS, _PICKS)
    with kitchens() as made:

        @EXAMPLES
        @given(cases)
        def holds(case: Case) -> None:
            check(case, bug, made)

        with pytest.raises((AssertionError, ExceptionGroup)):
            holds()
