"""The same bot over the retail data of tau-bench: 115 customers' messages, 1,000 orders, one policy.

The data is not part of this repository. Its folder is looked for beside the checkout, or named with `--data`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec

import runtime
from examples.refund_bot.bot import Prompt, Reply, Turn, build_agent
from examples.refund_bot.model import SmolLM2
from examples.refund_bot.orders import Orders, Record
from examples.refund_bot.policies import Passages, split

DATA: Final = Path(__file__).parents[3] / "shared" / "data" / "tau_retail"

# Free text, and little of it: a core reads some 130 tokens of prompt a second.
PROMPT: Final = Prompt(system="You answer customers of a shop from its policy, in one sentence.", max_tokens=24)


class DataMissing(FileNotFoundError):
    """Raised when the folder of the data is not there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no retail data in {folder}; name its folder with --data. It holds tasks_test.json, users.json, "
            "orders.json and policy.md of tau-bench's retail domain."
        )


def load_turns(folder: Path = DATA) -> list[Turn]:
    """The message of every test task.

    Raises:
        DataMissing: the data is not in the folder.
    """
    tasks = msgspec.json.decode(_bytes(folder, "tasks_test.json"), type=list[dict[str, Any]])
    return [Turn(task["user_id"], task["instruction"]) for task in tasks]


def load_orders(folder: Path = DATA) -> Orders:
    """The order service: every order of every user, whole.

    Raises:
        DataMissing: the data is not in the folder.
    """
    users = msgspec.json.decode(_bytes(folder, "users.json"), type=dict[str, dict[str, Any]])
    records = msgspec.json.decode(_bytes(folder, "orders.json"), type=dict[str, Record])
    return Orders(
        "tau retail",
        {user_id: [records[order_id] for order_id in user["orders"]] for user_id, user in users.items()},
    )


def load_agent(llm: SmolLM2, folder: Path = DATA) -> runtime.Agent[Turn, Reply]:
    """The bot over the data's policy and orders.

    Args:
        llm: the model.
        folder: of the data.

    Raises:
        DataMissing: the data is not in the folder.
    """
    index = Passages(split("policy", _bytes(folder, "policy.md").decode()))
    return build_agent(index, load_orders(folder), llm, prompt=PROMPT, k=2)


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
        run = runtime.run(agent, turn, subject=turn.user_id)
        certificate = runtime.replay(run.trace_id).certificate
        click.echo(f"{number}/{len(messages)}  {run.trace_id[:8]}  {certificate}  {run.output.answer.text}")


if __name__ == "__main__":
    main()
