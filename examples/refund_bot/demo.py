"""Record four turns of the refund bot, replay them, and repair one: `python -m examples.refund_bot.demo`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import runtime
from examples.refund_bot import shop
from examples.refund_bot.bot import Claim, Reply, Turn

console = Console(highlight=False)


@click.command()
@click.option("--store", help="The folder of the recordings; by default the one of the working directory.")
def main(store: str | None) -> None:
    """Record four turns of the refund bot, replay them, and repair one."""
    started = time.perf_counter()
    runtime.configure(store=store)

    headline("1. Record", "four turns with a real model")
    runs = [record(number, turn) for number, turn in enumerate(shop.TURNS, 1)]

    headline("2. Replay", "every step runs again, no model is called")
    for run in runs:
        console.print(f"  [cyan]{run.trace_id[:8]}[/]  {runtime.replay(run.trace_id).certificate}")

    # A turn whose answer rests on a draft; on a machine where the model wrote none such, the first.
    suspect = next((run for run in runs if rests_on_a_draft(run.output)), runs[0])
    trace_id = suspect.trace_id
    headline("3. Look", f"what supports the answer of {trace_id[:8]}?")
    show_claims(suspect.output.cited)
    say("goodwill-1 is a draft that is not in force, yet retrieve hands it to the model.")

    headline("4. Swap", "a rewritten retrieve that finds the same")
    replay = runtime.replay(trace_id, swap={"retrieve": shop.rewritten})
    show_statuses((entry.address, entry.status) for entry in replay.certificate.entries)
    say("Its code differs and its value does not, so the change is cut off there: nothing below runs again.")

    headline("5. Swap", "the repair, a retrieve that drops drafts")
    replay = runtime.replay(trace_id, swap={"retrieve": shop.fixed})
    show_statuses((entry.address, entry.status) for entry in replay.certificate.entries)
    for blocked in replay.blocked:
        console.print(Padding(Text(str(blocked)), (1, 2)))
    say('The model never saw this prompt, and nothing is guessed. live="needed" makes just this call for real.')

    headline("6. Go live", "the same swap with that one call")
    replay = runtime.replay(trace_id, swap={"retrieve": shop.fixed}, live="needed")
    show_statuses((entry.address, entry.status) for entry in replay.certificate.entries)
    show_change(suspect.output, replay.output)
    show_claims(replay.output.cited)

    headline("Try next", f"this took {time.perf_counter() - started:.0f} s")
    command = f"{kitchenlog()} --store {store}" if store else kitchenlog()
    console.print(f"  {command} list", soft_wrap=True)
    console.print(f"  {command} show {trace_id[:8]}", soft_wrap=True)
    console.print(f"  {command} replay {trace_id[:8]} --live needed \\", soft_wrap=True)
    console.print("    --agent examples.refund_bot.shop:agent \\", soft_wrap=True)
    console.print("    --swap retrieve=examples.refund_bot.shop:fixed", soft_wrap=True)


def record(number: int, turn: Turn) -> runtime.Run[Reply]:
    """Run one turn and print it when it is done."""
    with console.status(f"turn {number} of {len(shop.TURNS)}"):
        started = time.perf_counter()
        run = runtime.run(shop.agent, turn, subject=turn.user_id, attributes={"shop": "outdoor"})
        took = time.perf_counter() - started
    console.print(f"  [cyan]{run.trace_id[:8]}[/]  turn {number} of {len(shop.TURNS)}, {took:.1f} s")
    exchange = Table.grid(padding=(0, 2))
    exchange.add_row("          ", "customer", Text(turn.message))
    exchange.add_row("", "bot", Text(run.output.answer.text))
    console.print(exchange)
    return run


def rests_on_a_draft(reply: Reply) -> bool:
    """Whether a policy that is not in force supports a sentence of the reply."""
    drafts = {passage.id for passage in shop.index.passages if passage.status == "draft"}
    return any(claim.source in drafts for claim in reply.cited)


def show_claims(claims: Iterable[Claim]) -> None:
    """Each sentence of an answer and what supports it."""
    table = Table("sentence", "supported by", box=None, padding=(0, 2), header_style="dim")
    for claim in claims:
        table.add_row(Text(claim.sentence), Text(claim.source or "nothing"))
    console.print(table)


def show_statuses(statuses: Iterable[tuple[str, str]]) -> None:
    """The status of each address."""
    colours = {"cut off": "green", "swapped": "cyan", "blocked": "red", "live": "magenta", "changed": "yellow"}
    table = Table.grid(padding=(0, 2))
    for address, status in statuses:
        table.add_row("", address, Text(status, style=colours.get(status, "dim")))
    console.print(table)


def show_change(before: Reply, after: Reply) -> None:
    """The answers before and after a repair."""
    table = Table.grid(padding=(0, 1))
    table.add_row("  [red]-[/]", Text(before.answer.text, style="red"))
    table.add_row("  [green]+[/]", Text(after.answer.text, style="green"))
    console.print(Padding(table, (1, 0)))


def headline(title: str, text: str) -> None:
    """Begin a part."""
    console.print(f"\n[bold]{title}[/]  {text}")


def say(text: str) -> None:
    """A remark."""
    console.print(Padding(Text(text, style="italic"), (0, 2)))


def kitchenlog() -> str:
    """The command as it can be typed here: it may be installed beside this Python and not on the path."""
    if shutil.which("kitchenlog"):
        return "kitchenlog"
    return os.path.relpath(Path(sys.executable).with_name("kitchenlog"))


if __name__ == "__main__":
    main()
