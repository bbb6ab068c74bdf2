"""Rows are what their traces say, hold no text, and can be made again at any time."""

from __future__ import annotations

import math
import shutil
import string
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
from runtime import Retry, vocabulary
from runtime.recording import Call, Span
from runtime.sql import terms
from storage import keys
from storage.digest import Mac
from storage.frames import Frame
from storage.objects.contract import ObjectStore, StoreRefused, StoreUnavailable
from storage.objects.folder import FolderObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.pack.layout import HAS_VECTORS
from storage.pack.writer import PackWriter
from storage.records import LATE, Kind
from storage.rows import parquet
from storage.rows.beside import RowStore
from storage.rows.columns import MAX_ID_LENGTH, MAX_OWN_LENGTH, VERSION, cell, number, own, own_type, schema
from storage.rows.part import rows_of_pack
from storage.rows.stamp import Head, RowsMac, read, stamp
from storage.rows.trace import RowMaker, TraceRows
from storage.values import Vector
from tests.packed import beside, killed, pack_up, reader_of, store_of

SECRET = "the canary sings in the mine"


@runtime.effect
async def ask(text: str) -> str:
    runtime.current().attributes.update({
        "gen_ai.request.model": "small-1", "gen_ai.usage.input_tokens": 7, "gen_ai.cost_usd": 0.25, "input.preview": text,
    })  # fmt: skip
    return f"{text}, it said"


@runtime.effect(side_effect=True)
async def refuse(text: str) -> str:
    raise ValueError(text)


async def inner(text: str) -> str:
    return await ask(text)


tries: list[int] = []


@runtime.step(retry=Retry(attempts=2, wait=0.0))
async def flaky(text: str) -> str:
    answer = await ask(text)
    tries.append(1)
    if len(tries) % 2:
        raise ConnectionError(text)
    return answer


class Nested:
    async def __call__(self, text: str) -> list[str]:
        current = runtime.current()
        current.attributes.update({
            "step.kind": "retrieve", "retrieval.k": 2, "retrieval.doc_ids": ["doc-1", "Refund policy"],
            "retrieval.scores": [0.5, math.nan], "judge.rationale": text, "output": text,
        })  # fmt: skip
        return await current.map(ask, [text, f"{text}!"])


async def embed(text: str) -> Vector:
    return Vector.of([float(number) for number in range(600)])


async def close(answers: list[str], text: str, vector: Vector) -> str:
    try:
        await refuse(text)
    except ValueError:
        return answers[0]
    return text


def make(name: str = "rows.bot") -> runtime.Agent[str, str]:
    graph = runtime.Graph(name, input=str)
    found = graph.add(Nested(), graph.input)
    return graph.build(graph.add(close, found, graph.add(flaky, graph.input), graph.add(embed, graph.input)))


agent = make()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    with killed(folder) as kitchen:
        kitchen.register(agent)
        traces = [
            kitchen.run(agent, SECRET, attributes={"variant": variant, "free": SECRET, "weight": 2}).trace_id for variant in "AB"
        ]
        kitchen.replay(traces[1])
        kitchen.feedback(traces[1], csat=2, note=SECRET)
    return folder


def rows_of(folder: Path, key: str) -> list[TraceRows]:
    damage: list[str] = []
    found = list(rows_of_pack(reader_of(FolderObjectStore(folder), key, folder), store_of(folder).mac, RowMaker(terms()), damage))
    assert not damage
    return found


def written(rows: Iterable[TraceRows], path: str, mac: Mac | None = None) -> bytes:
    data, _ = parquet.encode(rows, terms(), RowsMac(mac or Mac(bytes(32))))
    Path(path).write_bytes(data)
    return data


