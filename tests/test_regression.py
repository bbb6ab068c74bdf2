"""From a trace to a checked-in test: it passes, and it fails with the step named once a step is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from tests.test_command import ROOT, kitchenlog

BOT = """
from runtime import Graph, current, effect

@effect
async def complete(prompt: str) -> str:
    with open("calls.txt", "a") as file:
        file.write(prompt + "\\n")
    return prompt.upper()

@effect(side_effect=True)
async def pay(order: str) -> str:
    return f"paid {order}"

async def retrieve(question: str) -> list[str]:
    return sorted(question.split())

async def generate(question: str, words: list[str]) -> str:
    return await complete(question + str(words))

async def shorten(answer: str) -> str:
    return answer[:12]

graph = Graph("help.bot", input=str)
words = graph.add(retrieve, graph.input)
agent = graph.build(graph.add(shorten, graph.add(generate, graph.input, words)))
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50)


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "bot.py"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one test made of a trace."""
    (tmp_path / "bot.py").write_text(BOT, "utf-8")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n", "utf-8")
    ran = kitchenlog(tmp_path, "run", "bot:agent", '"where is \\u202e it"', "--json")
    trace = json.loads(ran.stdout)["trace_id"]
    made = kitchenlog(tmp_path, "test", "new", trace, "--out", "tests", "--agent", "bot:agent")
    assert made.returncode == 0, made.stderr
    assert "as of now it passes: proved: 3 steps reproduced; 1 call reused" in made.stdout
    (tmp_path / "calls.txt").unlink()
    return tmp_path


def test_the_generated_test_passes_alone_and_calls_nothing(project: Path) -> None:
    [file] = (project / "tests").glob("test_*.py")
    for path in (project / ".kitchenlog").rglob("*"):
        if path.is_file():
            path.unlink()

    done = run_pytest(project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert not (project / "calls.txt").exists()
    text = file.read_text("utf-8")
    assert "\u202e" not in text
    assert "from bot import agent" in text
    assert "# spans: retrieve, generate, shorten" in text
    assert "assert_contract" not in text  # none of its steps is a standard one


def test_a_broken_step_fails_it_by_name_and_field(project: Path) -> None:
    edit(project, "return answer[:12]", "return answer[:11]")

    done = run_pytest(project)

    assert done.returncode == 1
    assert "help.bot" in done.stdout
    assert "first divergence:" in done.stdout
    assert "shorten  changed" in done.stdout
    assert '.output: "WHERE IS ' in done.stdout
    assert "--kitchenlog-update" in done.stdout
    assert "console/regression.py" not in done.stdout  # it is about the step, not about us


def test_a_step_that_asks_otherwise_is_told_with_what_was_recorded(project: Path) -> None:
    edit(project, "return sorted(question.split())", "return sorted(question.split())[:1]")

    done = run_pytest(project)

    assert done.returncode == 1
    first = done.stdout.split("first divergence:\n")[1].splitlines()[0]
    assert "retrieve  changed" in first
    assert "generate/complete  blocked" in done.stdout
    assert "--kitchenlog-update --kitchenlog-live" in done.stdout
    assert not (project / "calls.txt").exists()


def test_code_that_comes_to_the_same_passes(project: Path) -> None:
    edit(project, "return sorted(question.split())", "found = question.split()\n    found.sort()\n    return found")

    assert run_pytest(project).returncode == 0


def test_a_change_that_is_meant_is_approved(project: Path) -> None:
    edit(project, "return answer[:12]", "return answer[:5]")

    approved = run_pytest(project, "--kitchenlog-update")
    again = run_pytest(project)

    assert approved.returncode == 0, approved.stdout
    assert "kitchenlog: recordings updated" in approved.stdout
    assert "first difference at shorten" in approved.stdout
    assert again.returncode == 0, again.stdout
    assert not (project / "calls.txt").exists()
    edit(project, "return answer[:5]", "return answer[:12]")
    assert run_pytest(project).returncode == 1


def test_what_needs_a_provider_is_approved_only_with_live_calls(project: Path) -> None:
    edit(project, "return sorted(question.split())", "return sorted(question.split())[:1]")
    [file] = (project / "tests").glob("*.recording")
    before = file.read_bytes()

    refused = run_pytest(project, "--kitchenlog-update")
    assert refused.returncode == 1
    assert "cannot be approved without calls that nobody recorded" in refused.stdout
    assert file.read_bytes() == before
    assert not (project / "calls.txt").exists()

    approved = run_pytest(project, "--kitchenlog-update", "--kitchenlog-live")
    assert approved.returncode == 0, approved.stdout
    assert len((project / "calls.txt").read_text("utf-8").splitlines()) == 1
    assert run_pytest(project).returncode == 0


def test_a_step_that_gives_something_else_each_time_is_never_approved(project: Path) -> None:
    edit(project, "return answer[:12]", "return answer[:12] + str(__import__('os').getpid())")
    assert run_pytest(project, "--kitchenlog-update").returncode == 0

    again = run_pytest(project, "--kitchenlog-update")

    assert again.returncode == 1
    assert "it cannot be approved" in again.stdout
    assert "shorten  diverged" in again.stdout


def test_live_calls_need_an_update(project: Path) -> None:
    done = run_pytest(project, "--kitchenlog-live")

    assert done.returncode == 4
    assert "without it a test never calls a provider" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--agent", "bot:agent"), "is there already"),
        (("--out", "b", "--agent", "other:agent"), "recorded by agent 'help.bot': other:agent is another"),
        (("--out", "b"), "say where it is with --agent module:object"),
        (("--out", "b", "--agent", "bot:graph"), "not an agent"),
    ],
)
def test_what_no_test_can_be_made_of(project: Path, arguments: tuple[str, ...], said: str) -> None:
    (project / "other.py").write_text(BOT.replace("help.bot", "other.bot"), "utf-8")
    [line] = json.loads(kitchenlog(project, "list", "--json").stdout)

    done = kitchenlog(project, "test", "new", line["trace_id"], *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert not list(project.glob("b/*"))


def test_a_subject_is_pointed_out(project: Path) -> None:
    ran = kitchenlog(project, "run", "bot:agent", '"who"', "--subject", "cust_91", "--json")

    made = kitchenlog(project, "test", "new", json.loads(ran.stdout)["trace_id"], "--out", "c", "--agent", "bot:agent")

    assert made.returncode == 0
    assert "`forget` does not reach" in made.stderr


STANDARD = """
import runtime
from runtime import Graph, current

