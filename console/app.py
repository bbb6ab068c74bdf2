"""The command.

`kitchenlog run | list | show | query | replay | plan | verify | audit | check | seal | merge | index | diff | graph |
certificate | test`

Exit codes: 0 done and ok; 1 done, and something differs or is blocked; 2 it could not be done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

import runtime
from console import certificate_command, foreign, regression_command, report, table
from console.audit import audit
from console.replay_options import ReplayOptions, replay_options
from console.session import DIFFERS, State, clearly, emit, fail, json_option, load_agent
from console.verify_command import verify
from runtime.plain import plain


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--store", help="The folder or s3://bucket/prefix of the recordings; by default the project's.")
@click.version_option(package_name="kitchenlog")
@click.pass_context
@clearly
def main(context: click.Context, store: str | None) -> None:
    """Record agents, and replay any recorded run step by step.

    \b
    Example:
      kitchenlog run bot:agent '{"text": "Where is my order?"}'
      kitchenlog list
      kitchenlog replay 48f9c3
    """
    context.obj = State(store)
    context.call_on_close(context.obj.runtime.close)


@main.command()
@click.argument("agent")
@click.argument("value")
@click.option("--subject", help="Whom the run is about; stored as a keyed hash only.")
@click.option("--attribute", "-a", multiple=True, help="name=value, for --where; may be repeated.")
@json_option
@click.pass_obj
@clearly
def run(state: State, agent: str, value: str, subject: str | None, attribute: tuple[str, ...], *, as_json: bool) -> None:
    """Run AGENT (module:object) on VALUE (JSON, - for standard input) and record it.

    \b
    Example: kitchenlog run bot:agent '{"text": "Where is my order?"}' -a variant=B
    """
    import msgspec  # noqa: PLC0415 - only this command converts JSON

    found = load_agent(agent)
    text = sys.stdin.read() if value == "-" else value
    try:
        given = msgspec.convert(msgspec.json.decode(text), found.input_type)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError) as error:
        fail(f"VALUE is no {getattr(found.input_type, '__name__', found.input_type)} in JSON: {error}")
    attributes: dict[str, Any] = {}
    for one in attribute:
        name, sign, content = one.partition("=")
        if not sign:
            fail(f"--attribute is name=value, not {one!r}")
        try:
            attributes[name] = json.loads(content)
        except ValueError:
            attributes[name] = content
    try:
        done = state.runtime.run(found, given, subject=subject, attributes=attributes)
    except runtime.KitchenlogError:
        raise
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        fail(f"the agent raised {type(error).__name__}: {error}. {notes}")
    recording = done.recording
    if as_json:
        emit({"trace_id": done.trace_id, "durable": done.durable, "output": plain(recording.output)})
    else:
        report.run(recording)


@main.command("list")
@click.option("--where", help="For instance: outcome.csat <= 2 and variant = 'B'")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--replays", is_flag=True, help="Also the traces of replays.")
@json_option
@click.pass_obj
@clearly
def list_(state: State, where: str | None, limit: int, *, replays: bool, as_json: bool) -> None:
    """Recorded runs, newest first.

    \b
    Example: kitchenlog list --where "status = 'error'"
    """
    if not replays:
        where = "kind = 'run'" if where is None else f"kind = 'run' and ({where})"
    found = state.runtime.list(where, limit)
    if as_json:
        emit([report.listed_json(line) for line in found])
    else:
        report.listed(found, state.runtime.place)


@main.command()
@click.argument("trace")
@click.option("--full", is_flag=True, help="Whole values, not only the start of each.")
@json_option
@click.pass_obj
@clearly
def show(state: State, trace: str, *, full: bool, as_json: bool) -> None:
    """The spans of TRACE with what went in and came out. Addresses are the first column.

    TRACE is an id or the start of one, or a FILE.json of another system in the shape that --json prints.

    \b
    Example: kitchenlog show 48f9c3
    """
    if trace.endswith(".json"):
        told = foreign.read(Path(trace))
        if as_json:
            emit(foreign.to_json(told))
        else:
            foreign.show(told)
        return
    recording = state.runtime.open(trace)
    if as_json:
        emit(recording.to_json(full=full))
    else:
        report.show(recording, full=full, options=state.options)


@main.command()
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_obj
@clearly
def query(state: State, sql: str, *, as_csv: bool, as_json: bool) -> None:
    """Answer SQL (one SELECT, as DuckDB has it) over the tables traces, spans and effects.

    \b
    Example: kitchenlog query "SELECT name, quantile_cont(duration_ms, 0.95) FROM spans WHERE kind = 'run' GROUP BY name"
             kitchenlog query "DESCRIBE traces"
    """
    if as_csv and as_json:
        fail("--csv and --json are two ways to print: choose one")
    with report.progress("making rows", quiet=as_json or as_csv) as tick:
        found = state.runtime.query(sql, progress=tick)
    table.told(found)
    if as_json:
        emit(table.to_json(found))
    elif as_csv:
        click.echo(table.to_csv(found), nl=False)
    else:
        table.show(found)
    if found.damage:
        sys.exit(DIFFERS)


@main.group()
def index() -> None:
    """The rows that `kitchenlog query` asks."""


@index.command()
@json_option
@click.pass_obj
@clearly
def rebuild(state: State, *, as_json: bool) -> None:
    """Make the rows of every pack anew, and say how many were as they should be.

    \b
    Example: kitchenlog index rebuild
    """
    with report.progress("making rows", quiet=as_json) as tick:
        made = state.runtime.reindex(progress=tick)
    if as_json:
        emit(made._asdict())
    else:
        table.rebuilt(made)
    if made.damage:
        sys.exit(DIFFERS)


@main.command()
@click.argument("trace")
@click.option("--certificate", type=click.Path(path_type=Path), help="Write the certificate to this file, as JSON.")
@replay_options
@click.option("--isolated", is_flag=True, help="In a process of its own, without sockets and processes (Linux).")
@click.option("--pace", type=click.Choice(["fast", "recorded"]), default="fast", help="Of the chunks of recorded streams.")
@click.pass_obj
@clearly
def replay(
    state: State, trace: str, options: ReplayOptions, certificate: Path | None, pace: str, *, isolated: bool, as_json: bool
) -> None:
    """Replay TRACE with its providers stubbed. Nothing calls a provider that --live does not name.

    \b
    Example: kitchenlog replay 48f9c3 --swap retrieve=fixes:retrieve --live needed
    """
    done = state.runtime.replay(trace, isolated=isolated, pace=pace, **options.keywords(state))
    if certificate is not None:
        certificate_command.write(done.certificate, certificate)
    if as_json:
        emit(done.to_json())
    else:
        report.replay(done, options.again(state, done))
    if not done.certificate.ok:
        sys.exit(DIFFERS)


@main.command()
@click.argument("trace")
@replay_options
@click.pass_obj
@clearly
def plan(state: State, trace: str, options: ReplayOptions, *, as_json: bool) -> None:
    """What `kitchenlog replay` with the same options will do, before it does it.

    \b
    Example: kitchenlog plan 48f9c3 --swap retrieve=fixes:retrieve
    """
    made = state.runtime.plan(trace, **options.keywords(state))
    if as_json:
        emit(made.to_json())
    else:
        report.plan(made)


@main.command()
@click.option("--full", is_flag=True, help="Hash every value again.")
@click.option("--quarantine", is_flag=True, help="Mark damaged packs, so that no merge takes them.")
@json_option
@click.pass_obj
@clearly
def check(state: State, *, full: bool, quarantine: bool, as_json: bool) -> None:
    """Read every pack and every trace of the store and say what is damaged. Nothing is deleted.

    \b
    Example: kitchenlog check --full
    """
    with report.progress("checking", quiet=as_json) as tick:
        found = state.runtime.check(full=full, quarantine=quarantine, progress=tick)
    if as_json:
        emit(report.check_json(found))
    else:
        report.check(found, full=full)
    if not found.ok:
        sys.exit(DIFFERS)


main.add_command(verify)
main.add_command(audit)


@main.command()
@json_option
@click.pass_obj
@clearly
def seal(state: State, *, as_json: bool) -> None:
    """Make packs of the record files of processes that have ended. Nothing is lost: a pack is read back first.

    \b
    Example: kitchenlog seal
    """
    sealed, kept = state.runtime.seal()
    if as_json:
        emit({"sealed": [one._asdict() for one in sealed], "kept": [one._asdict() for one in kept]})
    else:
        report.sealed(sealed, kept)


@main.command()
@json_option
@click.pass_obj
@clearly
def merge(state: State, *, as_json: bool) -> None:
    """Merge the small packs of every hour that is over, and remove those that were replaced an hour ago or longer.

    \b
    Example: kitchenlog merge
    """
    with report.progress("merging", quiet=as_json) as tick:
        done = state.runtime.merge(progress=tick)
    if as_json:
        emit({name: [one._asdict() for one in found] for name, found in done._asdict().items()})
    else:
        report.merged(done)


@main.command()
@click.argument("old")
@click.argument("new")
@json_option
@click.pass_obj
@clearly
def diff(state: State, old: str, new: str, *, as_json: bool) -> None:
    """What differs between the traces OLD and NEW, span by span.

    \b
    Example: kitchenlog diff 48f9c3 51ab20
    """
    made = state.runtime.diff(old, new)
    if as_json:
        emit(made.to_json())
    else:
        report.diff(made)
    if made.spans:
        sys.exit(DIFFERS)


@main.command()
@click.argument("agent")
@click.option("--mermaid", is_flag=True, help="As a Mermaid flowchart.")
@json_option
@clearly
def graph(agent: str, *, mermaid: bool, as_json: bool) -> None:
    """The graph of AGENT (module:object).

    \b
    Example: kitchenlog graph bot:agent --mermaid
    """
    found = load_agent(agent)
    if as_json:
        emit(report.graph_json(found))
    else:
        click.echo(found.to_mermaid() if mermaid else found.to_text())


main.add_command(certificate_command.certificate)
main.add_command(regression_command.test)
