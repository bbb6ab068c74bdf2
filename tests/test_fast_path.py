"""The fast path of a verification against the replayer: what it tells is what that one tells, or it tells nothing."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import runtime
from benchmarks import workload
from replay.certificate import Entry
from replay.fast_path import FastPath
from replay.guard import guarded
from replay.result import replay, request_of
from replay.verifier import judge
from runtime import Graph, effect, effects, lanes, loader, step
from storage import codec
from storage.digest import DIGEST_BYTES
from storage.errors import StorageError
from storage.frames import Frame
from storage.opening import open_store
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.records import Kind
from storage.store import Store
from storage.sweep import Sweep
from tests import law, law_programs

SETTINGS = settings(
    derandomize=True, deadline=None, database=None, phases=(Phase.generate,),
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much,
                           HealthCheck.function_scoped_fixture),
)  # fmt: skip


def same(value: Any) -> Any:
    return value


Told = tuple[str, tuple[Entry, ...]]


async def told_fast(store: Store, agent: Any, trace: bytes, swap: Any) -> Told | None:
    found = Sweep(store).read(trace)
    if found is None or found.header.fingerprint != agent.fingerprint:
        return None
    with effects.replaying(trace.hex()), guarded():
        outcome = await FastPath(agent, same, swap).replay(found)
    if outcome is None or not (outcome.same or swap):
        return None
    return "same" if outcome.same else "changed", outcome.entries


async def told_fully(store: Store, agent: Any, trace: bytes, swap: Any) -> Told:
    try:
        recording = loader.load(store, trace)
        request = request_of(recording, agent, swap=swap, override=None, live=None, budget_usd=None, code="current", control=True)
        done = await replay(recording, agent, request, redact=same, call="")
    except (StorageError, TypeError, AttributeError, LookupError, ValueError):
        return "unreplayable", ()
    row = judge(recording, done)
    return row.verdict, row.entries


def compare(folder: str | Path, agent: Any, backend: str = "asyncio", swap: Any = None) -> tuple[int, int]:
    """(how many traces the fast path told of, how many there are)."""
    lanes.install()
    store = open_store(folder, create=False)
    fast = every = 0
    for trace in store.ids():
        every += 1
        told = anyio.run(functools.partial(told_fast, store, agent, trace, swap), backend=backend)
        if told is not None:
            fast += 1
            assert told == anyio.run(functools.partial(told_fully, store, agent, trace, swap), backend=backend)
    store.close()
    return fast, every


def test_every_refund_trace_is_told_as_the_replayer_tells_it(tmp_path: Path) -> None:
    agent = workload.make()
    with runtime.Runtime(tmp_path) as kitchen:
        for number in range(40):
            kitchen.run(agent, workload.turn(number))
    assert compare(tmp_path, agent) == (40, 40)

    async def judge_otherwise(turn: workload.Turn, answer: str, cited: list[int]) -> bool:
        return len(answer) % 3 == 0

    async def rewrite_alike(turn: workload.Turn) -> str:
        return await workload.rewrite(turn)

    async def retrieve_without_reranking(query: str, vector: runtime.Vector) -> list[str]:
        return sorted(await workload.search(query, len(vector.data)))

    assert compare(tmp_path, agent, swap={"judge": judge_otherwise}) == (40, 40)
    assert compare(tmp_path, agent, swap={"rewrite": rewrite_alike, "judge": judge_otherwise}) == (40, 40)
    assert compare(tmp_path, agent, swap={"retrieve": retrieve_without_reranking})[0] < 40  # what comes after asks otherwise
    assert compare(tmp_path, agent, swap={"rerank": workload.rerank}) == (0, 40)


_BACKENDS = st.sampled_from(("asyncio", "trio"))


def step_like(program: law.Program, place: int, salt: int) -> Any:
    body = program.bodies[program.nodes[place].parts[0]]
    return law.swap_step(program, f"n{place}", attrs.evolve(body, salt=(body.salt + salt) % law.M))


@pytest.mark.timeout(300)
def test_programs_of_the_law_are_told_as_the_replayer_tells_them() -> None:
    seen: Counter[str] = Counter()

    @settings(SETTINGS, max_examples=150)
    @given(law_programs.programs(("step", "step", "step", "sub")), _BACKENDS, _BACKENDS, st.integers(0, 3), st.integers(0, 2))
    def holds(program: law.Program, recorded_on: str, replayed_on: str, place: int, salt: int) -> None:
        law.LIVE = False
        law.latency.seed(program.seed)
        law.recorded_world.seed(program.seed)
        agent = law.build(program)
        with tempfile.TemporaryDirectory() as folder:
            with runtime.Runtime(folder, backend=recorded_on) as kitchen, contextlib.suppress(law.StepFailed):
                kitchen.run(agent, program.value)
            law.LIVE = True  # a call that is made for real gives itself away
            fast, every = compare(folder, agent, replayed_on)
        seen["fast"] += fast
        seen["all"] += every

    holds()
    assert seen["all"] == 150
    assert seen["fast"] >= 15, seen  # the others race, fan out or fail


# recordings that are not what was recorded

LONG = "of a length that makes it a value of its own " * 20


@attrs.frozen
class Found:
    text: str
    score: float


@effect
async def search(query: str, first: int) -> list[str]:
    return [f"{query} {number} {LONG}" for number in range(first, first + 2)]


@effect
def price(name: str) -> float:
    return float(len(name))


@step
def pick(hits: list[str], at: int) -> str:
    return hits[at] + f" for {price(hits[at][:3])}"


async def look(query: str) -> list[Found]:
    hits = await search(query, 1) + await search(query, 1) + await search(query, 3)
    one, two = pick(hits, 0), pick(hits, 3)
    return [Found(one, runtime.current().time()), Found(two, price(two[:4]))]


async def told(found: list[Found]) -> str:
    runtime.current().attributes["count"] = len(found)
    return f"{len(found)} {found[0].text[:9]} {runtime.current().random.random()} {LONG}"


async def short(found: list[Found]) -> str:
    return f"{len(found)} for {price(LONG)}" if len(found[0].text) > 10_000 else "short"


def first_word(text: str) -> str:
    return text.partition(" ")[0]


def make() -> Any:
    graph = Graph("fast.bot", input=str)
    hits = graph.add(look, graph.input)
    answer = graph.add(told, hits)
    return graph.build(graph.derive(first_word, answer))


BOT = make()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    with runtime.Runtime(folder) as kitchen:
        for query in ("one", "two"):
            kitchen.run(BOT, query)
    return folder


def edited(folder: Path, edit: Any, manifest: Any = same) -> bool:
    """Put another pack in the place of the one there, each trace's records edited; False where none can be made of them."""
    store = open_store(folder, create=False)
    [key] = store.packs()
    reader = PackReader.of_bytes((folder / key).read_bytes(), mac=store.mac)
    writer = PackWriter(store.id, reader.footer.header.writer_id, store.mac)
    for trace in list(reader.ids()):
        header = store.load(trace).header
        for digest in (header.manifest, header.environment):
            data = reader.shared(digest)
            assert data is not None
            writer.share(digest, data)
        records = edit(reader.frames(trace))
        told = reader.shared(header.manifest)
        assert told is not None
        other = manifest(told)
        if other != told:
            writer.share(store.mac("value", other), other)
            records = [rename(frame, store.mac("value", other)) if frame.kind == Kind.HEADER else frame for frame in records]
        if not records:
            return False
        writer.add(records)
    (folder / key).write_bytes(writer.build())
    store.close()
    return True


