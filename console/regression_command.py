"""`kitchenlog test new`: from a trace to a regression test that can be checked in."""

from __future__ import annotations

import keyword
import shlex
from pathlib import Path
from typing import Any

import click

import runtime
from console.regression import RecordedRun
from console.session import State, clearly, fail, load_agent
from runtime import vocabulary
from runtime.plain import brief, visible
from storage import portable

_TEST = '''"""{agent} {trace}: this run must come out as it was recorded. Made by `kitchenlog test new`."""

from pathlib import Path

from {module} import {name}

RECORDING = Path(__file__).with_name("{file}")


def test_{function}(kitchenlog_recording):
    # input: {given}
    # spans: {spans}
    run = kitchenlog_recording(RECORDING, {object})

    replay = run.assert_unchanged()

    assert replay.certificate.ok
{contract}'''


@click.group()
def test() -> None:
    """Make regression tests of traces."""


@test.command()
@click.argument("trace")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The folder; by default tests, where it is there.")
@click.option("--agent", help="module:object of the agent; by default the one of its name that the configuration lists.")
@click.pass_obj
@clearly
def new(state: State, trace: str, out: Path | None, agent: str | None) -> None:
    """Write a pytest file and a portable recording of TRACE. The test replays it: it needs no provider and no network.

    \b
    Example: kitchenlog test new 48f9c3 --agent bot:agent
    """
    recording = state.runtime.open(trace)
    name, found = _agent_of(state, recording, agent)
    function = f"{_word(recording.agent)}_{recording.trace_id[:8]}"
    folder = out if out is not None else Path("tests") if Path("tests").is_dir() else Path()
    file, test_file = folder / f"{function}{portable.SUFFIX}", folder / f"test_{function}.py"
    for one in (file, test_file):
        if one.exists():
            fail(f"{one} is there already: remove it, or give another folder with --out")
    text = _text(recording, name, function, file.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state.runtime.export(recording.trace_id, file)
        test_file.write_text(text, "utf-8")
    except OSError as error:
        fail(f"{test_file}: {error.strerror}")
    click.echo(f"{test_file}\n{file}")
    click.echo(f"as of now {_outcome(RecordedRun(file, found), contract='assert_contract' in text)}")
    if recording.stored.header.subject is not None:
        click.echo(f"kitchenlog: the trace is about a subject; `forget` does not reach {file}: remove it yourself", err=True)
    click.echo(f"next: python -m pytest {shlex.quote(str(test_file))}")


def _outcome(run: RecordedRun, *, contract: bool) -> str:
    """What the test will say."""
    try:
        certificate = run.assert_unchanged().certificate
        if contract:
            run.assert_contract()
    except AssertionError as error:
        return f"it fails: {error}"
    finally:
        run.close()
    return f"it passes: {certificate}"


def _agent_of(state: State, recording: runtime.Recording, given: str | None) -> tuple[str, runtime.Agent[Any, Any]]:
    """`module:object` of the agent that replays the trace, and the agent."""
    names = [given] if given is not None else list(state.place.agents)
    for name in names:
        found = load_agent(name)
        if found.name == recording.agent:
            return name, found
    where = 'say where it is with --agent module:object, or in kitchenlog.toml: agents = ["module:object"]'
    if given is not None:
        where = f"{given} is another"
    return fail(f"the trace was recorded by agent {recording.agent!r}: {where}")


def _text(recording: runtime.Recording, name: str, function: str, file: str) -> str:
    """The test. What is recorded stands in comments only, in one line each."""
    module, _, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        fail(f"{name!r} cannot be imported by a test: give --agent module:object in names of Python")
    spans = [address for address, span in recording.spans.items() if span.kind != "derive"]
    contract = any(str(span.attributes.get(vocabulary.STEP_KIND)) in vocabulary.REQUIRED for span in recording.spans.values())
    return _TEST.format(
        agent=_word(recording.agent, "."), trace=recording.trace_id, module=module, name=attribute.partition(".")[0],
        object=attribute, file=file, function=function, given=_comment(brief(recording.input_value, 90)),
        spans=_comment(", ".join(spans)), contract="    run.assert_contract()\n" if contract else "",
    )  # fmt: skip


def _word(text: str, also: str = "") -> str:
    """A text as part of a Python name."""
    return "".join(sign if (sign.isascii() and sign.isalnum()) or sign in also else "_" for sign in text)


def _comment(text: str) -> str:
    return " ".join(visible(text).split())
