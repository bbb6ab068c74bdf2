"""The purity audit names each leak by step, field and source."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import runtime
from console.app import main
from replay.audit import Leak
from tests import isolated_agents

pytestmark = pytest.mark.timeout(180)


def places(leaks: tuple[Leak, ...]) -> set[tuple[str, str, str]]:
    return {(one.address, one.field.path.partition("[")[0], one.source) for one in leaks}


def test_each_leak_is_named(kitchen: runtime.Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITCHENLOG_TEST_VALUE", "recorded")
    run = kitchen.run(isolated_agents.impure, "a")
    monkeypatch.setenv("KITCHENLOG_TEST_VALUE", "now")

    found = kitchen.audit(run.trace_id)

    assert places(found.leaks) == {
        ("clocked/stamped", ".at", "the clock"),
        ("clocked/stamped", ".day", "the clock"),
        ("chance", ".id", "randomness"),
        ("chance", ".die", "randomness"),
        ("shuffled", "", "the hash seed"),
        ("from_file", "", "something else"),
        ("dated", "request of dated/provider .text", "the clock"),
    }
    assert found.pure == ("clocked", "pure")  # what runtime.current() gives is no leak
    [(address, reason)] = found.unaudited
    assert address == "opens_a_socket"
    assert "tried to resolve localhost" in reason
    assert not found.ok
    assert str(found).startswith("2 pure, 5 leaking, 1 not audited\nclocked/stamped  the clock  .at: ")
    assert [one.trace_id for one in kitchen.list()] == [run.trace_id]  # it records nothing


def test_an_ambient_recording_is_audited_too(tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "store", entropy="ambient", backend="trio") as kitchen:
        run = kitchen.run(isolated_agents.impure, "a")
        assert kitchen.replay(run.trace_id).certificate["chance"].status == "reproduced"
        found = kitchen.audit(run.trace_id)
    assert {("clocked/stamped", ".at", "the clock"), ("chance", ".id", "randomness")} <= places(found.leaks)


def test_the_command(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with runtime.Runtime(store) as kitchen:
        clean = kitchen.run(isolated_agents.clean, "a").trace_id
        impure = kitchen.run(isolated_agents.impure, "a").trace_id
    run = CliRunner().invoke

    good = run(main, ["--store", store, "audit", "--purity", clean, "--agent", "tests.isolated_agents:clean"])
    assert (good.exit_code, good.output) == (0, "1 pure, 0 leaking, 0 not audited\n")

    bad = run(main, ["--store", store, "audit", "--purity", impure, "--agent", "tests.isolated_agents:impure", "--json"])
    assert bad.exit_code == 1
    told = json.loads(bad.output)
    assert {"address": "chance", "source": "randomness"}.items() <= next(
        one for one in told["leaks"] if one["field"] == ".id"
    ).items()

    unsaid = run(main, ["--store", store, "audit", "--agent", "tests.isolated_agents:clean"])
    assert unsaid.exit_code == 2
    assert "--purity" in unsaid.output


def test_the_options_of_the_guard(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with runtime.Runtime(store) as kitchen:
        trace = kitchen.run(isolated_agents.asking, "a").trace_id
    said = ["--agent", "tests.isolated_agents:asking", "--swap", "asks=tests.isolated_agents:asks_otherwise"]
    told = CliRunner().invoke(main, ["--store", store, "replay", trace, *said, "--strict", "--control"])
    assert told.exit_code == 1
    assert "--strict --control --live needed" in told.output
    plan = CliRunner().invoke(main, ["--store", store, "plan", trace, *said, "--strict", "--control"])
    assert plan.exit_code == 0, plan.output
    if sys.platform == "linux":
        isolated = CliRunner().invoke(main, ["--store", store, "replay", trace, *said[:2], "--isolated"])
        assert isolated.exit_code == 0, isolated.output
        assert "proved" in isolated.output
