"""The table of docs/replay-torture.md: kitchenlog's column is what it says, and the others' adapters still run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import pytest

from benchmarks.torture import __main__ as runner
from benchmarks.torture import verdict
from benchmarks.torture.cases import CASES, Case, Seen
from benchmarks.torture.contestant import NAMES, contestant, see
from benchmarks.torture.page import PAGE, table
from benchmarks.torture.verdict import Cell


def told() -> dict[str, dict[str, str]]:
    """The words of the table by contestant and case."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.count("|") == len(NAMES) + 4
    ]
    names = rows[0][3:]
    assert names == list(NAMES)
    return {name: {row[0]: row[place + 3] for row in rows[2:] if row[0] != "sum"} for place, name in enumerate(names)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_kitchenlog_does_what_the_table_says(tmp_path: Path, case: Case) -> None:
    seen = anyio.run(see, contestant("kitchenlog"), case, tmp_path)

    assert seen.broken is None
    cell = verdict.verdict(case, seen)
    assert cell.word == told()["kitchenlog"][case.key], cell.why
    assert cell.word != verdict.SILENT


def test_the_table_has_every_case_and_every_contestant() -> None:
    for name, found in told().items():
        assert list(found) == [case.key for case in CASES], name
        assert set(found.values()) <= {verdict.RIGHT, verdict.LOUD, verdict.SILENT, verdict.CANNOT}


def test_a_table_is_read_as_it_was_written() -> None:
    cells = {name: {case.key: Cell(verdict.LOUD) for case in CASES} for name in NAMES}

    assert table(cells).count(f"| {verdict.LOUD} ") == len(CASES) * len(NAMES) + 1


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (Seen(recorded=1, output=1), verdict.RIGHT),
        (Seen(recorded=1, output=1, live=1), verdict.SILENT),
        (Seen(recorded=1, output=2), verdict.SILENT),
        (Seen(recorded=1, output=2, said=["drift"]), verdict.LOUD),
        (Seen(recorded=1, output=1, said=["drift"]), verdict.LOUD),
        (Seen(recorded=1, error="Miss: no"), verdict.LOUD),
        (Seen(broken="no such module"), verdict.CANNOT),
    ],
)
def test_a_verdict_is_of_what_was_seen(seen: Seen, word: str) -> None:
    assert verdict.verdict(CASES[0], seen).word == word


def test_what_a_tool_says_of_itself_excuses_only_what_is_not_right() -> None:
    [case, *_] = CASES

    assert verdict.verdict(case, Seen(recorded=1, output=1), cannot="HTTP only").word == verdict.RIGHT
    assert verdict.verdict(case, Seen(recorded=1, output=2), cannot="HTTP only") == Cell(verdict.CANNOT, "HTTP only")
    assert verdict.verdict(case, Seen(recorded=1, output=2, live=2), reexecutes=True).word == verdict.CANNOT
    assert verdict.verdict(case, Seen(recorded=1, output=2), reexecutes=True).word == verdict.SILENT


@pytest.mark.long
@pytest.mark.xdist_group("environments")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "kitchenlog"])
def test_the_other_adapters_still_run(name: str) -> None:
    try:
        runner.python_of(name)
    except subprocess.CalledProcessError:
        pytest.skip("its environment cannot be made here: no package index")
    for case in CASES[:3]:
        cell, facts, seen = runner.put(name, case)

        assert seen.broken is None
        assert facts["versions"]
        assert cell.word == told()[name][case.key], cell.why
