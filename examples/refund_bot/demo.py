"""Record four turns of the refund bot, replay them, and repair one: `python -m examples.refund_bot.demo`."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import runtime
from examples.refund_bot import shop
from examples.refund_bot.bot import Reply, Turn

console = Console(highlight=False)


@click.command()
@click.option("--store", help="The folder of the recordings; by default the one of the working directory.")
def main(store: str | None) -> None:
    """Record four turns of the refund bot, replay them, and repair one."""
    started = time.perf_counter()
    runtime.configure(store=store)

    headline("1. Record", "four turns, a real model, every call written down")
    recorded = [record(number, turn) for number, turn in enumerate(shop.TURNS, 1)]

    headline("2. Replay", "every step runs again; the model and the index answer from the recording")
    for trace_id in recorded:
        replay = runtime.replay(trace_id)
        console.print(f"  {trace_id[:8]}  {replay.certificate}")

    first = recorded[0]
    headline("3. Look", f"why did {first[:8]} say what it said?")
    show_claims(runtime.replay(first).output)
    say(
        "The 14 days stand in a draft that is not in force: retrieve hands drafts to the model. Before the "
        "repair, something harmless: retrieve written anew."
    )

    headline("4. Swap", "a retrieve that finds the same: all below it is cut off, nothing is called")
    replay = runtime.replay(first, swap={"retrieve": shop.rewritten})
    show_certificate(replay)

    headline("5. Swap", "a retrieve that drops drafts: the prompt changes, and no recorded answer fits it")
    replay = runtime.replay(first, swap={"retrieve": shop.fixed})
    show_certificate(replay)
    for blocked in replay.blocked:
        console.print(Text(str(blocked)))
    say('Nothing was guessed. The one call that is missing goes to the model if you say so: live="needed".')

    headline("6. Go live", "the same swap, the missing call made for real")
    replay = runtime.replay(first, swap={"retrieve": shop.fixed}, live="needed")
    show_certificate(replay)
    before, after = runtime.replay(first).output, replay.output
    console.print(f"  [red]- {escape(before.answer.text)}[/]")
    console.print(f"  [green]+ {escape(after.answer.text)}[/]")
    show_claims(after)

    headline("Try next", f"{time.perf_counter() - started:.0f} s so far")
    command = f"kitchenlog --store {store}" if store else "kitchenlog"
    names = "--agent examples.refund_bot.shop:agent --swap retrieve=examples.refund_bot.shop:fixed"
    for line in (
        f"{command} list",
        f"{command} show {first[:8]}",
        f"{command} replay {first[:8]} --live needed \\\n    {names}",
    ):
        console.print(f"  [bold]{escape(line)}[/]", soft_wrap=True)


def record(number: int, turn: Turn) -> str:
    """Run one turn and print it as it is done; its trace id."""
    with console.status(f"turn {number} of {len(shop.TURNS)}"):
        started = time.perf_counter()
        run = runtime.run(shop.agent, turn, subject=turn.user_id, attributes={"shop": "outdoor"})
        took = time.perf_counter() - started
    console.print(f"  [cyan]{run.trace_id[:8]}[/]  {number}/{len(shop.TURNS)}  {took:.1f} s")
    exchange = Table.grid(padding=(0, 1))
    exchange.add_row("           customer", Text(turn.message))
    exchange.add_row("           bot", Text(run.output.answer.text))
    console.print(exchange)
    return run.trace_id


def show_claims(reply: Reply) -> None:
    """Each sentence of an answer and what supports it."""
    table = Table("sentence", "supported by", box=None, padding=(0, 2))
    for claim in reply.cited:
        table.add_row(
            Text(claim.sentence), Text(claim.source or "nothing", style="" if claim.source else "red")
        )
    console.print(table)


def show_certificate(replay: runtime.Replay) -> None:
    """The status of every address."""
    table = Table.grid(padding=(0, 2))
    for entry in replay.certificate.entries:
        table.add_row("", entry.address, entry.status)
    console.print(table)


def headline(title: str, text: str) -> None:
    """Begin a part."""
    console.print()
    console.print(f"[bold]{title}[/]  {text}")


def say(text: str) -> None:
    """A remark."""
    console.print(f"[dim]{escape(text)}[/]")


if __name__ == "__main__":
    main()
