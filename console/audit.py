"""`kitchenlog audit`: what a recording is worth.

`--purity TRACE` runs its steps again under another clock, other random numbers and other hash seeds. `--random-failing N` is the
replay-ability test: take failing runs at random and try to reconstruct each from its recording alone. Whatever a recording
lacks is an investigation that could not be finished.
"""

from __future__ import annotations

import random
import sys
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from console import report
from console.session import DIFFERS, State, agent_option, clearly, emit, fail, json_option, register
from replay.certificate import NOT_OK
from replay.verified import Row

FAILING: Final = "not status = 'ok' or outcome.csat <= 2"
_AGAIN: Final = frozenset({"reproduced", "changed", "cut off", "moved", "added"})
"""Statuses of steps whose code ran on what was recorded."""


@click.command()
@click.option("--purity", "pure", metavar="TRACE", help="What the clock, chance and the hash seed have a part in.")
@click.option("--random-failing", "count", type=click.IntRange(1), metavar="N", help="Take N failing runs, and replay each.")
@click.option("--failing", default=FAILING, show_default=True, help="Which runs are failing, as in --where.")
@click.option("--seed", type=int, help="Take the same ones again.")
@agent_option
@json_option
@click.pass_obj
@clearly
def audit(
    state: State, *, pure: str | None, count: int | None, failing: str, seed: int | None, agent: str | None, as_json: bool
) -> None:
    """What recordings are worth: whether steps depend on more than what is recorded, or whether failing runs can be replayed.

    Exit code 0 where nothing leaks in, or each run can be reconstructed whole; else 1, and where no run is failing 2.

    \b
    Example: kitchenlog audit --purity 48f9c3 --agent bot:agent
    Example: kitchenlog audit --random-failing 5 --failing "outcome.csat <= 2"
    """
    if (pure is None) == (count is None):
        fail("audit takes --purity TRACE or --random-failing N")
    if pure is not None:
        found = state.runtime.audit(pure, agent=register(state, agent))
        if as_json:
            emit(found.to_json())
        else:
            click.echo(str(found))
        if not found.ok:
            sys.exit(DIFFERS)
    if count is not None:
        _replay_ability(state, count, failing=failing, seed=seed, agent=agent, as_json=as_json)


def _replay_ability(state: State, count: int, *, failing: str, seed: int | None, agent: str | None, as_json: bool) -> None:
    chosen = register(state, agent)
    lines = state.runtime.list(f"kind = 'run' and ({failing}) or status = 'damaged'", None)
    ids = sorted(line.trace_id for line in lines)
    if not ids:
        fail(f"no run in {state.runtime.place} is failing: {failing}")
    picked = random.Random(seed).sample(ids, min(count, len(ids)))
    with report.progress("replaying", quiet=as_json) as tick:
        found = state.runtime.verify(agent=chosen, traces=picked, workers=0, progress=tick)
    told = [_told(row) for row in found]
    if as_json:
        emit({"failing": len(ids), "taken": len(told), "replayable": sum(one["replayable"] for one in told), "traces": told})
    else:
        _show(told, len(ids))
    if not all(one["replayable"] for one in told):
        sys.exit(DIFFERS)


def _told(row: Row) -> dict[str, Any]:
    """What of a run can be reconstructed, and what cannot."""
    steps = [entry for entry in row.entries if entry.kind == "step"]
    gaps = [
        {"address": entry.address, "status": entry.status, "reason": entry.reason}
        for entry in row.entries
        if entry.status in NOT_OK
    ]
    if not gaps and row.verdict in {"unreplayable", "blocked"}:
        gaps = [{"address": row.address, "status": row.verdict, "reason": row.reason}]
    return {
        "trace_id": row.trace_id,
        "agent": row.agent,
        "recorded": row.recorded,
        "verdict": row.verdict,
        "replayable": not gaps,
        "steps": len(steps),
        "steps_replayed": sum(entry.status in _AGAIN for entry in steps),
        "gaps": gaps,
    }


def _show(told: list[dict[str, Any]], failing: int) -> None:
    out = Console(highlight=False)
    for one in told:
        line = Text(f"{one['trace_id']}  ").append(
            "replayable" if one["replayable"] else "not replayable", style="green" if one["replayable"] else "red"
        )
        line.append(f"  {one['agent']}, recorded {one['recorded']}: {one['steps_replayed']} of {one['steps']} steps ran again")
        if one["verdict"] in {"changed", "fixed"} and one["replayable"]:
            line.append(f"; it comes out {one['verdict']}")
        out.print(line, soft_wrap=True)
        for gap in one["gaps"]:
            where = f"{gap['address']}  " if gap["address"] else ""
            out.print(f"    {where}{gap['status']}: {gap['reason']}", markup=False, soft_wrap=True)
    good = sum(one["replayable"] for one in told)
    out.print(
        f"{good} of {len(told)} taken at random from {failing:,} failing runs can be replayed from their recordings alone",
        style="green" if good == len(told) else "red",
    )