def test_rows_are_what_the_recordings_tell(store: Path) -> None:
    (key,) = pack_up(store)
    kitchen = runtime.Runtime(store)

    for trace, spans, effects, _ in rows_of(store, key):
        recording = kitchen.open(trace["trace_id"])
        tree = list(recording.tree())
        told = {
            row["address"]: (row["name"], row["status"], row["duration"] / 1e6, row["error_type"]) for row in (*spans, *effects)
        }
        assert told == {
            address: (
                item.name if isinstance(item, Span) else item.intent.name,
                item.result.status if item.result is not None else None,
                item.duration_ms,
                item.result.error.type if item.result is not None and item.result.error is not None else None,
            )
            for address, item in tree
        }
        assert [row["address"] for row in effects] == [address for address, item in tree if isinstance(item, Call)]
        assert (trace["agent"], trace["status"], trace["kind"]) == ("rows.bot", recording.status, recording.stored.header.kind)
        assert trace["duration"] / 1e6 == recording.duration_ms
        assert trace["replay_of"] == recording.original


def test_a_pack_and_its_record_file_make_equal_rows(store: Path) -> None:
    kitchen, maker = runtime.Runtime(store), RowMaker(terms())
    loose = {line.trace_id: maker.rows(store_of(store).load(bytes.fromhex(line.trace_id)), "whole") for line in kitchen.list()}
    (key,) = pack_up(store)

    assert {one.trace["trace_id"]: one for one in rows_of(store, key)} == loose


def test_attributes_are_columns_of_their_types(store: Path) -> None:
    (key,) = pack_up(store)
    run = next(one for one in rows_of(store, key) if one.trace["own"].get("variant") == "B" and one.trace["kind"] == "run")
    spans, effects = ({row["address"]: row for row in rows} for rows in (run.spans, run.effects))

    nested = spans["nested"]
    assert (nested["step_kind"], nested["retrieval_k"], nested["retrieval_doc_ids"]) == (
        "retrieve",
        2,
        ["doc-1", "Refund policy"],
    )
    assert nested["retrieval_scores"] == [0.5, "NaN"]
    assert (spans["flaky"]["attempts"], nested["attempts"]) == (2, 1)
    assert [effects[f"flaky!{number}/ask"]["attempt"] for number in (1, 2)] == [1, 2]
    assert effects["nested/ask~1"]["parent"] == "nested"
    assert (effects["nested/ask~1"]["cost_usd"], effects["nested/ask~1"]["input_tokens"]) == (0.25, 7)
    assert effects["close/refuse"]["side_effect"]
    assert effects["close/refuse"]["error_type"] == "builtins:ValueError"
    assert run.trace["own"] == {"variant": "B", "weight": "2"}
    assert run.trace["said"]["csat"]["value"] == "2"
    assert run.trace["said"]["note"]["value"] is None


def test_a_rows_object_gives_back_its_rows_and_equal_rows_make_equal_bytes(store: Path, tmp_path: Path) -> None:
    (key,) = pack_up(store)
    rows = rows_of(store, key)
    paths = [str(tmp_path / name) for name in ("one", "two")]
    for path in paths:
        written(iter(rows), path)

    found = parquet.read(paths[0])

    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
    assert [row["row"] for row in found] == sorted(row["row"] for row in found)
    assert all(list(row) == list(schema(terms())) for row in found)
    made = [
        *(row for one in rows for row in one.effects),
        *(row for one in rows for row in one.spans),
        *(one.trace for one in rows),
    ]
    assert len(found) == len(made)
    for back, row in zip(found, made, strict=True):
        start = back.pop("start")
        assert (start - type(start)(1970, 1, 1)) / type(start - start)(microseconds=1) == row["start"]
        scores = back.pop("retrieval_scores")
        assert [number(one) for one in scores or ()] == row.get("retrieval_scores", [])
        assert {name: value for name, value in back.items() if value is not None} == {
            name: value for name, value in row.items() if value is not None and name not in {"start", "retrieval_scores"}
        }


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in (*value, *value.values()):
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


def test_no_text_of_a_run_is_in_its_rows(store: Path, tmp_path: Path) -> None:
    (key,) = pack_up(store)
    written(rows_of(store, key), str(tmp_path / "rows"))

    found = list(texts_in(parquet.read(str(tmp_path / "rows"))))

    assert "small-1" in found
    assert not [text for text in found if "canary" in text]


