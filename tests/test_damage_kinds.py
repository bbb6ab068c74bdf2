"""Ten kinds of damage, each named; none of them passes for a whole replay."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import runtime
from runtime import Graph, Runtime, effect
from storage.frames import Frame
from storage.opening import open_store
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.records import Kind

LONG = "policy " * 100


@effect
async def search(question: str) -> list[str]:
    return [f"{question} {LONG}", LONG]


@effect
async def complete(prompt: str) -> str:
    return f"an answer of {len(prompt)}: {LONG}"


async def retrieve(question: str) -> list[str]:
    return await search(question)


async def generate(question: str, documents: list[str]) -> str:
    return await complete(f"{question} {' '.join(documents)}")


def bot(*more: Callable[..., Any], name: str = "ten.bot", retrieve: Callable[..., Any] = retrieve) -> runtime.Agent[str, Any]:
    graph = Graph(name, input=str)
    found = graph.add(retrieve, graph.input, name="retrieve")
    last: Any = graph.add(generate, graph.input, found)
    for one in more:
        last = graph.add(one, last)
    return graph.build(last)


def rewrite(folder: Path, change: Callable[[list[Frame]], list[Frame]]) -> None:
    """Change the records of the one trace in the one pack, and make the pack anew: every checksum fits."""
    store = open_store(folder, create=False)
    [key] = store.packs()
    reader = PackReader.of_bytes((folder / key).read_bytes(), mac=store.mac)
    [trace] = reader.ids()
    stored = store.load(trace)
    writer = PackWriter(store.id, reader.footer.header.writer_id, store.mac)
    for shared in (stored.manifest, stored.environment):
        writer.share(store.mac("value", shared), shared)
    writer.add(change(reader.frames(trace)))
    (folder / key).write_bytes(writer.build())


def each_value(change: Callable[[bytes], bytes]) -> Callable[[list[Frame]], list[Frame]]:
    return lambda frames: [one._replace(body=change(one.body)) if one.kind == Kind.VALUE else one for one in frames]


def without(kind: Kind) -> Callable[[list[Frame]], list[Frame]]:
    def change(frames: list[Frame]) -> list[Frame]:
        last = max(number for number, one in enumerate(frames) if one.kind == kind)
        return [one for number, one in enumerate(frames) if number != last]

    return change


@pytest.fixture
def trace(tmp_path: Path) -> str:
    with Runtime(tmp_path / "store") as kitchen:
        return kitchen.run(bot(), "late").trace_id


def statuses(tmp_path: Path, trace: str, agent: runtime.Agent[str, Any]) -> dict[str, str]:
    """What a replay says that is not fine. It must not be ok."""
    with Runtime(tmp_path / "store") as kitchen:
        replay = kitchen.replay(trace, agent=agent)
        assert not replay.certificate.ok
        assert not replay.certificate.proved
        return {one.address: f"{one.status}: {one.reason}" for one in replay.certificate if not one.is_ok}


def test_a_whole_one_is_proved(tmp_path: Path, trace: str) -> None:
    with Runtime(tmp_path / "store") as kitchen:
        assert kitchen.replay(trace, agent=bot()).certificate.proved


def test_a_lost_pack(tmp_path: Path, trace: str) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, create=False)
    [key] = store.packs()
    reader = PackReader.of_bytes((folder / key).read_bytes(), mac=store.mac)
    frames = reader.frames(bytes.fromhex(trace))
    stored = store.load(bytes.fromhex(trace))
    for number, some in enumerate((frames[: len(frames) // 2], frames[len(frames) // 2 :])):
        writer = PackWriter(store.id, reader.footer.header.writer_id, store.mac)
        for shared in (stored.manifest, stored.environment):
            writer.share(store.mac("value", shared), shared)
        writer.add(some)
        (folder / key).with_name(f"{'ab' * 8}-{number:06d}.pack").write_bytes(writer.build())
    (folder / key).unlink()
    with Runtime(folder) as kitchen:
        assert kitchen.replay(trace, agent=bot()).certificate.proved, "in two packs, it is whole"
        [second] = (folder / key).parent.glob("*-000001.pack")
        second.unlink()
        assert kitchen.open(trace).status in {"unfinished", "damaged"}
    assert statuses(tmp_path, trace, bot())["retrieve"].startswith("unreplayable: unfinished")


def test_a_truncated_value(tmp_path: Path, trace: str) -> None:
    rewrite(tmp_path / "store", each_value(lambda body: body[:-100]))
    told = statuses(tmp_path, trace, bot())
    assert any("does not have its digest" in one for one in told.values()), told


def test_a_wrong_digest(tmp_path: Path, trace: str) -> None:
    rewrite(tmp_path / "store", each_value(lambda body: bytes([body[0] ^ 1]) + body[1:]))
    told = statuses(tmp_path, trace, bot())
    assert any("does not have its digest" in one for one in told.values()), told


def test_a_missing_outcome(tmp_path: Path, trace: str) -> None:
    rewrite(tmp_path / "store", without(Kind.OUTCOME))
    told = statuses(tmp_path, trace, bot())
    assert told["generate"] == "unreplayable: damaged: 1 of its 12 records are missing"


def test_an_added_step(tmp_path: Path, trace: str) -> None:
    async def polish(text: str) -> str:
        return await complete(f"polish {text}")

    told = statuses(tmp_path, trace, bot(polish))
    assert told["polish"].startswith("blocked")


def test_a_removed_step(tmp_path: Path, trace: str) -> None:
    graph = Graph("ten.bot", input=str)
    with Runtime(tmp_path / "store") as kitchen:
        replay = kitchen.replay(trace, agent=graph.build(graph.add(retrieve, graph.input, name="retrieve")))

    # Nothing of it is refused: it is the certificate of another agent, and says so.
    assert not replay.certificate.proved
    assert replay.certificate["generate"].status == "dropped"
    assert replay.certificate["generate/complete"].status == "dropped"


class Turn(msgspec.Struct):
    text: str


class LongerTurn(msgspec.Struct):
    text: str
    customer: str


def test_a_changed_type(tmp_path: Path) -> None:
    def reads(kind: Any) -> runtime.Agent[Any, Any]:
        async def read(turn: Any) -> str:
            return await complete(turn.text)

        read.__annotations__["turn"] = kind
        graph = Graph("ten.typed", input=kind)
        return graph.build(graph.add(read, graph.input))

    with Runtime(tmp_path / "store") as kitchen:
        made = kitchen.run(reads(Turn), Turn("late")).trace_id
    told = statuses(tmp_path, made, reads(LongerTurn))
    assert "customer" in told["read"], told
    assert told["read"].startswith("unreplayable: type changed")


def test_an_opaque_value(tmp_path: Path) -> None:
    async def opens(question: str) -> Any:
        await search(question)
        return threading.Lock()

    async def uses(lock: Any) -> str:
        return type(lock).__name__

    graph = Graph("ten.opaque", input=str)
    agent = graph.build(graph.add(uses, graph.add(opens, graph.input)))
    with Runtime(tmp_path / "store") as kitchen:
        made = kitchen.run(agent, "late").trace_id
    told = statuses(tmp_path, made, agent)
    assert told["opens"].startswith("unreplayable: opaque: its output could not be recorded")
    assert told["uses"].startswith("unreplayable: opaque: an input of it could not be recorded")


def test_an_unordered_pair(tmp_path: Path) -> None:
    lock, count = threading.Lock(), iter(range(100))

    @effect
    def dice(text: str) -> int:
        with lock:
            return next(count)

    async def throws(question: str) -> list[int]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(dice, [question, question]))

    graph = Graph("ten.pair", input=str)
    agent = graph.build(graph.add(throws, graph.input))
    with Runtime(tmp_path / "store") as kitchen:
        made = kitchen.run(agent, "late").trace_id
    told = statuses(tmp_path, made, agent)
    assert told["throws"] == "diverged: reassigned: 2 equal requests of dice got other answers"


def test_a_foreign_agent(tmp_path: Path, trace: str) -> None:
    with Runtime(tmp_path / "store") as kitchen:
        kitchen.register(bot(name="another.bot"))
        with pytest.raises(runtime.UnknownAgent, match=r"recorded by agent 'ten.bot'; known here: another.bot"):
            kitchen.replay(trace)
