"""The bot of a small made-up shop for outdoor clothes: its policies, its orders and its prompt.

The fault to find: `policies/` holds a draft that is not in force, and `Retrieve` hands it to the model like
any policy that is.
"""

from __future__ import annotations

from typing import Final

from examples.refund_bot.bot import Prompt, Retrieve, Turn, build_agent
from examples.refund_bot.model import SmolLM2
from examples.refund_bot.orders import ORDERS, Orders
from examples.refund_bot.policies import POLICIES, Hit, Passages

K: Final = 3

# The opening states what the order service knows; the grammar leaves the model two gaps, days and policy.
PROMPT: Final = Prompt(
    system="You are the refund assistant of a shop. Answer from the policies below.",
    opening="You are eligible for a refund of {total} dollars on order {order_id}. Our refund window is",
    grammar=(
        'root ::= " " days " days from delivery. This is processed under the " policy "."\n'
        "days ::= [1-9] [0-9]?\n"
        'policy ::= "refund policy" | "late order policy" | "exchange policy" | "goodwill clause"'
    ),
)

index: Final = Passages.read(POLICIES.glob("*.md"))
orders: Final = Orders.read("outdoor shop", ORDERS)
llm: Final = SmolLM2()

agent: Final = build_agent(index, orders, llm, prompt=PROMPT, k=K)

# The repair, to swap in for `retrieve`.
fixed: Final = Retrieve(index, k=K, current_only=True)


async def rewritten(turn: Turn) -> list[Hit]:
    """`retrieve` written anew by someone who believes that it finds the same."""
    hits = await index.search(turn.message, K)
    return sorted(hits, key=lambda hit: hit.score, reverse=True)


TURNS: Final = (
    Turn("mara_lind", "My boots came nine days late and I do not need them any more. Can I get a refund?"),
    Turn("jonas_beck", "The rain jacket arrived late, after my trip. I would like a refund for the late order."),
    Turn("ines_moreau", "These running shoes do not fit me. I would like a refund for my order, please."),
    Turn(
        "theo_novak",
        "My tent came twelve days late, so I bought another one. Will you refund the late order?",
    ),
)