def test_every_attribute_that_spans_must_carry_is_a_column_or_is_text() -> None:
    told = {name for names in vocabulary.REQUIRED.values() for name in names}
    text = {"input.preview", "output", "citation.unsupported", "judge.rationale", "prompt.composition_hash"}

    assert told - set(vocabulary.COLUMNS) == text
    names = [one.column for one in vocabulary.COLUMNS.values()]
    assert len({name.lower() for name in names}) == len(names)
    assert len(schema(terms())) == 19 + len(names)


def test_the_columns_of_this_version_are_these() -> None:
    # Other columns are another version: rows of both may lie beside packs of one store.
    assert VERSION == 1
    told = ", ".join(f"{name} {kind}" for name, kind in schema(terms()).items())
    assert told == (Path(__file__).parent / "golden" / "v1" / "rows.txt").read_text("utf-8").strip()


def test_vectors_and_large_values_are_not_read(store: Path) -> None:
    (key,) = pack_up(store)
    before = rows_of(store, key)
    reader = reader_of(FolderObjectStore(store), key, store)
    parts = [reader.footer.part(place) for place in range(reader.footer.counts.parts)]
    data = bytearray((store / key).read_bytes())
    ranges = [(part.vectors, part.vectors_length) for part in parts if part.flags & HAS_VECTORS]
    for at, length in ranges:
        data[at : at + length] = bytes(length)
    (store / key).write_bytes(data)

    assert ranges
    assert rows_of(store, key) == before


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text(string.ascii_letters + " ._-:/{}@", max_size=70)
    )
)
def test_a_users_own_attribute_is_a_value_or_nothing(value: Any) -> None:
    made = own(value)

    if isinstance(value, str):
        short = 1 <= len(value) <= MAX_OWN_LENGTH and set(value) <= set(string.ascii_letters + string.digits + "._-:/{}")
        assert made == (("id", value) if short else None)
    elif value is None:
        assert made is None
    else:
        assert made is not None
        kind, text = made
        back = {"flag": text == "true", "integer": value, "id": value, "number": float(text) if kind == "number" else 0.0}[kind]
        assert back == value or (back != back and value != value)  # noqa: PLR0124 - NaN
        assert text == str(value).lower() if isinstance(value, bool) else True
        assert own_type({kind}) == {"flag": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE", "id": "VARCHAR"}[kind]


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        ("integer", 3, 3),
        ("integer", 3.0, 3),
        ("integer", 3.5, None),
        ("integer", True, None),
        ("integer", 2**63, None),
        ("number", 3, 3.0),
        ("number", True, None),
        ("number", -math.inf, "-Infinity"),
        ("number", 10**400, None),
        ("flag", 1, None),
        ("flag", False, False),
        ("id", "a b", "a b"),
        ("id", "a\nb", None),
        ("id", "x" * (MAX_ID_LENGTH + 1), None),
        ("id", 3, None),
        ("ids", ["a", 3], ["a", None]),
        ("ids", "a", None),
        ("numbers", [1, "a"], [1.0, None]),
    ],
)
def test_an_attribute_of_another_type_is_no_value(kind: Any, value: Any, made: Any) -> None:
    assert cell(kind, value) == made
    assert type(cell(kind, value)) is type(made)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=5), st.floats(), st.integers(-(2**53), 2**53)), max_size=4))
