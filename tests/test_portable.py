"""A trace as a file: opened anywhere, equal in everything but its digests, and nothing malformed is opened."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runtime
from runtime import Graph, Retry, Vector, effect, step
from storage import portable

LARGE = "a value of a record of its own " * 40


@effect
async def ask(prompt: str) -> str:
    runtime.current().attributes["gen_ai.cost_usd"] = 0.01
    return f"{prompt} {LARGE}"


@effect
async def chat(prompt: str) -> AsyncIterator[str]:
    for word in prompt.split():
        yield word


@step
async def tidy(text: str) -> str:
    return text.strip()


async def embed(text: str) -> Vector:
    return Vector.of([runtime.current().random.random() for _ in range(400)])


TRIES: list[int] = []


async def flaky(text: str) -> str:
    TRIES.append(1)
    if len(TRIES) % 2:
        raise ConnectionError("first")
    return f"{runtime.current().time():.0f}"


async def work(text: str, vector: Vector) -> str:
    runtime.current().attributes["retrieval.doc_ids"] = ["a", "b"]
    runtime.current().log("worked", size=len(vector))
    said = [chunk async for chunk in chat(text)]
    return await tidy(" ".join([*said, *await runtime.current().map(ask, ["x", "y", "x"])]))


def bot() -> runtime.Agent[str, str]:
    graph = Graph("carried", input=str)
    graph.add(step(retry=Retry(attempts=2))(flaky), graph.input)
    return graph.build(graph.add(work, graph.input, graph.add(embed, graph.input)))


@pytest.fixture
def traced(kitchen: runtime.Runtime) -> str:
    TRIES.clear()
    run = kitchen.run(bot(), f"where is it {LARGE}", subject="cust_91", attributes={"variant": "B"})
    kitchen.feedback(run.trace_id, csat=2)
    return run.trace_id


def told(recording: runtime.Recording) -> Any:
    made = recording.to_json()
    return made, recording.inputs(recording.spans["work"]), recording.status, recording.fingerprint


def test_what_is_opened_is_what_was_recorded(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    file = tmp_path / "carried.recording"
    kitchen.export(traced, file)

    with runtime.Runtime(file) as there:
        there.register(bot())
        [line] = there.list()
        assert line.attributes == {"variant": "B", "outcome.csat": 2}
        assert told(there.open(traced)) == told(kitchen.open(traced))
        assert there.check(full=True).ok
        TRIES.clear()
        assert there.replay(traced).certificate.proved
        TRIES.clear()
        assert not kitchen.replay(traced).diff().spans
    assert file.stat().st_size < 12_000


def test_the_file_tells_nothing_of_the_store_it_comes_from(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    file = tmp_path / "carried.recording"
    kitchen.export(traced, file)
    ours = kitchen.open(traced)
    digests = {call.result.digest for call in ours.calls if call.result is not None} | {ours.stored.header.manifest}

    with runtime.Runtime(file) as there:
        theirs = there.open(traced)
        content = b"".join(path.read_bytes() for path in Path(there.place).rglob("*") if path.is_file())
        frames = repr([theirs.stored.header, theirs.stored.intents, theirs.stored.outcomes, theirs.stored.spans])
        assert theirs.stored.header.subject is None
        assert theirs.mac.key_id != ours.mac.key_id
        assert theirs.store_id != ours.store_id
        assert not digests & {call.result.digest for call in theirs.calls if call.result is not None}
    key = (Path(kitchen.place) / "key").read_text("ascii").strip()
    for secret in (key, ours.mac.key_id.hex(), ours.store_id):
        assert secret.encode() not in content
    for digest in digests:
        assert digest not in content
        assert repr(digest) not in frames


def test_a_replay_is_carried_without_its_original(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    TRIES.clear()
    replay = kitchen.replay(traced)
    kitchen.export(replay.trace_id, tmp_path / "again.recording")

    with runtime.Runtime(tmp_path / "again.recording") as there:
        assert there.open(replay.trace_id).original == traced
        assert there.open(replay.trace_id).output == kitchen.open(traced).output
        TRIES.clear()
        assert there.replay(replay.trace_id, agent=bot()).certificate.proved


def test_what_is_recorded_to_a_file_goes_away_and_the_file_stays(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    file = tmp_path / "carried.recording"
    kitchen.export(traced, file)
    before = file.read_bytes()

    there = runtime.Runtime(file)
    folder = Path(there.place)
    there.run(bot(), "another")
    assert len(there.list()) == 2
    there.close()
    assert folder.exists()
    del there
    gc.collect()

    assert not folder.exists()
    assert file.read_bytes() == before
    with runtime.Runtime(file) as again:
        assert len(again.list()) == 1


def test_a_trace_that_is_not_whole_is_not_exported(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    @effect
    async def opened() -> str:
        assert kitchen.log is not None
        kitchen.log.flush(5)
        [line] = kitchen.list()
        with pytest.raises(runtime.StoreError, match="is unfinished, and only a whole one"):
            kitchen.export(line.trace_id, tmp_path / "part.recording")
        return "done"

    async def work(text: str) -> str:
        return await opened()

    graph = Graph("carried", input=str)
    assert kitchen.run(graph.build(graph.add(work, graph.input)), "x").output == "done"
    assert not list(tmp_path.glob("*.recording"))


def test_a_name_that_could_not_be_opened_is_refused(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    with pytest.raises(runtime.RuntimeMisuse, match=r"ends in \.recording"):
        kitchen.export(traced, tmp_path / "trace.zip")
    with pytest.raises(runtime.StoreError, match="cannot be written"):
        kitchen.export(traced, tmp_path / "nosuch" / "a.recording")


def test_exporting_in_a_loop(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    anyio.run(kitchen.aexport, traced, tmp_path / "a.recording")

    with runtime.Runtime(tmp_path / "a.recording") as there:
        assert there.open(traced[:6]).trace_id == traced


def archive(members: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as made:
        for name, data in members:
            made.writestr(name, data)
    return out.getvalue()


Members = list[tuple[str, bytes]]


def replaced(members: Members, name: str, data: bytes) -> Members:
    return [(one, data if one == name else was) for one, was in members]


def bomb(members: Members) -> bytes:
    return archive(replaced(members, "trace.pack", bytes(10 << 20)), zipfile.ZIP_DEFLATED)


def encrypted(members: Members) -> bytes:
    data = bytearray(archive(members))
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 1)
    return bytes(data)


MALFORMED: dict[str, Callable[[Members], bytes]] = {
    "nothing": lambda members: b"",
    "no archive": lambda members: b"PK\x03\x04 and so on" * 10,
    "cut": lambda members: archive(members)[:-40],
    "compressed": lambda members: archive(members, zipfile.ZIP_DEFLATED),
    "a bomb": bomb,
    "encrypted": encrypted,
    "a member less": lambda members: archive(members[:2]),
    "a member more": lambda members: archive([*members, ("evil.py", b"x")]),
    "a way out": lambda members: archive([*members[:2], ("../trace.pack", members[2][1])]),
    "twice": lambda members: archive([*members, members[1]]),
    "another order": lambda members: archive(members[::-1]),
    "no key": lambda members: archive(replaced(members, "key", b"")),
    "another key": lambda members: archive(replaced(members, "key", b"00" * 32)),
    "a large key": lambda members: archive(replaced(members, "key", b"0" * 10_000)),
    "no identity": lambda members: archive(replaced(members, "store.json", b"{}")),
    "a nested identity": lambda members: archive(replaced(members, "store.json", b"[" * 4000)),
    "a newer format": lambda members: archive(
        replaced(members, "store.json", members[0][1].replace(b'"format": 1', b'"format": 2'))
    ),
    "an identity of another": lambda members: archive(replaced(members, "store.json", _other_id(members[0][1]))),
    "no pack": lambda members: archive(replaced(members, "trace.pack", b"")),
    "a cut pack": lambda members: archive(replaced(members, "trace.pack", members[2][1][:-1])),
}


def _other_id(told: bytes) -> bytes:
    place = told.index(b'"id": "') + 7
    return told[:place] + (b"1" if told[place : place + 1] == b"0" else b"0") + told[place + 1 :]


def members_of(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        return [(one.filename, made.read(one)) for one in made.infolist()]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("how", MALFORMED)
def test_nothing_malformed_is_opened(kitchen: runtime.Runtime, traced: str, tmp_path: Path, how: str) -> None:
    file = tmp_path / "carried.recording"
    kitchen.export(traced, file)
    file.write_bytes(MALFORMED[how](members_of(file.read_bytes())))

    with pytest.raises(runtime.StoreError, match=r"carried\.recording is no recording that was exported"):
        runtime.Runtime(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(runtime.StoreError, match="there is no"):
        runtime.Runtime(tmp_path / "nosuch.recording")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_byte_that_is_altered_is_refused_or_alters_nothing(
    kitchen: runtime.Runtime, tmp_path: Path, data: st.DataObject
) -> None:
    file = tmp_path / "carried.recording"
    if not file.exists():
        TRIES.clear()
        kitchen.export(kitchen.run(bot(), "where").trace_id, tmp_path / "whole.recording")
        file.touch()
    whole = (tmp_path / "whole.recording").read_bytes()
    [line] = kitchen.list()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    file.write_bytes(whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :])

    try:
        there = runtime.Runtime(file)
    except runtime.StoreError:
        return
    assert told(there.open(line.trace_id)) == told(kitchen.open(line.trace_id))


def test_no_member_is_larger_than_the_file() -> None:
    one = zipfile.ZipInfo("trace.pack")
    one.file_size = one.compress_size = 1 << 30
    with pytest.raises(ValueError, match="says that it has"):
        portable._check_member(one, 1000)


def test_a_runtime_that_nobody_closes_says_nothing_at_exit(kitchen: runtime.Runtime, traced: str, tmp_path: Path) -> None:
    kitchen.export(traced, tmp_path / "carried.recording")
    code = (
        "import runtime; there = runtime.Runtime('carried.recording'); from tests.test_portable import bot; there.run(bot(), 'x')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=50
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.glob("kitchenlog-*"))