def rename(header: Frame, manifest: bytes) -> Frame:
    body = body_of(header)
    assert body is not None
    body[4] = manifest
    return with_body(header, body)


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "store"))


def test_an_unedited_pack_is_told_fast(recorded: Path, tmp_path: Path) -> None:
    folder = copy(recorded, tmp_path)
    assert edited(folder, list)
    assert compare(folder, BOT) == (2, 2)


_OTHER: st.SearchStrategy[Any] = st.sampled_from((0, 1, 2, 3, 5, 255, -1, "", "x", "?", "1", None, True, b"", b"\xc0", [], {}))
_EDITS = st.tuples(
    st.sampled_from(("field", "field", "field", "bump", "value", "value's digest", "drop", "twice", "swap", "stand-in", "flip")),
    st.integers(0, 10_000), st.integers(0, 10_000), _OTHER,
)  # fmt: skip


def body_of(frame: Frame) -> list[Any] | None:
    return msgspec.msgpack.decode(frame.body) if frame.kind != Kind.VALUE else None


def with_body(frame: Frame, body: list[Any]) -> Frame:
    return frame._replace(body=msgspec.msgpack.encode(body))


def apply(mac: Any, records: list[Frame], edit: tuple[str, int, int, Any]) -> list[Frame]:
    what, at, place, other = edit
    made = list(records)
    values = [number for number, frame in enumerate(made) if frame.kind == Kind.VALUE]
    others = [number for number, frame in enumerate(made) if frame.kind != Kind.VALUE]
    if what in {"value", "value's digest", "flip"} and values:
        number = values[at % len(values)]
        frame = made[number]
        content = bytearray(frame.body[DIGEST_BYTES:])
        content[place % len(content)] ^= 1
        if what == "value":
            made[number] = frame._replace(body=mac("value", bytes(content)) + bytes(content))
        else:
            made[number] = frame._replace(body=frame.body[:DIGEST_BYTES] + bytes(content))
        return made
    number = others[at % len(others)]
    frame = made[number]
    body = body_of(frame)
    assert body is not None
    where = place % len(body)
    if what == "drop":
        del made[number]
    elif what == "twice":
        made.insert(number, frame._replace(record=frame.record if place % 2 else 900 + place))
    elif what == "swap":
        mates = [one for one in others if made[one].kind == frame.kind]
        mate = mates[place % len(mates)]
        made[number], made[mate] = frame._replace(body=made[mate].body), made[mate]._replace(body=frame.body)
    elif what == "stand-in":
        body[where] = codec.encode(runtime.Opaque("a.Lock", "<lock>", "TypeError"))
        made[number] = with_body(frame, body)
    elif what == "bump" and isinstance(body[where], int):
        body[where] += 1 if place % 2 else -1
        made[number] = with_body(frame, body)
    else:
        body[where] = other
        made[number] = with_body(frame, body)
    return made


