"""Questions in SQL: exact, complete, and without any reach beyond the rows."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from click.testing import CliRunner

import runtime
from console.app import main
from runtime.sql import terms
from storage.merging import merge
from storage.objects.folder import FolderObjectStore
from storage.opening import open_store
from storage.rows.beside import RowStore
from storage.rows.loose import loose_traces
from storage.rows.sql import BadQuery, answer
from storage.rows.trace import RowMaker, Trace
from tests.packed import killed, pack_up


@runtime.effect
async def ask(text: str) -> str:
    return text.upper()


async def first(text: str) -> str:
    return await ask(text)


async def second(text: str) -> str:
    await anyio.lowlevel.checkpoint()
    return await ask(text)


graph = runtime.Graph("query.bot", input=str)
agent = graph.build(graph.add(second, graph.add(first, graph.input)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    for place in range(4):
        with killed(folder) as kitchen:
            for turn in range(9):
                kitchen.run(agent, f"{place} {turn}", attributes={"variant": "AB"[turn % 2]})
        if place < 3:  # the last record file stays one
            pack_up(folder)
    return folder


def test_percentiles_are_those_of_every_row(store: Path) -> None:
    kitchen = runtime.Runtime(store)
    raw: dict[str, list[float]] = {}
    for line in kitchen.list(limit=None):
        for span in kitchen.open(line.trace_id).spans.values():
            raw.setdefault(span.name, []).append(span.duration_ms)

    found = kitchen.query(
        "SELECT name, count(*), quantile_disc(duration_ms, 0.95), quantile_cont(duration_ms, 0.95) FROM spans GROUP BY name"
    )

    assert (found.packs, found.made, found.loose) == (3, 3, 9)
    assert {row[0]: row[1:3] for row in found.rows} == {
        name: (36, np.percentile(values, 95, method="inverted_cdf")) for name, values in raw.items()
    }
    assert {row[0]: row[3] for row in found.rows} == {
        name: pytest.approx(np.percentile(values, 95), rel=1e-12) for name, values in raw.items()
    }


def test_figures_by_variant_join_spans_to_their_traces(store: Path) -> None:
    found = runtime.Runtime(store).query(
        "SELECT variant, name, count(*) FROM spans JOIN traces USING (trace_id) GROUP BY ALL ORDER BY ALL"
    )

    assert found.columns == ("variant", "name", "count_star()")
    assert found.rows == [("A", "first", 20), ("A", "second", 20), ("B", "first", 16), ("B", "second", 16)]


def test_attributes_whose_columns_would_have_one_name_keep_apart(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "store") as kitchen:
        kitchen.run(agent, "x", attributes={"status": "mine", "a.b": 1, "a b": 2.5, "A_b": True, "big": 2**60, "it's": "x"})
        kitchen.run(agent, "x", attributes={"mixed": 1, "big": 1, "number": 1})
        kitchen.run(agent, "x", attributes={"mixed": "one", "number": 1.5})

        first_row = kitchen.query("SELECT status, status_2, a_b, a_b_2, a_b_3, it_s FROM traces WHERE status_2 IS NOT NULL").rows
        mixed = kitchen.query("SELECT mixed, number FROM traces WHERE number IS NOT NULL ORDER BY mixed").rows
        big = kitchen.query("SELECT big FROM traces WHERE big IS NOT NULL ORDER BY big").rows

    assert first_row == [("ok", "mine", True, 2.5, 1, "x")]
    assert mixed == [("1", 1.0), ("one", 1.5)]
    assert big == [("1",), (str(2**60),)]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELEC 1", "syntax error"),
        ("", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("DROP VIEW spans", "one SELECT"),
        ("SET threads = 1", "one SELECT"),
        ("EXPLAIN ANALYZE SELECT 1", "one SELECT"),
        ("COPY (SELECT 1) TO 'out.csv'", "one SELECT"),
        ("ATTACH 'x.db'", "one SELECT"),
        ("SELECT nam FROM spans", "Candidate bindings"),
        ("SELECT * FROM spanz", 'Did you mean "spans"'),
        ("SELECT ?", "query: "),
        ("SELECT CAST('x' AS INTEGER)", "Could not convert"),
        ("SELECT * FROM read_csv('{file}')", "disabled by configuration"),
        ("SELECT * FROM read_text('{file}')", "disabled by configuration"),
        ("SELECT * FROM '{file}'", "disabled by configuration"),
        ("SELECT * FROM glob('{file}')", "disabled by configuration"),
        ("SELECT * FROM enable_logging('QueryLog', storage = 'file', storage_path = '{file}.log')", "locked"),
        ("SELECT * FROM here", "does not exist"),
    ],
)
def test_what_is_no_question_is_refused(store: Path, sql: str, text: str) -> None:
    file = store / "secret.csv"
    file.write_text("a\n1\n")
    here = [{"a": 1}]
    before = sorted(store.rglob("*"))
    kitchen = runtime.Runtime(store)
    kitchen.query("SELECT 1")
    made = {path for path in store.rglob("*") if path.suffix == ".parquet"}

    with pytest.raises(BadQuery, match=text):
        kitchen.query(sql.format(file=file))
    assert here
    assert set(store.rglob("*")) - set(before) == made
    assert not Path("out.csv").exists()


def test_an_empty_store_has_empty_tables_and_none_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(runtime.StoreError, match="no store is there yet"):
        runtime.Runtime(tmp_path / "nothing").query("SELECT 1")
    with runtime.Runtime(tmp_path / "store") as kitchen:
        kitchen._writing()
        for name in ("traces", "spans", "effects"):
            assert kitchen.query(f"FROM {name}").rows == []


@pytest.mark.parametrize("name", ["it's [x] *?", "a*", "kind=replay", "[ab]", 'ü \\ "q"'])
def test_only_the_files_of_the_store_are_read_whatever_it_is_called(store: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(store, tmp_path / "a")
    shutil.copytree(store, tmp_path / name)
    sql = "SELECT kind, count(*), count(DISTINCT trace_id) FROM traces GROUP BY kind"

    for folder in (tmp_path / "a", tmp_path / name, tmp_path / name):
        assert runtime.Runtime(folder).query(sql).rows == [("run", 36, 36)]


def test_recording_sealing_and_listing_need_no_database(tmp_path: Path) -> None:
    code = (
        "import sys, runtime\nfrom tests.test_query import agent\n"
        "with runtime.Runtime(sys.argv[1]) as kitchen:\n"
        "    kitchen.feedback(kitchen.run(agent, 'x').trace_id, csat=1)\n    kitchen.list()\n    kitchen.seal()\n"
        "print('duckdb' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_rows_that_go_away_while_they_are_asked_are_made_anew(store: Path) -> None:
    kitchen, maker = runtime.Runtime(store), RowMaker(terms())
    opened = kitchen._reading()
    loose = loose_traces(str(store / "log"))
    removed: list[Path] = []

    def load(trace: bytes) -> Trace:
        if not removed:
            removed.extend(store.glob("hot/*/*.parquet"))
            for path in removed:
                path.unlink()
        return opened.load(trace)

    with RowStore(FolderObjectStore(store), opened.id, opened.mac, maker, folder=str(store)) as rows:
        found = answer("SELECT count(*) FROM traces", rows, maker, loose=loose, load=load, progress=lambda _done, _all: None)

    assert len(removed) == 3
    assert found.rows == [(36,)]
    assert found.made == 3


def test_columns_can_be_asked_for(store: Path) -> None:
    kitchen = runtime.Runtime(store)

    spans, traces = ({row[0]: row[1] for row in kitchen.query(f"DESCRIBE {name}").rows} for name in ("spans", "traces"))

    assert spans["retrieval_doc_ids"] == "VARCHAR[]"
    assert spans["cost_usd"] == "DOUBLE"
    assert traces["variant"] == "VARCHAR"
    assert not {"row", "part", "own", "said"} & {*spans, *traces}


class Later(FolderObjectStore):
    """A folder whose clock is ahead, so that its hours are over."""

    days = 1

    def now(self) -> dt.datetime:
        return super().now() + dt.timedelta(days=self.days)


def test_answers_are_the_same_before_and_after_packs_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    traces: list[str] = []
    for place in range(4):
        with runtime.Runtime(folder) as kitchen:  # each leaves a pack, the later ones with feedback on what came before
            traces += [
                kitchen.run(agent, f"{place} {turn}", attributes={"variant": "AB"[turn % 2]}).trace_id for turn in range(3)
            ]
            kitchen.feedback(traces[0], csat=place)
            kitchen.feedback(traces[-1], good=True)
    asked = (
        "SELECT * FROM traces ORDER BY trace_id",
        "SELECT * FROM spans ORDER BY trace_id, address",
        "SELECT * FROM effects ORDER BY trace_id, address",
    )

    def answers() -> list[list[tuple[Any, ...]]]:
        return [runtime.Runtime(folder).query(sql).rows for sql in asked]

    before = answers()
    assert not list((folder / "log").glob("*.log"))
    assert (len(before[0]), len(before[1])) == (12, 24)
    assert runtime.Runtime(folder).query("SELECT outcome_csat FROM traces WHERE outcome_csat IS NOT NULL").rows == [(3,)]
    store = open_store(folder, create=False)
    store.objects = later = Later(folder)

    merged = merge(store).merged

    assert merged
    assert answers() == before
    later.days = 2
    assert merge(store).removed
    assert answers() == before
    assert len(list(folder.glob("hot/*/*.parquet"))) == len(list(folder.glob("hot/*/*.pack"))) == len(merged)


def test_progress_is_told_while_rows_are_made(store: Path) -> None:
    seen: list[tuple[int, int]] = []
    kitchen = runtime.Runtime(store)

    kitchen.query("SELECT 1", progress=lambda done, every: seen.append((done, every)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    seen.clear()
    kitchen.query("SELECT 1", progress=lambda done, every: seen.append((done, every)))
    assert seen == []


def test_the_awaitable_twins_answer_alike(store: Path, backend: str) -> None:
    async def both() -> None:
        with runtime.configure(store) as kitchen:
            assert (await runtime.aquery("SELECT count(*) FROM traces")).rows == [(36,)]
            assert (await runtime.areindex()).same == 3
            assert kitchen.query("SELECT count(*) FROM traces").rows == [(36,)]

    anyio.run(both, backend=backend)


def run(store: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["--store", str(store), *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_tables_json_and_csv(store: Path) -> None:
    sql = (
        "SELECT name, count(*) AS n, [variant] AS list, avg(1.5) AS mean FROM spans JOIN traces USING (trace_id) "
        "GROUP BY ALL ORDER BY name, list"
    )

    code, out, told = run(store, "query", sql)
    assert code == 0
    assert [line.split() for line in out.splitlines()][:2] == [["name", "n", "list", "mean"], ["first", "20", '["A"]', "1.5"]]
    assert out.splitlines()[-1] == "4 rows"
    assert told == "made the rows of 3 of 3 packs\n"

    code, out, told = run(store, "query", sql, "--json")
    assert (code, told) == (0, "")
    assert json.loads(out)[0] == {"name": "first", "n": 20, "list": ["A"], "mean": 1.5}

    code, out, _ = run(store, "query", sql, "--csv")
    assert code == 0
    assert list(csv.reader(io.StringIO(out)))[:2] == [["name", "n", "list", "mean"], ["first", "20", '["A"]', "1.5"]]


def test_the_command_names_what_it_cannot_do(store: Path) -> None:
    code, _, told = run(store, "query", "SELECT 1 AS a, 2 AS a", "--json")
    assert code == 2
    assert "two columns are called a, and JSON has room for one" in told
    code, _, told = run(store, "query", "SELECT nam FROM spans")
    assert code == 2
    assert told.startswith("kitchenlog: query: Binder Error")
    assert run(store, "query", "SELECT 1", "--json", "--csv")[0] == 2


def test_the_command_says_what_an_answer_lacks(store: Path) -> None:
    pack = next(store.glob("hot/*/*.pack"))
    data = pack.read_bytes()
    pack.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])

    code, out, told = run(store, "query", "SELECT status, count(*) AS n FROM traces GROUP BY status ORDER BY n", "--csv")

    assert (code, out) == (1, "status,n\ndamaged,9\nok,27\n")
    assert "is corrupt in its block 0" in told
    assert run(store, "index", "rebuild")[0] == 1


def test_the_command_rebuilds_rows(store: Path) -> None:
    assert run(store, "index", "rebuild")[:2] == (
        0, "rows of 3 packs: 0 were as they should be, 3 were missing, 0 differed, 0 were of no pack\n",
    )  # fmt: skip
    code, out, _ = run(store, "index", "rebuild", "--json")
    assert (code, json.loads(out)["same"]) == (0, 3)


def test_values_are_data_in_json(store: Path) -> None:
    _, out, _ = run(
        store,
        "query",
        "SELECT 'nan'::DOUBLE AS a, DATE '2026-01-02' AS b, 1.5 AS c, NULL AS d, {'x': true} AS e, 2::HUGEINT AS f",
        "--json",
    )

    assert json.loads(out) == [{"a": "nan", "b": "2026-01-02", "c": 1.5, "d": None, "e": {"x": True}, "f": 2}]


def test_rows_name_what_a_newer_writer_may_say() -> None:
    assert RowMaker(terms()).terms.status(99) == "unknown"
