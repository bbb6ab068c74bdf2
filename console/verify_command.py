"""`kitchenlog verify`: replay many recorded runs and say of each what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from console import report
from console.replay_options import split_pair
from console.session import DIFFERS, State, agent_option, clearly, emit, json_option, load, register
from replay.verified import GROUPINGS, Verified

_COLOURS: Final = {"same": "green", "fixed": "green", "changed": "yellow", "blocked": "red", "unreplayable": "red"}
_SHOWN: Final = 20
_WHOLE: Final = 100.0


@click.command()
@click.option("--where", help="Which traces, for instance: outcome.csat <= 2 and variant = 'B'")
@click.option("--swap", multiple=True, metavar="ADDRESS=MODULE:OBJECT", help="Run this step instead; may be repeated.")
@click.option("--live", multiple=True, metavar="ADDRESS", help='May call providers: an address, or "needed".')
@click.option("--budget", type=float, help="The most that live calls may cost over all traces, in US dollars.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the newest.")
@click.option("--workers", type=click.IntRange(0), help="Processes; 0 for this one alone. By default one a core where worth it.")
@click.option("--certificates", type=click.Path(path_type=Path), help="Write every certificate to this file, a line each.")
@agent_option
@json_option
@click.pass_obj
@clearly
def verify(
    state: State, *, where: str | None, swap: tuple[str, ...], live: tuple[str, ...], budget: float | None, limit: int | None,
    workers: int | None, certificates: Path | None, agent: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Replay every recorded run that --where selects. No new trace is recorded.

    Exit code 0 where each is the same, 1 where one is not or none was selected, 2 where it could not be done.

    \b
    Example: kitchenlog verify --where "variant = 'B'" --swap retrieve=fixes:retrieve
    """
    chosen = register(state, agent)
    swaps = {address: load(name) for address, name in (split_pair(one, "--swap") for one in swap)}
    with report.progress("verifying", quiet=as_json) as tick:
        found = state.runtime.verify(
            where, swaps or None, list(live) or None, budget, limit, workers, chosen, progress=tick
        )  # fmt: skip
    if certificates is not None:
        found.write(certificates)
    if as_json:
        emit(found.to_json())
    else:
        show(found)
    if not found.ok:
        sys.exit(DIFFERS)


def show(found: Verified) -> None:
    """What a verification found, for people."""
    out = Console(highlight=False)
    others = [row for row in found if row.verdict != "same"]
    for row in others[:_SHOWN]:
        told = str(row).removeprefix(f"{row.trace_id}  {row.verdict}")
        line = Text(f"{row.trace_id}  ").append(row.verdict, style=_COLOURS[row.verdict]).append(told)
        out.print(line, soft_wrap=True)
    if len(others) > _SHOWN:
        out.print(f"and {len(others) - _SHOWN:,} more: --json, or --certificates FILE", style="dim")
    for text in found.unread:
        out.print(f"unread: {text}", style="red", markup=False, soft_wrap=True)
    for text in found.notes:
        out.print(text, style="yellow", markup=False, soft_wrap=True)
    lacking(out, found)
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in found.counts.items()) or "nothing was verified"
    spent = f", ${found.spent_usd:.4f} spent" if found.spent_usd else ""
    who = f"{found.workers} processes" if found.workers else "1 process"
    out.print(
        f"{told}{spent}; {len(found):,} traces in {found.seconds:.1f} s by {who}", style="green" if found.ok else "red"
    )  # fmt: skip


def lacking(out: Console, found: Verified) -> None:
    """Which groups cannot be replayed whole."""
    table = Table(box=None, pad_edge=False, show_header=False)
    shares: list[tuple[str, Any]] = [
        (by, share) for by in GROUPINGS for share in found.replayable(by) if share.percent < _WHOLE
    ]  # fmt: skip
    for by, share in shares:
        table.add_row(by, escape(share.group), f"{share.percent:.1f} % replayable", f"{share.replayable:,} of {share.total:,}")
    if shares:
        out.print(table)