@pytest.mark.timeout(300)
def test_no_edited_recording_is_told_fast_as_better_than_the_replayer_tells_it(recorded: Path) -> None:
    seen: Counter[str] = Counter()

    @settings(SETTINGS, max_examples=400)
    @given(st.lists(_EDITS, min_size=1, max_size=2))
    def holds(edits: list[tuple[str, int, int, Any]]) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = copy(recorded, Path(place))
            mac = open_store(folder, create=False).mac

            def edit(records: list[Frame]) -> list[Frame]:
                for one in edits:
                    records = apply(mac, records, one) if records else records
                return records

            if not edited(folder, edit):
                return
            fast, every = compare(folder, BOT)
            seen["fast"] += fast
            seen["all"] += every
            seen["swapped"] += compare(folder, BOT, swap={"told": short})[0]

    holds()
    assert seen["all"] >= 400
    assert seen["swapped"] >= 20, seen
    assert 20 <= seen["fast"] <= seen["all"] // 2, seen  # some edits change nothing that a replay compares


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Kind.OUTCOME, 4, codec.encode(9.5)),  # an answer that the provider did not give
        (Kind.OUTCOME, 3, 1),  # it ended in an error
        (Kind.INTENT, 8, codec.encode({"name": "other"})),  # a request that the step does not make
        (Kind.INTENT, 4, "1"),  # made by another task
        (Kind.INTENT, 6, 7),  # the seventh of its name
        (Kind.INTENT, 3, 2),  # of a second attempt
        (Kind.SPAN, 13, bytes(16)),  # by other code
        (Kind.SPAN, 5, 1),  # ended in an error
        (Kind.END, 4, codec.encode("other")),  # the run returned something else
        (Kind.END, 0, 1),
        (Kind.END, 6, 1),  # records were lost
        (Kind.HEADER, 11, codec.encode("three")),  # it was asked something else
    ],
)
def test_what_was_not_recorded_so_is_not_told_fast(recorded: Path, tmp_path: Path, kind: int, field: int, value: Any) -> None:
    folder = copy(recorded, tmp_path)

    def edit(records: list[Frame]) -> list[Frame]:
        made = list(records)
        at = max(number for number, frame in enumerate(made) if frame.kind == kind and (kind != Kind.SPAN or _is_node(frame)))
        body = body_of(made[at])
        assert body is not None
        body[field] = value
        made[at] = with_body(made[at], body)
        return made

    assert edited(folder, edit)
    assert compare(folder, BOT)[0] == 0


def last(records: list[Frame], kind: Kind) -> int:
    return max(number for number, frame in enumerate(records) if frame.kind == kind)