async def cite(text: str) -> str:
    told = {"citation.claims_extracted": 1, "citation.claims_supported": 1, "citation.unsupported": []}
    current().attributes.update({"step.kind": "cite", **told})
    return text

graph = Graph("cites", input=str)
agent = graph.build(graph.add(cite, graph.input))
"""


def test_a_span_that_breaks_its_contract_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(STANDARD, "utf-8")
    ran = kitchenlog(tmp_path, "run", "bot:agent", '"x"', "--json")
    assert kitchenlog(
        tmp_path, "test", "new", json.loads(ran.stdout)["trace_id"], "--out", ".", "--agent", "bot:agent"
    ).returncode == 0  # fmt: skip
    assert run_pytest(tmp_path).returncode == 0

    edit(tmp_path, ', "citation.unsupported": []', "")
    done = run_pytest(tmp_path)

    assert done.returncode == 1
    assert "cite does not tell citation.unsupported" in done.stdout


def test_a_store_for_a_test(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(BOT, "utf-8")
    (tmp_path / "test_own.py").write_text(
        "from bot import agent\n\ndef test_it(kitchenlog_store):\n"
        "    run = kitchenlog_store.run(agent, 'b a')\n    assert kitchenlog_store.replay(run.trace_id).certificate.proved\n",
        "utf-8",
    )

    done = run_pytest(tmp_path)

    assert done.returncode == 0, done.stdout
    assert not (tmp_path / ".kitchenlog").exists()


def test_the_plugin_costs_a_session_nothing() -> None:
    code = (
        "import sys, console.pytest_plugin; print(sorted({'runtime', 'replay', 'storage', 'boto3', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)
    other = subprocess.run(
        [sys.executable, "-c", "import sys, runtime; print('pytest' in sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=50,
    )  # fmt: skip

    assert (done.stdout.strip(), other.stdout.strip()) == ("[]", "False")


def test_a_trace_without_standard_steps_has_no_contract(kitchen: runtime.Runtime, tmp_path: Path) -> None:
    from console.regression import RecordedRun
    from tests.one_step import echo, only

    agent = only(echo)
    run = kitchen.run(agent, 1)
    kitchen.export(run.trace_id, tmp_path / "a.recording")

    with pytest.raises(AssertionError, match="no contract to keep"):
        RecordedRun(tmp_path / "a.recording", agent).assert_contract()
