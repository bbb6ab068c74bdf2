"""The command, as a person at a terminal has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BOT = """
from runtime import Graph, effect

@effect
async def complete(prompt: str) -> str:
    return prompt.upper()

async def retrieve(question: str) -> list[str]:
    return sorted(question.split())

async def generate(question: str, words: list[str]) -> str:
    return await complete(question + str(words))

async def backwards(question: str) -> list[str]:
    return sorted(question.split(), reverse=True)

graph = Graph("bot", input=str)
words = graph.add(retrieve, graph.input)
agent = graph.build(graph.add(generate, graph.input, words))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.py").write_text(BOT, "utf-8")
    return tmp_path


def kitchenlog(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from console.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_from_a_run_to_a_fix(folder: Path) -> None:
    ran = kitchenlog(folder, "run", "bot:agent", '"where is it"', "-a", "variant=B", "--json")
    assert ran.returncode == 0, ran.stderr
    trace = json.loads(ran.stdout)["trace_id"]

    [line] = json.loads(kitchenlog(folder, "list", "--where", "variant = 'B'", "--json").stdout)
    assert line["trace_id"] == trace
    shown = kitchenlog(folder, "show", trace[:8])
    assert "generate/complete" in shown.stdout
    assert f"kitchenlog replay {trace}" in shown.stdout

    proved = kitchenlog(folder, "replay", trace, "--agent", "bot:agent")
    assert proved.returncode == 0, proved.stderr
    assert "proved: 2 steps reproduced; 1 call reused" in proved.stdout

    swap = ["--agent", "bot:agent", "--swap", "retrieve=bot:backwards"]
    planned = kitchenlog(folder, "plan", trace, *swap, "--json")
    assert {step["address"]: step["mode"] for step in json.loads(planned.stdout)["steps"]}["retrieve"] == "verify"
    blocked = kitchenlog(folder, "replay", trace, *swap)
    assert blocked.returncode == 1
    again = blocked.stdout.split("to make the call for real:\n")[1].splitlines()[0].split()
    assert again[0] == "kitchenlog"
    fixed = kitchenlog(folder, *again[1:], "--json")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    told = json.loads(fixed.stdout)
    assert told["certificate"]["head"]["counts"]["live"] == 1

    compared = kitchenlog(folder, "diff", trace, told["trace_id"])
    assert compared.returncode == 1
    assert "first difference at retrieve" in compared.stdout


def test_the_graph_as_text_and_mermaid(folder: Path) -> None:
    assert "generate(input, retrieve) -> str" in kitchenlog(folder, "graph", "bot:agent").stdout
    assert kitchenlog(folder, "graph", "bot:agent", "--mermaid").stdout.startswith("flowchart TD")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "abc"], "no recordings in"),
        (["show", "not hex"], "no trace id"),
        (["run", "bot", '"x"'], "is not module:object"),
        (["run", "nosuch:agent", '"x"'], "No module named 'nosuch'"),
        (["run", "bot:agent", "{"], "VALUE is no str in JSON"),
        (["run", "bot:graph", '"x"'], "not an agent"),
        (["list", "--where", "a ="], "expected a number"),
    ],
)
def test_a_users_error_is_a_sentence(folder: Path, arguments: list[str], said: str) -> None:
    if arguments[0] == "list" or "not hex" in arguments:
        kitchenlog(folder, "run", "bot:agent", '"x"')

    done = kitchenlog(folder, *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
