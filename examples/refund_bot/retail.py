"""The same seven steps over the retail data of tau-bench: 115 customers' messages, 1,000 orders, one policy.

The data is not part of this repository. Its folder is looked for beside the checkout, or named with `--data`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import attrs
import click
import msgspec

import runtime
from examples.refund_bot.bot import Reply, build
from examples.refund_bot.orders import Order, Orders, meant
from steps import Chat, Draft, Hit, Part, Turn
from steps.citations import SentenceChecker
from steps.hybrid import Document, HybridIndex
from steps.minilm import MiniLM
from steps.prompt import documents
from steps.smollm import SmolLM2

DATA: Final = Path(__file__).parents[3] / "shared" / "data" / "tau_retail"
SYSTEM: Final = "You answer customers of a shop from its policy, in one sentence."
MAX_TOKENS: Final = 24
"""Free text, and little of it: a core reads some 150 tokens of prompt a second."""


class DataMissing(FileNotFoundError):
    """Raised when the folder of the data is not there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no retail data in {folder}; name its folder with --data. It holds tasks_test.json, users.json, "
            "orders.json and policy.md of tau-bench's retail domain."
        )


@attrs.frozen
class FreeReply:
    """Have the model answer in its own words, from the policy and the customer's order.

    Args:
        orders: the order service.
    """

    orders: Orders

    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Draft:
        """The parts of the prompt."""
        order = meant(turn.message, await self.orders.of_customer(turn.customer))
        parts = (
            Part("system", SYSTEM),
            documents(hits, best_last=True),
            Part("tool", "No order is known." if order is None else order.told()),
            Part("user", f"Customer: {turn.message}"),
        )
        return Draft(parts, max_tokens=MAX_TOKENS, sources=tuple(hit.id for hit in hits))


def load_turns(folder: Path = DATA) -> list[Turn]:
    """The message of every test task.

    Raises:
        DataMissing: the data is not in the folder.
    """
    tasks = msgspec.json.decode(_bytes(folder, "tasks_test.json"), type=list[dict[str, Any]])
    return [Turn(task["instruction"], task["user_id"]) for task in tasks]


def load_orders(folder: Path = DATA) -> Orders:
    """The order service: every order of every user.

    Raises:
        DataMissing: the data is not in the folder.
    """
    users = msgspec.json.decode(_bytes(folder, "users.json"), type=dict[str, dict[str, Any]])
    records = msgspec.json.decode(_bytes(folder, "orders.json"), type=dict[str, dict[str, Any]])
    return Orders("tau retail", {name: tuple(_order(records[one]) for one in user["orders"]) for name, user in users.items()})


def _order(record: dict[str, Any]) -> Order:
    paid = sum(each["amount"] for each in record["payment_history"] if each["transaction_type"] == "payment")
    items = ", ".join(item["name"] for item in record["items"])
    return Order(record["order_id"].lstrip("#"), items, round(paid, 2), "dollars")


def load_policy(folder: Path = DATA) -> tuple[Document, ...]:
    """The policy's paragraphs and list items, each under the headings that lead to it.

    Raises:
        DataMissing: the data is not in the folder.
    """
    headings: list[str] = []
    found: list[Document] = []
    for block in re.split(r"\n\s*\n|\n(?=- )", _bytes(folder, "policy.md").decode()):
        text = " ".join(block.split())
        if text.startswith("#"):
            marks, _, heading = text.partition(" ")
            headings[len(marks) - 1 :] = [heading]
        elif text:
            found.append(Document(f"policy-{len(found) + 1}", " / ".join(headings), text.removeprefix("- "), "1", "current"))
    return tuple(found)


def load_agent(llm: Chat, folder: Path = DATA) -> runtime.Agent[Turn, Reply]:
    """The bot over the data's policy and orders.

    Args:
        llm: the model.
        folder: of the data.

    Raises:
        DataMissing: the data is not in the folder.
    """
    policy, embedder = load_policy(folder), MiniLM()
    index, checker = HybridIndex(policy, embedder, "retail policy"), SentenceChecker(policy, embedder)
    return build(index, checker, FreeReply(load_orders(folder)), llm=llm, embedder=embedder, tenant="retail")


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise DataMissing(folder) from error


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="The folder of the data.")
@click.option("--turns", default=5, show_default=True, type=click.IntRange(1), help="How many messages.")
def main(data: Path, turns: int) -> None:
    """Record customers' messages and verify each recording."""
    try:
        agent, messages = load_agent(SmolLM2(), data), load_turns(data)[:turns]
    except DataMissing as error:
        raise click.ClickException(str(error)) from error
    for number, turn in enumerate(messages, 1):
        run = runtime.run(agent, turn, subject=turn.customer)
        certificate = runtime.replay(run.trace_id).certificate
        click.echo(f"{number}/{len(messages)}  {run.trace_id[:8]}  {certificate}  {run.output.answer.text}")


if __name__ == "__main__":
    main()
