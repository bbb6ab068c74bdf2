"""The refund bot: four steps and the graph that joins them.

`retrieve` finds policy passages and `look_up` the customer's orders, side by side. `generate` has the model
answer from both, and `cite` says for each sentence of the answer what supports it.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import msgspec

import runtime
from examples.refund_bot.model import SmolLM2
from examples.refund_bot.orders import Order, Orders, meant
from examples.refund_bot.policies import Hit, Passages

_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_WORD: Final = re.compile(r"[a-z]{4,}")


class Turn(msgspec.Struct, frozen=True):
    """A customer's message."""

    user_id: str
    message: str


class Answer(msgspec.Struct, frozen=True):
    """What the model wrote, and from what."""

    text: str
    prompt: dict[str, str]
    """The named parts the prompt was composed of."""
    input_tokens: int
    output_tokens: int


class Claim(msgspec.Struct, frozen=True):
    """A sentence of the answer and what supports it."""

    sentence: str
    source: str | None
    """The id of a passage or of an order; None where nothing supports the sentence."""


class Reply(msgspec.Struct, frozen=True):
    """What the customer is sent."""

    answer: Answer
    cited: tuple[Claim, ...]


@attrs.frozen
class Prompt:
    """How the prompt is composed.

    Args:
        system: who the model is.
        opening: the first words of every answer; {total} and {order_id} are the order's.
        grammar: what the model may write after them, in GBNF.
        max_tokens: the most it may write.
        best_last: whether the best passage stands last, nearest to the question. A small model believes what
            it read last.
    """

    system: str
    opening: str = ""
    grammar: str | None = None
    max_tokens: int = 48
    best_last: bool = True

    def parts(self, turn: Turn, hits: list[Hit], order: Order | None) -> dict[str, str]:
        """The named parts for one turn."""
        passages = [hit.passage.text for hit in (reversed(hits) if self.best_last else hits)]
        opening = self.opening.format(total=f"{order.total:.2f}", order_id=order.order_id) if order else ""
        return {
            "system": self.system,
            "passages": "\n\n".join(passages),
            "order": order.told() if order else "No order is known.",
            "customer": turn.message,
            "opening": opening,
        }


def compose(parts: dict[str, str]) -> str:
    """The prompt in the model's chat format; the answer goes on from the opening."""
    return (
        f"<|im_start|>system\n{parts['system']}<|im_end|>\n"
        f"<|im_start|>user\n{parts['passages']}\n\n{parts['order']}\n"
        f"Customer: {parts['customer']}<|im_end|>\n"
        f"<|im_start|>assistant\n{parts['opening']}"
    )


@attrs.frozen
class Retrieve:
    """Find the passages for a message.

    Args:
        index: of the policies.
        k: how many passages.
        current_only: leave out what is not in force, a draft for instance.
    """

    index: Passages
    k: int = 3
    current_only: bool = False

    @runtime.step
    async def __call__(self, turn: Turn) -> list[Hit]:
        """Best first."""
        hits = await self.index.search(turn.message, self.k)
        if self.current_only:
            return [hit for hit in hits if hit.passage.status == "current"]
        return hits


@attrs.frozen
class LookUp:
    """Look up the customer's orders."""

    orders: Orders

    @runtime.step
    async def __call__(self, turn: Turn) -> list[Order]:
        """In the service's order."""
        return [Order.of(record) for record in await self.orders.of_user(turn.user_id)]


@attrs.frozen
class Generate:
    """Have the model answer from the passages and the order."""

    llm: SmolLM2
    prompt: Prompt

    @runtime.step
    async def __call__(self, turn: Turn, hits: list[Hit], orders: list[Order]) -> Answer:
        """One answer."""
        order = meant(turn.message, orders)
        parts = self.prompt.parts(turn, hits, order)
        grammar = self.prompt.grammar if parts["opening"] else None
        written = await self.llm.chat(compose(parts), self.prompt.max_tokens, grammar)
        text = f"{parts['opening']}{written.text}".strip()
        return Answer(text, parts, written.input_tokens, written.output_tokens)


@attrs.frozen
class Cite:
    """Say for each sentence of the answer what supports it. No model: numbers and words are compared.

    Args:
        overlap: the least share of a sentence's words that its source has; of its numbers it must have all.
    """

    overlap: float = 0.5

    @runtime.step
    def __call__(self, answer: Answer, hits: list[Hit], orders: list[Order]) -> tuple[Claim, ...]:
        """One claim a sentence."""
        sources = {hit.passage.id: hit.passage.text for hit in hits}
        sources |= {f"order {order.order_id}": order.told() for order in orders}
        return tuple(Claim(each, self._source(each, sources)) for each in _SENTENCE.split(answer.text))

    def _source(self, sentence: str, sources: dict[str, str]) -> str | None:
        numbers, words = set(_NUMBER.findall(sentence)), set(_WORD.findall(sentence.lower()))
        best, most = None, self.overlap
        for name, text in sources.items():
            if not numbers <= set(_NUMBER.findall(text)):
                continue
            share = len(words & set(_WORD.findall(text.lower()))) / max(len(words), 1)
            if share >= most and (best is None or share > most):
                best, most = name, share
        return best


def build_agent(index: Passages, orders: Orders, llm: SmolLM2, *, prompt: Prompt, k: int = 3) -> runtime.Agent[Turn, Reply]:
    """The bot over a shop's policies and orders.

    Args:
        index: of the policies.
        orders: the order service.
        llm: the model.
        prompt: how the model is asked.
        k: how many passages the model reads.
    """
    graph = runtime.Graph("refund_chat.turn", input=Turn)
    hits = graph.add(Retrieve(index, k=k), graph.input)
    known = graph.add(LookUp(orders), graph.input)
    answer = graph.add(Generate(llm, prompt), graph.input, hits, known)
    cited = graph.add(Cite(), answer, hits, known)
    return graph.build(Reply, answer=answer.value, cited=cited.value)