def test_a_call_that_the_step_does_not_make_any_more_is_not_told_fast(recorded: Path, tmp_path: Path) -> None:
    folder = copy(recorded, tmp_path)

    def edit(records: list[Frame]) -> list[Frame]:
        intent, outcome = records[last(records, Kind.INTENT)], records[last(records, Kind.OUTCOME)]
        more, answer = body_of(intent), body_of(outcome)
        assert more is not None
        assert answer is not None
        more[5], more[6], answer[0], answer[1] = 99, 99, 901, 99  # the last of its span
        more[7] = answer[2] = answer[2] + 10**9
        return [*records, with_body(intent, more)._replace(record=901), with_body(outcome, answer)._replace(record=902)]

    assert edited(folder, edit)
    assert compare(folder, BOT) == (0, 2)


@pytest.mark.parametrize(("kind", "field"), [(Kind.INTENT, 7), (Kind.OUTCOME, 1)])
def test_calls_that_overlapped_are_left_to_the_replayer(recorded: Path, tmp_path: Path, kind: Kind, field: int) -> None:
    folder = copy(recorded, tmp_path)

    def edit(records: list[Frame]) -> list[Frame]:
        made = list(records)
        body = body_of(made[last(made, kind)])
        assert body is not None
        body[field] = 0
        made[last(made, kind)] = with_body(made[last(made, kind)], body)
        return made

    assert edited(folder, edit)
    assert compare(folder, BOT) == (0, 2)


@pytest.mark.parametrize(("field", "value"), [(0, "other"), (1, "derive"), (2, [-1, -1])])
def test_a_manifest_of_another_graph_is_not_told_fast(recorded: Path, tmp_path: Path, field: int, value: Any) -> None:
    folder = copy(recorded, tmp_path)

    def other(manifest: bytes) -> bytes:
        told = msgspec.msgpack.decode(manifest)
        told[2][0][field] = value
        return msgspec.msgpack.encode(told)

    assert edited(folder, list, other)
    assert compare(folder, BOT) == (0, 2)


def _is_node(frame: Frame) -> bool:
    body = body_of(frame)
    return body is not None and body[0] >= 0


SEEN: list[str] = ["first"]


def leaves(text: str) -> str:
    SEEN.append(text)
    return text


def finds(text: str) -> int:
    return len(SEEN[0]) + len(text)


def test_a_global_that_an_unrun_step_may_have_changed_is_the_replayers_to_tell(tmp_path: Path) -> None:
    graph = Graph("fast.shared", input=str)
    agent = graph.build(graph.add(finds, graph.add(leaves, graph.input)))
    with runtime.Runtime(tmp_path) as kitchen:
        kitchen.run(agent, "one")
    assert compare(tmp_path, agent, swap={"finds": finds}) == (0, 1)
    assert compare(tmp_path, agent) == (1, 1)


# what leaves the process, or asks for more than is recorded


def test_a_step_that_leaves_the_process_is_not_taken_for_the_same(tmp_path: Path) -> None:
    asked: list[str] = []

    async def looks(text: str) -> str:
        with contextlib.suppress(BaseException):
            asked.append(str(socket.getaddrinfo("localhost", 9)))
        return text

    async def times(text: str) -> str:
        asked.append(str(time.time()))
        return text

    def glues(text: str) -> str:
        with contextlib.suppress(BaseException):
            asked.append(str(socket.getaddrinfo("localhost", 9)))
        return text

    graph = runtime.Graph("leaves", input=str)
    by_step = graph.build(graph.add(looks, graph.input))
    graph = runtime.Graph("glues", input=str)
    by_glue = graph.build(graph.add(str.upper, graph.derive(glues, graph.input), name="upper"))
    graph = runtime.Graph("times", input=str)
    by_clock = graph.build(graph.add(times, graph.input))
    with runtime.Runtime(tmp_path / "store") as kitchen:
        for agent in (by_step, by_glue, by_clock):
            kitchen.run(agent, "x")
        assert len(asked) == 3
        rows = {row.agent: row for row in kitchen.verify(workers=0)}

    assert rows["leaves"].verdict == "blocked"
    assert "looks tried to" in rows["leaves"].reason
    assert rows["glues"].verdict == "blocked"
    assert rows["times"].verdict == "same", "its value does not depend on the clock that it reads"
    assert len(asked) == 4, "only the clock was answered"
