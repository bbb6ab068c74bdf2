"""Verifying many traces: a row each, never lost, and never better than it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtime
from replay.verified import Row, Verified
from runtime import Graph
from storage import frames
from tests import kitchens
from tests.kitchens import Turn
from tests.left_behind import leave

ROOT = Path(__file__).parents[1]


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[runtime.Runtime]:
    with runtime.Runtime(tmp_path / "store") as made:
        yield made


def record(kitchen: runtime.Runtime, *texts: str) -> list[str]:
    made: list[str] = []
    for number, text in enumerate(texts):
        try:
            made.append(kitchen.run(kitchens.bot, Turn(text), attributes={"number": number}).trace_id)
        except kitchens.ProviderDown as error:
            made.append(error.__notes__[0].rpartition(" ")[2])
    return made


def sealed(folder: Path) -> runtime.Runtime:
    """The same store, its traces in packs."""
    with runtime.Runtime(folder) as made:
        made.seal()
    again = runtime.Runtime(folder)
    again.register(kitchens.bot)
    return again


def by_trace(found: Verified) -> dict[str, Row]:
    return {row.trace_id: row for row in found}


def test_what_stands_is_the_same_and_proved_and_no_trace_is_recorded_for_it(kitchen: runtime.Runtime) -> None:
    traces = record(kitchen, "one", "two", "three")

    found = kitchen.verify()

    assert found.ok
    assert found.counts == {"same": 3}
    assert {row.trace_id for row in found} == set(traces)
    assert all(row.certificate.proved and (row.recorded, row.now) == ("ok", "ok") for row in found)
    assert len(kitchen.list()) == 3


def test_a_swap_that_changes_the_output_is_changed_where_it_does(kitchen: runtime.Runtime) -> None:
    long, short = record(kitchen, "one", "")

    found = by_trace(kitchen.verify(swap={"length": lambda answer: 20 if "one" in answer else len(answer)}))

    assert found[long].verdict == "changed"
    assert (found[long].address, found[long].status) == ("length", "swapped")
    assert found[short].verdict == "same"
    assert found[short].certificate["length"].status == "cut off"
    assert found[short].certificate["generate"].status == "reused"


def test_a_run_that_failed_and_now_ends_well_is_fixed(kitchen: runtime.Runtime) -> None:
    failed, fine = record(kitchen, "down", "up")
    assert by_trace(kitchen.verify())[failed].verdict == "same"  # it fails as it did

    found = by_trace(kitchen.verify(swap={"generate": kitchens.apologise}))

    assert (found[failed].verdict, found[failed].recorded, found[failed].now) == ("fixed", "error", "ok")
    assert (found[failed].address, found[failed].status) == ("generate", "swapped")
    assert found[fine].verdict == "changed"


def test_what_needs_a_call_that_nobody_allowed_is_blocked_and_says_which(kitchen: runtime.Runtime) -> None:
    [trace] = record(kitchen, "one")

    [row] = kitchen.verify(swap={"retrieve/rerank": kitchens.backwards})

    assert (row.trace_id, row.verdict, row.now) == (trace, "blocked", "blocked")
    assert (row.address, row.status) == ("generate/chat", "blocked")
    assert ".prompt" in row.reason


def test_the_budget_is_over_all_traces(kitchen: runtime.Runtime) -> None:
    record(kitchen, "one", "two", "three", "four")

    found = kitchen.verify(swap={"retrieve/rerank": kitchens.backwards}, live="needed", budget_usd=0.025)

    assert found.counts == {"same": 2, "blocked": 2}  # the answers are as long as they were
    assert found.spent_usd == pytest.approx(0.02)


def test_a_trace_of_which_a_part_is_gone_is_unreplayable_beside_those_that_are_whole(tmp_path: Path) -> None:
    kitchen = runtime.Runtime(tmp_path)
    traces = record(kitchen, "one", "two")
    leave(kitchen)
    [file] = (tmp_path / "log").iterdir()
    data = bytearray(file.read_bytes())
    first = next(
        one for one in frames.scan(bytes(data[frames.FILE_HEADER_BYTES :]), frames.FILE_HEADER_BYTES)
        if isinstance(one, frames.Frame) and one.trace.hex() == traces[0] and one.kind == 3
    )  # fmt: skip
    data[first.offset + frames.FRAME_HEADER_BYTES] ^= 0xFF
    file.write_bytes(data)
    with runtime.Runtime(tmp_path) as again:
        again.register(kitchens.bot)

        found = again.verify()

    rows = by_trace(found)
    assert rows[traces[0]].verdict == "unreplayable"
    assert "damaged" in rows[traces[0]].reason
    assert rows[traces[1]].verdict == "same"
    assert not found.ok
    [step] = [share for share in found.replayable("step") if share.group == "generate"]
    assert (step.replayable, step.total) == (1, 2)


def test_a_pack_that_cannot_be_read_is_told_of_though_nobody_knows_what_is_in_it(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path) as kitchen:
        record(kitchen, "one")
    [pack] = tmp_path.rglob("*.pack")
    pack.write_bytes(pack.read_bytes()[:-1])
    with runtime.Runtime(tmp_path) as again:
        again.register(kitchens.bot)

        found = again.verify()

    assert not found.ok
    assert len(found.unread) == 1
    assert pack.name in found.unread[0]


def test_no_agent_of_that_name_is_a_row_too(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    [trace] = record(kitchen, "one")
    kitchen.close()  # else it is on disk within 50 ms
    with runtime.Runtime(tmp_path / "store") as other:
        [row] = other.verify()
    assert (row.trace_id, row.verdict, row.now) == (trace, "unreplayable", "")
    assert "agents = [" in row.reason


def test_nothing_selected_is_not_ok(kitchen: runtime.Runtime) -> None:
    record(kitchen, "one")
    found = kitchen.verify("number = 7")
    assert not found.ok
    assert str(found) == "no trace was verified"


def test_where_and_limit_select_as_in_a_list_and_the_newest_come_first(kitchen: runtime.Runtime) -> None:
    traces = record(kitchen, "one", "two", "three", "four")
    kitchen.feedback(traces[1], csat=2)

    assert [row.trace_id for row in kitchen.verify("outcome.csat <= 2")] == [traces[1]]
    assert [row.trace_id for row in kitchen.verify("number >= 1", limit=2)] == [traces[3], traces[2]]
    assert [row.trace_id for row in kitchen.verify()] == traces[::-1]
    assert [row.trace_id for row in kitchen.verify(traces=[traces[2], traces[0][:12]])] == [traces[2], traces[0]]


def test_replays_are_not_verified(kitchen: runtime.Runtime) -> None:
    [trace] = record(kitchen, "one")
    kitchen.replay(trace)
    assert [row.trace_id for row in kitchen.verify()] == [trace]
    assert [row.trace_id for row in kitchen.verify(limit=5)] == [trace]


def test_feedback_that_lies_in_another_pack_is_seen(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path) as kitchen:
        low, high = record(kitchen, "one", "two")
    with runtime.Runtime(tmp_path) as kitchen:
        kitchen.feedback(low, csat=1)
        kitchen.feedback(high, csat=5)
    again = sealed(tmp_path)
    assert len(list(tmp_path.rglob("*.pack"))) == 2
    assert [(row.trace_id, row.verdict) for row in again.verify("outcome.csat <= 2")] == [(low, "same")]


def test_a_key_that_no_trace_has_is_an_error_and_one_that_some_have_is_a_row(kitchen: runtime.Runtime) -> None:
    record(kitchen, "one")
    with pytest.raises(runtime.RuntimeMisuse, match="did you mean 'retrieve/rerank'"):
        kitchen.verify(swap={"retrieve/rerunk": kitchens.backwards})


def test_how_much_is_replayable_by_step_hour_day_and_version(kitchen: runtime.Runtime) -> None:
    record(kitchen, "one", "two")
    found = kitchen.verify()
    steps = {share.group: (share.replayable, share.total, share.percent) for share in found.replayable("step")}
    assert steps == dict.fromkeys(("generate", "length", "retrieve", "retrieve/rerank", "stamp"), (2, 2, 100.0))
    for by in ("hour", "day", "version"):
        [share] = found.replayable(by)
        assert (share.replayable, share.total) == (2, 2)
    assert found.replayable("version")[0].group == f"kitchens.bot {kitchens.bot.fingerprint.hex()[:8]}"
    with pytest.raises(ValueError, match="'week'"):
        found.replayable("week")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_certificates_are_written_a_line_each(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    traces = record(kitchen, "one", "two")
    kitchen.verify().write(tmp_path / "proofs.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "proofs.jsonl").read_text("utf-8").splitlines()]
    assert {line["trace_id"] for line in lines} == set(traces)
    assert all(line["certificate"]["head"]["proved"] and len(line["certificate"]["entries"]) == 6 for line in lines)


@pytest.mark.anyio
async def test_the_awaitable_twin(tmp_path: Path) -> None:
    kitchen = runtime.Runtime(tmp_path)
    await kitchen.arun(kitchens.bot, Turn("one"))
    with pytest.raises(runtime.RuntimeMisuse, match="averify"):
        kitchen.verify()
    assert (await kitchen.averify()).ok
    kitchen.close()


def test_trio_verifies_too(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path, backend="trio") as kitchen:
        record(kitchen, "one", "down")
        assert kitchen.verify().counts == {"same": 2}
        assert kitchen.verify(workers=1).counts == {"same": 2}


# worker processes


def test_workers_tell_what_this_process_tells(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path) as kitchen:
        record(kitchen, *(f"text {number}" for number in range(12)), "down")
    again = sealed(tmp_path)

    def told(found: Verified) -> list[tuple[object, ...]]:
        return [(row.trace_id, row.verdict, row.recorded, row.now, row.address, row.reason, row.entries) for row in found]

    seen: list[tuple[int, int]] = []
    alone, shared = again.verify(workers=0), again.verify(workers=2, progress=lambda done, every: seen.append((done, every)))
    assert told(alone) == told(shared)
    assert (alone.workers, shared.workers, shared.notes) == (0, 2, ())
    assert seen[-1] == (13, 13)
    swapped = again.verify(swap={"length": kitchens.twice}, workers=2)
    assert swapped.counts == {"same": 1, "changed": 12}
    assert told(swapped) == told(again.verify(swap={"length": kitchens.twice}, workers=0))


@pytest.mark.parametrize(("text", "how"), [("exit", "ended with code 7"), ("kill", "was killed by signal 9")])
def test_a_trace_that_a_worker_dies_of_is_told_as_lost_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, how: str
) -> None:
    with runtime.Runtime(tmp_path) as kitchen:
        traces = [kitchen.run(kitchens.fragile_bot, one).trace_id for one in ("a", "b", text, "c", "d")]
    monkeypatch.setenv("KITCHENLOG_TEST_FRAGILE", "1")
    with runtime.Runtime(tmp_path) as again:
        again.register(kitchens.fragile_bot)

        found = again.verify(workers=1)

    rows = by_trace(found)
    assert set(rows) == set(traces)
    assert found.counts == {"same": 4, "unreplayable": 1}
    assert rows[traces[2]].reason == f"worker died: it {how}"
    assert found.notes == (f"a worker process {how} at trace {traces[2]}",)


def test_an_agent_that_no_other_process_can_import_is_verified_here_and_it_is_said(tmp_path: Path) -> None:
    async def local(text: str) -> str:
        return text

    graph = Graph("kitchens.local", input=str)
    agent = graph.build(graph.add(local, graph.input))
    with runtime.Runtime(tmp_path) as kitchen:
        kitchen.run(agent, "one")
        found = kitchen.verify(workers=2)
    assert found.ok
    assert found.workers == 0
    assert "agent kitchens.local" in found.notes[0]


def test_live_calls_are_not_made_by_workers(kitchen: runtime.Runtime) -> None:
    record(kitchen, "one")
    with pytest.raises(runtime.RuntimeMisuse, match="workers"):
        kitchen.verify(live="needed", workers=2)


# the command


def kitchenlog(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from console.app import main; main()", "--store", "store", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PATH": ""}, capture_output=True, text=True, check=False,
        timeout=50,
    )  # fmt: skip


def test_the_command_exits_with_what_it_found(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    traces = record(kitchen, "one", "two")
    kitchen.close()
    bot = ("--agent", "tests.kitchens:bot")

    fine = kitchenlog(tmp_path, "verify", *bot, "--workers", "0")
    assert fine.returncode == 0, fine.stderr
    assert "2 same" in fine.stdout

    other = kitchenlog(tmp_path, "verify", *bot, "--swap", "length=tests.kitchens:twice", "--json", "--where", "number = 1")
    assert other.returncode == 1, other.stderr
    told = json.loads(other.stdout)
    assert told["counts"] == {"changed": 1}
    assert told["rows"][0]["trace_id"] == traces[1]

    assert kitchenlog(tmp_path, "verify", *bot, "--where", "number = 9").returncode == 1
    assert kitchenlog(tmp_path, "verify", *bot, "--swap", "nope=tests.kitchens:twice").returncode == 2


def test_the_replayability_audit_takes_failing_runs_and_says_what_each_lacks(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    failed, low, *_ = record(kitchen, "down", "one", "two")
    kitchen.feedback(low, csat=1)
    kitchen.close()

    done = kitchenlog(tmp_path, "audit", "--random-failing", "5", "--agent", "tests.kitchens:bot", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["failing"], told["taken"], told["replayable"]) == (2, 2, 2)
    assert {one["trace_id"] for one in told["traces"]} == {failed, low}

    lacking = kitchenlog(tmp_path, "audit", "--random-failing", "1", "--seed", "4")
    assert lacking.returncode == 1
    assert "not replayable" in lacking.stdout
    assert "known here: none" in lacking.stdout
    assert kitchenlog(tmp_path, "audit", "--random-failing", "1", "--failing", "number = 77").returncode == 2
