"""`make traffic`: sixty customer turns as an A/B test, scored by a declared rule, and the failing ones found by query."""

from __future__ import annotations

import hashlib
import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import runtime
from examples.refund_bot import bot, machine
from examples.refund_bot.bot import Reply
from examples.refund_bot.orders import meant
from examples.refund_bot.shipped import SHIPPED
from examples.refund_bot.suspects import is_the_failure
from steps import Turn
from steps.openai_compatible import OpenAIChat

TURNS: Final = Path(__file__).parent / "turns.json"
UNHAPPY: Final = "outcome.csat <= 2 and experiment.variant = 'B'"
"""How the failure is found: by what customers said, never by a turn known beforehand."""

console = Console(highlight=False)


class Said(msgspec.Struct, frozen=True):
    """A line of turns.json."""

    id: str
    customer: str
    message: str
    kind: str
    topic: str
    tuning: bool

    @property
    def turn(self) -> Turn:
        """As the bot is given it."""
        return Turn(self.message, self.customer, bot.TENANT)

    @property
    def variant(self) -> str:
        """A or B by the customer, so that nobody sees both."""
        return "AB"[hashlib.sha256(self.customer.encode()).digest()[0] % 2]


def read_turns(path: Path = TURNS) -> list[Said]:
    """The sixty turns."""
    return msgspec.json.decode(path.read_bytes(), type=list[Said])


def csat(reply: Reply) -> int:
    """How content a customer is, 1 to 5, by rule: a false claim is worse than no answer, and no answer worse than one."""
    if reply.cited.unsupported:
        return 2
    return 5 if reply.answer.sources else 3


def attributes_of(said: Said, variant: str) -> dict[str, Any]:
    """Of the trace. No name, no message: those are in the values, which redaction reaches."""
    return {
        "service.name": "refund-bot",
        "deployment.env": "demo",
        "http.route": "/v1/chat",
        "session.id": f"sess_{said.id}",
        "experiment.id": "exp_refund_template",
        "experiment.variant": variant,
        "app.prompt.version": "v17",
        "app.tenant.tier": "paid",
        "app.locale": "en-IN",
        "turn.kind": said.kind,
    }


def serve(
    kitchen: runtime.Runtime,
    agent: runtime.Agent[Turn, Reply],
    said: Said,
    variant: str,
    extra: dict[str, Any] | None = None,
) -> runtime.Run[Reply]:
    """Run a turn, and say how it came out."""
    run = kitchen.run(agent, said.turn, subject=said.customer, attributes=attributes_of(said, variant) | (extra or {}))
    kitchen.feedback(run.trace_id, csat=csat(run.output), policy_correct=not run.output.cited.unsupported)
    return run


def serve_all(
    kitchen: runtime.Runtime, agents: dict[str, runtime.Agent[Turn, Reply]], turns: Iterable[tuple[Said, str]]
) -> list[tuple[Said, str, runtime.Run[Reply]]]:
    """Run turns one after another under a progress bar."""
    todo, done = list(turns), []
    columns = SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("turns", total=len(todo))
        for said, variant in todo:
            run = serve(kitchen, agents[variant], said, variant)
            done.append((said, variant, run))
            progress.advance(task)
    return done


def summary(done: Iterable[tuple[Said, str, runtime.Run[Reply]]]) -> Table:
    """One line a variant."""
    lines = list(done)
    table = Table(
        "variant",
        "turns",
        "CSAT",
        "flagged",
        "judge passes",
        "answers with support",
        box=None,
        header_style="dim",
        padding=(0, 2),
    )
    for variant in sorted({one for _, one, _ in lines}):
        replies = [run.output for _, one, run in lines if one == variant]
        table.add_row(
            variant, str(len(replies)), f"{statistics.mean(map(csat, replies)):.2f}",
            str(sum(bool(reply.cited.unsupported) for reply in replies)), str(sum(reply.verdict.score for reply in replies)),
            str(sum(csat(reply) == 5 for reply in replies)),
        )  # fmt: skip
    return table


def came_otherwise_late(said: Said, days: int) -> bool:
    """Whether the turn's order came late by another number of days: then the window in the answer is no echo of the lateness."""
    order = meant(said.message, bot.orders.by_customer.get(said.customer, ()))
    return order is not None and order.days_late != days


def ship(said: Said, folder: Path = SHIPPED) -> str:
    """Record a turn again into a store of its own, to be shipped: its trace id."""
    shutil.rmtree(folder, ignore_errors=True)
    with runtime.Runtime(folder, durable="committed") as kitchen:
        trace = serve(kitchen, bot.agent, said, "B", machine.facts(bot.llm)).trace_id
    (folder / ".gitignore").unlink()  # this one is to be committed
    return trace


@click.command()
@click.option("--store", help="The folder of the recordings; by default the one of the working directory.")
@click.option("--base-url", help="An OpenAI-compatible server to use in place of the local model.")
@click.option("--model", default="default", help="Its model.")
@click.option("--grammar/--no-grammar", default=False, help="Whether that server takes GBNF grammars, as llama.cpp does.")
@click.option(
    "--ship/--no-ship", "shipping", default=False, help="Record one failing turn anew as the one that ships with the example."
)
def main(store: str | None, base_url: str | None, model: str, *, grammar: bool, shipping: bool) -> None:
    """Run sixty customer turns as an A/B test and find the ones that went wrong."""
    agents = bot.variants
    if base_url is not None:
        llm = OpenAIChat(model, base_url=base_url, grammar=grammar)
        agents = bot.variants_with(llm)
    with runtime.configure(store=store) as kitchen:
        done = serve_all(kitchen, agents, ((said, said.variant) for said in read_turns()))
        console.print(summary(done))
        failing = {line.trace_id for line in kitchen.list(where=UNHAPPY, limit=None)}
        wrong = [(said, run) for said, _, run in done if run.trace_id in failing and is_the_failure(run.recording)]
        report(done, wrong)
        if shipping:
            chosen = [said for said, _ in wrong if not said.tuning and came_otherwise_late(said, 14)]
            if not chosen:
                raise click.ClickException("no turn went wrong as the story tells it on this machine: nothing was shipped")
            console.print(f"shipped turn {chosen[0].id} as trace {ship(chosen[0])}")


def report(done: list[tuple[Said, str, runtime.Run[Reply]]], wrong: list[tuple[Said, runtime.Run[Reply]]]) -> None:
    """The turns that went wrong as the story tells it, and how often that was."""
    late = [said for said, variant, _ in done if said.kind == "late_refund" and variant == "B"]
    console.print(
        f"\n{len(wrong)} turns: the draft on top, a false window in the answer, flagged by cite, passed by the judge; "
        f"{len(late)} late refunds were served by B"
    )
    if not wrong:
        console.print("The failure of the story does not occur on this machine; the shipped recording still shows it.")
    table = Table.grid(padding=(0, 2))
    for said, run in wrong:
        table.add_row(Text(run.trace_id[:8], style="cyan"), Text(said.message, overflow="ellipsis", no_wrap=True))
    console.print(table)


if __name__ == "__main__":
    main()
