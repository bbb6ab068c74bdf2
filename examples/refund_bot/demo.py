"""One turn that went wrong, from the recording to the repair, and eight fresh ones: `python -m examples.refund_bot.demo`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import runtime
from examples.refund_bot import bot, shipped, traffic
from examples.refund_bot.suspects import is_mended, is_the_failure, suspects

FRESH = 8
AGENT = "examples.refund_bot.bot:agent"
SWAP = "retrieve/rerank=examples.refund_bot.bot:fixed"
COLOURS = {
    "reproduced": "green", "cut off": "green", "swapped": "cyan", "changed": "yellow", "live": "magenta", "blocked": "red",
    "dropped": "yellow",
}  # fmt: skip

console = Console(highlight=False)


@click.command()
@click.option("--store", default=".kitchenlog", show_default=True, help="The folder of the recordings.")
def main(store: str) -> None:
    """Take a refund bot's wrong answer apart, mend it, and record eight fresh turns."""
    started = time.perf_counter()
    folder = Path(store)
    with runtime.Runtime(folder) as kitchen:
        kitchen.register(bot.agent)
        copy = folder / "shipped"
        with shipped.copy_of(copy) as shop:
            shop.register(bot.agent)
            trace = take_apart(shop)
        fresh(kitchen)
        headline("Try next", f"this took {time.perf_counter() - started:.0f} s")
        command = f"{kitchenlog()} --store {os.path.relpath(copy)}"
        console.print(f"  {command} show {trace[:8]}", soft_wrap=True)
        console.print(f"  {command} replay {trace[:8]} --agent {AGENT} --swap {SWAP}", soft_wrap=True)
        console.print(f'  {kitchenlog()} --store {store} list --where "outcome.csat <= 2"', soft_wrap=True)


def take_apart(shop: runtime.Runtime) -> str:
    """The shipped turn, from what happened to a mended answer: its trace id."""
    trace = shipped.trace_of(shop)
    recording = shop.open(trace)

    headline("1. What happened", f"trace {trace[:8]}, the recording that ships with this example")
    told = recording.input_value["message"], recording.spans["generate"].result.value["text"]
    exchange(*told, csat=recording.attributes.get("outcome.csat"))
    console.print(Padding(tree(recording), (1, 2)))

    headline("2. Which steps to suspect", "what each span told of itself")
    table = Table("span", "signal", "evidence", box=None, header_style="dim", padding=(0, 2))
    for one in suspects(recording):
        table.add_row(one.address, one.signal, Text(one.evidence))
    console.print(table)

    headline("3. Replay", "every step runs again, every provider is answered from the recording")
    certificate = shop.replay(trace).certificate
    console.print(Padding(Text(str(certificate), style="green" if certificate.ok else "red"), (0, 2)))

    headline("4. Swap the rerank", "for one that drops what is not in force")
    say("Only what the swap touches runs: the search is still answered from the recording, nothing else is guessed.")
    blocked = shop.replay(trace, swap={"retrieve/rerank": bot.fixed})
    statuses(blocked)
    for first in blocked.blocked[:1]:
        console.print(Padding(Text(str(first), overflow="ellipsis", no_wrap=True), (1, 2, 0, 2)))
    say('The models never saw these requests. live="needed" makes just those calls for real.')

    headline("5. Go live with what is needed", "the same swap on the local model")
    mended = shop.replay(trace, swap={"retrieve/rerank": bot.fixed}, live="needed")
    statuses(mended)
    compare(shop, recording, mended)
    return trace