def test_whatever_is_in_a_row_comes_back(values: list[tuple[str, float, int]]) -> None:
    rows = [
        TraceRows(
            {"row": "trace", "agent": text, "judge_score": number(real), "attempt": whole, "own": {text: str(whole)}},
            [], [], [],
        )
        for text, real, whole in values
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows"
        written(rows, path)
        found = parquet.read(path)

    assert [(row["agent"], row["attempt"], row["own"]) for row in found] == [(t, w, {t: str(w)}) for t, _, w in values]
    assert [repr(row["judge_score"]) for row in found] == [repr(real) for _, real, _ in values]


# rows beside packs


def test_rows_are_made_once_and_made_again_they_are_equal(store: Path) -> None:
    packs = pack_up(store)
    with runtime.Runtime(store) as kitchen:
        first, second = (kitchen.query("SELECT count(*) FROM spans") for _ in range(2))
        again = kitchen.reindex()

    assert (first.made, second.made) == (1, 0)
    assert first.rows == second.rows
    assert (again.packs, again.same, again.made, again.differed, again.removed) == (1, 1, 0, 0, 0)
    assert [(store / keys.rows(key)).is_file() for key in packs] == [True]


def test_reindex_makes_what_is_missing_and_takes_away_what_is_wrong(store: Path) -> None:
    (key,) = pack_up(store)
    gone = keys.rows(keys.pack("20200101-09", bytes(8), 1))
    with runtime.Runtime(store) as kitchen:
        assert kitchen.reindex()[:5] == (1, 0, 1, 0, 0)
        right = (store / keys.rows(key)).read_bytes()
        written([], str(store / keys.rows(key)), store_of(store).mac)
        (store / gone).parent.mkdir()
        shutil.copy(store / keys.rows(key), store / gone)
        assert kitchen.query("SELECT count(*) FROM traces").rows == [(0,)]

        again = kitchen.reindex()

        assert again[:5] == (1, 0, 0, 1, 1)
        assert (store / keys.rows(key)).read_bytes() == right
        assert not (store / gone).exists()
        assert kitchen.query("SELECT count(*) FROM traces").rows == [(3,)]


@pytest.mark.parametrize("wrong", ["nothing", "no Parquet", "half", "a flipped bit", "another key", "no stamp"])
def test_what_is_not_what_was_written_is_made_anew(store: Path, tmp_path: Path, wrong: str) -> None:
    (key,) = pack_up(store)
    with runtime.Runtime(store) as kitchen:
        kitchen.query("SELECT 1")
        path = store / keys.rows(key)
        right = path.read_bytes()
        flipped = bytearray(right)
        flipped[len(right) // 3] ^= 1
        bare = bytes(right)
        at = bare.index(b'{"version"')
        path.write_bytes({
            "nothing": b"",
            "no Parquet": b"PAR1 but not for long PAR1",
            "half": right[: len(right) // 2],
            "a flipped bit": bytes(flipped),
            "another key": written(rows_of(store, key), str(tmp_path / "other")),
            "no stamp": bare[:at] + bare[bare.index(b"KTCHROWS") + 8 :],
        }[wrong])  # fmt: skip

        found = kitchen.query("SELECT count(*) FROM traces")

    assert (found.rows, found.made) == ([(3,)], 1)
    assert path.read_bytes() == right


def test_no_bit_of_rows_flips_unseen(store: Path) -> None:
    (key,) = pack_up(store)
    mac = RowsMac(store_of(store).mac)
    right, head = parquet.encode(rows_of(store, key), terms(), mac)

    assert read(right, mac) == head
    for place in range(0, 8 * len(right), 97):
        wrong = bytearray(right)
        wrong[place // 8] ^= 1 << place % 8
        assert read(bytes(wrong), mac) is None, place
    for length in range(0, len(right), 97):
        assert read(right[:length], mac) is None, length


def test_rows_of_an_older_version_are_made_anew_and_those_of_a_newer_are_refused(store: Path) -> None:
    (key,) = pack_up(store)
    with runtime.Runtime(store) as kitchen:
        kitchen.query("SELECT 1")
        path = store / keys.rows(key)
        right = path.read_bytes()
        at, end = right.index(b'{"version"'), right.index(b"KTCHROWS") + 8

        def of_version(version: int) -> bytes:
            return stamp(right[:at] + right[end:], Head(version), RowsMac(store_of(store).mac))

        path.write_bytes(of_version(VERSION - 1))
        assert kitchen.query("SELECT 1").made == 1
        assert path.read_bytes() == right
        path.write_bytes(of_version(VERSION + 1))
        with pytest.raises(runtime.StoreError, match="has rows of version 2"):
            kitchen.query("SELECT 1")
        assert path.read_bytes() == of_version(VERSION + 1)


def test_a_damaged_pack_is_told_and_its_rows_are_not_kept(store: Path) -> None:
    (key,) = pack_up(store)
    data = (store / key).read_bytes()
    (store / key).write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])

    with runtime.Runtime(store) as kitchen:
        found = kitchen.query("SELECT status, count(*) FROM traces GROUP BY status")
        again = kitchen.reindex()

    assert found.rows == [("damaged", 3)]
    assert "is corrupt in its block 0" in found.damage[0]
    assert again.damage
    assert not (store / keys.rows(key)).exists()

    (store / key).write_bytes(data)
    with runtime.Runtime(store) as kitchen:
        assert kitchen.query("SELECT status, count(*) FROM traces GROUP BY status").rows == [("ok", 3)]


def test_what_is_no_pack_and_what_is_another_stores_is_named(store: Path, tmp_path: Path) -> None:
    pack_up(store)
    objects = copied(store)
    with killed(tmp_path / "other") as other:
        other.run(agent, "x")
    (other_key,) = pack_up(tmp_path / "other")
    objects.put_new(other_key, (tmp_path / "other" / other_key).read_bytes())
    objects.put_new("hot/20200101-09/0000000000000000-000001.pack", b"no pack")
    objects.put_new("hot/20200101-09/0000000000000000-000002.pack", PackWriter(bytes(16), bytes(8), store_of(store).mac).build())

    made, damage, traces = opened(beside(store, objects))

    assert (made, traces) == (1, 3)
    assert len(damage) == 3
    assert all(any(text in told for told in damage) for text in ("is corrupt in its", "was made with key", "belongs to store"))


class Recording(MemoryObjectStore):
    """Tells which objects were written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.refuses = self.fails = False

    def get(self, key: str, limit: int) -> bytes:
        if self.fails:
            raise StoreUnavailable("get", key, "memory", 3, 1.0, "no reply")
        return super().get(key, limit)

    def delete(self, key: str) -> None:
        if self.refuses:
            raise StoreRefused("delete", key, "memory", "this credential may only read")
        super().delete(key)

    def put_new(self, key: str, data: bytes) -> bool:
        if self.refuses:
            raise StoreRefused("put_new", key, "memory", "this credential may only read")
        self.written.append(key)
        return super().put_new(key, data)


def copied(folder: Path) -> Recording:
    objects = Recording()
    for path in sorted(folder.glob("hot/*/*")):
        objects.put_new(path.relative_to(folder).as_posix(), path.read_bytes())
    return objects


def opened(rows: RowStore) -> tuple[int, list[str], int]:
    """(packs made, what is wrong or could not be stored, traces)."""
    with rows:
        found = rows.open(lambda _done, _all: None)
        counted = [len([row for row in parquet.read(path) if row["row"] == "trace"]) for path in found.files]
        return found.made, [*found.damage, *filter(None, [found.unstored])], sum(counted)


def test_any_object_store_keeps_rows(store: Path) -> None:
    (key,) = pack_up(store)
    objects = copied(store)

    assert opened(beside(store, objects)) == (1, [], 3)
    assert objects.written == [key, keys.rows(key)]
    assert opened(beside(store, objects)) == (0, [], 3)


def test_a_reader_that_may_not_write_gets_its_answer(store: Path) -> None:
    pack_up(store)
    objects = copied(store)
    objects.refuses = True

    made, damage, traces = opened(beside(store, objects))

    assert (made, traces) == (1, 3)
    assert "this credential may only read" in damage[0]


def test_a_store_that_does_not_answer_is_no_store_without_rows(store: Path) -> None:
    pack_up(store)
    objects = copied(store)
    opened(beside(store, objects))
    objects.fails = True

    with pytest.raises(StoreUnavailable):
        opened(beside(store, objects))


def test_rows_in_a_place_that_may_not_be_written_are_made_each_time(store: Path) -> None:
    (key,) = pack_up(store)
    objects = copied(store)
    objects.put_new(keys.rows(key), b"something else")
    objects.refuses = True

    for _ in range(2):
        made, damage, traces = opened(beside(store, objects))
        assert (made, traces, len(damage)) == (1, 3, 1)


def test_a_pack_that_another_replaces_is_passed_over(store: Path) -> None:
    (old,) = pack_up(store, lambda _: 0)
    objects: ObjectStore = copied(store)
    copy = store.parent / "copy"
    shutil.copytree(store, copy)
    with killed(copy) as kitchen:
        kitchen.run(agent, "newer")
    (new,) = pack_up(copy, replaces=[old])
    objects.put_new(new, (copy / new).read_bytes())

    assert opened(beside(store, objects))[2] == 1
    assert opened(beside(store, objects)) == (0, [], 1)


def is_late(frame: Frame) -> int:
    return int(frame.record >= LATE)


def by_halves(frame: Frame) -> int:
    return int(frame.kind in {Kind.OUTCOME, Kind.SPAN, Kind.END})


@pytest.mark.parametrize("choose", [is_late, by_halves, lambda frame: frame.record % 3])
@pytest.mark.parametrize("copies", [1, 2])
def test_however_traces_are_spread_over_packs_they_count_once(store: Path, choose: Any, copies: int) -> None:
    asked = (
        "SELECT * FROM traces ORDER BY trace_id",
        "SELECT * FROM spans ORDER BY trace_id, address",
        "SELECT * FROM effects ORDER BY trace_id, address",
        "SELECT sum(cost_usd), count(*), count(DISTINCT trace_id) FROM effects",
    )
    with runtime.Runtime(store) as kitchen:
        loose = [str(kitchen.query(sql).rows) for sql in asked]
    pack_up(store, choose, copies=copies)

    with runtime.Runtime(store) as kitchen:
        assert [str(kitchen.query(sql).rows) for sql in asked] == loose
        assert all(line.status == "ok" for line in kitchen.list(limit=None))


def test_the_latest_feedback_counts_wherever_it_lies(store: Path) -> None:
    pack_up(store)
    asked = "SELECT outcome_csat, outcome_flavour FROM traces WHERE outcome_csat IS NOT NULL OR outcome_flavour IS NOT NULL"
    with killed(store) as kitchen:
        trace = kitchen.query("SELECT trace_id FROM traces WHERE outcome_csat = 2").rows[0][0]
        kitchen.feedback(trace, csat=3, flavour="sour")
    pack_up(store)
    with killed(store) as kitchen:
        assert kitchen.query(asked).rows == [(3, "sour")]
        kitchen.feedback(trace, flavour="neither here nor there")
    pack_up(store)
    with runtime.Runtime(store) as kitchen:
        assert kitchen.query(asked).rows == [(3, None)]
        kitchen.feedback(trace, csat=5)
        found = kitchen.query(asked)
        assert (found.rows, found.loose) == ([(5, None)], 1)
        assert kitchen.open(trace).attributes["outcome.csat"] == 5


def test_feedback_on_a_trace_whose_pack_is_gone_is_a_damaged_trace(store: Path) -> None:
    first, _ = pack_up(store, is_late)
    (store / first).unlink()

    with runtime.Runtime(store) as kitchen:
        assert kitchen.query("SELECT status, agent FROM traces").rows == [("damaged", None)]
        assert [line.status for line in kitchen.list()] == ["damaged"]


def test_a_run_that_never_ended_is_told_with_the_calls_it_made(tmp_path: Path) -> None:
    called: list[anyio.Event] = []

    @runtime.effect
    async def paid() -> int:
        runtime.current().attributes["gen_ai.cost_usd"] = 0.5
        return 1

    async def slow(value: int) -> int:
        await paid()
        await ask("x")
        called[0].set()
        await anyio.sleep_forever()
        return value

    graph = runtime.Graph("slow", input=int)
    slow_agent = graph.build(graph.add(slow, graph.input))
    with runtime.Runtime(tmp_path / "store") as kitchen:

        async def main() -> list[Any]:
            found: list[Any] = []
            called.append(anyio.Event())
            async with anyio.create_task_group() as group:
                group.start_soon(kitchen.arun, slow_agent, 1)
                await called[0].wait()
                found += (await kitchen.aquery("SELECT status FROM traces")).rows
                found += (await kitchen.aquery("SELECT name, address, status, cost_usd FROM effects")).rows
                group.cancel_scope.cancel()
            return found

        found = anyio.run(main)

    assert found == [("unfinished",), ("paid", None, "ok", 0.5), ("ask", None, "ok", 0.25)]