def fresh(kitchen: runtime.Runtime) -> None:
    """Eight turns of today on this machine."""
    headline(f"6. {FRESH} fresh turns", "recorded here and now, and the wrong ones found by query")
    turns = traffic.read_turns()
    late = [said for said in turns if said.kind == "late_refund" and not said.tuning]
    others = [said for said in turns if said.kind != "late_refund"]
    chosen = [(said, "B") for said in (*late[: FRESH // 2], *others[: FRESH // 2])]
    done = traffic.serve_all(kitchen, bot.variants, chosen)
    table = Table("trace", "CSAT", "said", "answered", box=None, header_style="dim", padding=(0, 1))
    table.columns[2].ratio, table.columns[3].ratio = 2, 3
    for said, _, run in done:
        score = traffic.csat(run.output)
        answer = run.output.answer.text
        table.add_row(
            Text(run.trace_id[:8], style="cyan"), Text(str(score), style="red" if score <= 2 else ""),
            Text(said.message, overflow="ellipsis", no_wrap=True), Text(answer, overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    console.print(table)
    wrong = [run for _, _, run in done if is_the_failure(run.recording)]
    if wrong:
        say(f"{len(wrong)} of them went wrong as above.")
    else:
        say("None of them went wrong as above: greedy text of a small model differs between processors.")


def tree(recording: runtime.Recording) -> Tree:
    """The spans with their times, tokens and what is worth knowing."""
    root = Tree(Text.assemble((recording.agent, "bold"), f"  {recording.duration_ms or 0:,.0f} ms"), guide_style="dim")
    branches: dict[str, Tree] = {"": root}
    for address, span in recording.spans.items():
        if span.kind == "derive":
            continue
        parent, _, name = address.rpartition("/")
        line = Text.assemble((f"{name:<9}", "bold"), f" {span.duration_ms:>7,.0f} ms  ", (detail(span.attributes), "dim"))
        branches[address] = branches[parent].add(line)
    return root


def detail(attributes: dict[str, Any]) -> str:
    """What a span tells, in a few words."""
    parts: list[str] = []
    if "gen_ai.usage.input_tokens" in attributes:
        tokens = f"{attributes['gen_ai.usage.input_tokens']} in"
        written = attributes.get("gen_ai.usage.output_tokens")
        parts.append(f"{tokens} / {written} out" if written else tokens)
    if "retrieval.doc_ids" in attributes:
        parts.append(", ".join(attributes["retrieval.doc_ids"]))
    if "rerank.top1_id" in attributes:
        parts.append(f"top {attributes['rerank.top1_id']}")
    if "citation.claims_extracted" in attributes:
        parts.append(f"{attributes['citation.claims_supported']} of {attributes['citation.claims_extracted']} claims supported")
    if "judge.label" in attributes:
        parts.append(attributes["judge.label"])
    return ", ".join(parts)


def compare(shop: runtime.Runtime, before: runtime.Recording, mended: Any) -> None:
    """What the repair changed, and what it left alone."""
    if mended.blocked:
        say("Still blocked: the local model could not be asked here.")
        return
    after = shop.open(mended.trace_id)
    table = Table.grid(padding=(0, 2))
    rows = [
        ("document", top_of(before), top_of(after)),
        ("prompt", documents_of(before), documents_of(after)),
        ("answer", text_of(before), text_of(after)),
        ("cite", flagged(before), flagged(after)),
    ]
    for name, was, now in rows:
        if was == now:
            continue
        table.add_row(f"  {name}", Text.assemble(("- ", "red"), was))
        table.add_row("", Text.assemble(("+ ", "green"), now))
    console.print(Padding(table, (1, 0)))
    untouched = [entry.address for entry in mended.certificate if entry.status in {"reused", "cut off"} and entry.kind == "step"]
    say(f"Untouched: {', '.join(untouched)}. " + ("The answer is mended." if is_mended(after) else "Not mended on this machine."))


def top_of(recording: runtime.Recording) -> str:
    """The best document."""
    return str(recording.spans["retrieve"].result.value[0]["id"])


def documents_of(recording: runtime.Recording) -> str:
    """The documents in the prompt, nearest to the question last."""
    return ", ".join(hit["id"] for hit in reversed(recording.spans["retrieve"].result.value))


def text_of(recording: runtime.Recording) -> str:
    """The answer."""
    return str(recording.spans["generate"].result.value["text"])


def flagged(recording: runtime.Recording) -> str:
    """The claims without support."""
    found = recording.spans["cite"].attributes["citation.unsupported"]
    return f"unsupported: {'; '.join(found)}" if found else "clean"


def statuses(replay: Any) -> None:
    """The status of each step, and of what was called for real."""
    table = Table.grid(padding=(0, 2))
    for entry in replay.certificate:
        if entry.kind == "step" or entry.status in {"live", "blocked"}:
            table.add_row("", entry.address, Text(entry.status, style=COLOURS.get(entry.status, "dim")))
    console.print(table)


def exchange(message: str, answer: str, csat: object) -> None:
    """What the customer and the bot said."""
    table = Table.grid(padding=(0, 2))
    table.add_row("  customer", Text(message))
    table.add_row("  bot", Text(answer))
    table.add_row("  CSAT", Text(f"{csat} of 5", style="red"))
    console.print(table)


def headline(title: str, text: str) -> None:
    """Begin a part."""
    console.print(f"\n[bold]{title}[/]  [dim]{text}[/]")


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
