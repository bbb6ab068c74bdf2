"""The steps of the cases. Each is `async fn(kit, *values)`; what a case changes bears the name of what it stands for."""

# ruff: noqa: ARG001, D103 - a step takes what it is given, and its name says what it does

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import anyio

from benchmarks.torture.kit import NOTES, Kit, NoStock
from benchmarks.torture.provider import Busy


def edit_of(original: Any) -> Callable[[Any], Any]:
    """Give a function the name of the one it stands for, as an editor would."""

    def named(edited: Any) -> Any:
        edited.__name__, edited.__qualname__ = original.__name__, original.__qualname__
        return edited

    return named


# a small graph


async def retrieve(kit: Kit, given: str) -> Any:
    kit.ran("retrieve")
    return await kit.ask(f"documents for {given}")


async def side(kit: Kit, given: str) -> Any:
    kit.ran("side")
    return await kit.ask(f"profile of {given} @20")


async def generate(kit: Kit, documents: Any) -> Any:
    kit.ran("generate")
    return await kit.ask(f"answer from {documents}")


async def join(kit: Kit, documents: Any, profile: Any) -> Any:
    kit.ran("join")
    return [documents, profile]


FIXED = "a fixed value"


async def fixed(kit: Kit, given: str) -> Any:
    kit.ran("fixed")
    return FIXED


async def tidy(kit: Kit, documents: Any) -> Any:
    kit.ran("tidy")
    return documents.strip()


async def tidy_otherwise(kit: Kit, documents: Any) -> Any:
    kit.ran("tidy_otherwise")
    return documents.rstrip().lstrip()


@edit_of(generate)
async def generate_reworded(kit: Kit, documents: Any) -> Any:
    kit.ran("generate")
    return await kit.ask(f"REWORDED from {documents}")


@edit_of(generate)
async def generate_or_fall_back(kit: Kit, documents: Any) -> Any:
    kit.ran("generate")
    try:
        return await kit.ask(f"REWORDED from {documents}")
    except Exception:
        return "sorry"


async def judge(kit: Kit, answer: Any) -> Any:
    kit.ran("judge")
    return await kit.ask(f"judge {answer}")


async def shorten(kit: Kit, answer: Any) -> Any:
    kit.ran("shorten")
    return f"short: {answer}"


@edit_of(shorten)
async def shorten_otherwise(kit: Kit, answer: Any) -> Any:
    kit.ran("shorten")
    return f"SHORT: {answer}"


# who gets which answer


async def two_stages(kit: Kit, given: str) -> Any:
    async def work(name: str, wait: int) -> Any:
        first = await kit.ask(f"{given} first {name} @{wait}")
        return [name, first, await kit.ask(f"{given} detail of {name}")]

    return await kit.gather(lambda: work("a", 160), lambda: work("b", 110), lambda: work("c", 60), lambda: work("d", 10))


async def two_equal_stages(kit: Kit, given: str) -> Any:
    async def work(name: str, wait: int) -> Any:
        first = await kit.ask(f"{given} first {name} @{wait}")
        return [name, first, await kit.ask("the same question")]

    return await kit.gather(lambda: work("a", 160), lambda: work("b", 110), lambda: work("c", 60), lambda: work("d", 10))


async def in_order_of_completion(kit: Kit, given: str) -> Any:
    done: list[Any] = []

    async def work(name: str, wait: int) -> None:
        done.append(await kit.ask(f"{given} {name} @{wait}"))

    await kit.gather(lambda: work("a", 160), lambda: work("b", 85), lambda: work("c", 10))
    return done


async def three_times(kit: Kit, given: str) -> Any:
    return [await kit.ask(f"draw for {given}") for _ in range(3)]


@edit_of(three_times)
async def four_times(kit: Kit, given: str) -> Any:
    return [await kit.ask(f"draw for {given}") for _ in range(4)]


async def ask_both(kit: Kit, given: str) -> Any:
    one = await kit.ask(f"one of {given}")
    other = await kit.ask(f"other of {given}")
    return [one, other]


@edit_of(ask_both)
async def ask_both_otherwise(kit: Kit, given: str) -> Any:
    other = await kit.ask(f"other of {given}")
    one = await kit.ask(f"one of {given}")
    return [one, other]


async def ask_twice(kit: Kit, given: str) -> Any:
    return [await kit.ask("question 1"), await kit.ask("question 2")]


# outcomes that are no plain value


async def null(kit: Kit, given: str) -> Any:
    return [await kit.ask(f"null for {given}"), await kit.ask(f"after {given}")]


async def out_of_stock(kit: Kit, given: str) -> Any:
    try:
        return await kit.stock(given)
    except NoStock as error:
        return f"caught {type(error).__name__}: {error.item}, {error.left}"
    except Exception as error:
        return f"another class: {type(error).__name__}: {error}"


async def dropped(kit: Kit, given: str) -> Any:
    try:
        return await kit.ask(f"drop {given}")
    except Exception as error:
        return f"fell back: {type(error).__name__}"


async def stubborn(kit: Kit, given: str) -> Any:
    for attempt in (1, 2, 3):
        try:
            return [attempt, await kit.ask(f"flaky {given}")]
        except Busy as error:
            if attempt == 3 or error.status != 503:
                raise
    raise AssertionError


async def hedged(kit: Kit, given: str) -> Any:
    winner = await kit.first(lambda: kit.ask(f"slow {given} @900"), lambda: kit.ask(f"fast {given} @10"))
    return [winner, await kit.ask(f"after {given}")]


async def streamed(kit: Kit, given: str) -> Any:
    return [piece async for piece in kit.stream(f"tell {given}")]


async def stream_cut(kit: Kit, given: str) -> Any:
    heard: list[str] = []
    try:
        async for piece in kit.stream(f"cut {given}"):
            heard.append(piece)  # noqa: PERF401 - what was heard before it broke off stays
    except Exception as error:
        heard.append(type(error).__name__)
    return heard


async def big(kit: Kit, given: str) -> Any:
    return await kit.ask(f"big {given}")


async def plain(kit: Kit, given: str) -> Any:
    return await kit.ask(f"plain {given}")


async def fails(kit: Kit, given: str) -> Any:
    answer = await kit.ask(f"plain {given}")
    raise NoStock(str(answer), 3)


async def impatient(kit: Kit, given: str) -> Any:
    try:
        with anyio.fail_after(0.2):
            return await kit.ask(f"slow {given} @900")
    except TimeoutError:
        return ["timed out", await kit.ask(f"after {given}")]


# state outside the graph


async def leave_note(kit: Kit, given: str) -> Any:
    NOTES["seen"] = str(await kit.ask(f"plain {given}"))
    return "a note was left"


async def read_note(kit: Kit, told: Any) -> Any:
    return f"{told}: {NOTES.get('seen')}"


async def read_note_loudly(kit: Kit, told: Any) -> Any:
    return f"{told}! {NOTES.get('seen')}"


# effects and entropy


async def pay(kit: Kit, given: str) -> Any:
    return await kit.pay(f"refund {given}")


async def confirm(kit: Kit, receipt: Any) -> Any:
    return await kit.ask(f"confirm {receipt}")


async def own_entropy(kit: Kit, given: str) -> Any:
    return [given, *await kit.entropy()]


async def library_entropy(kit: Kit, given: str) -> Any:
    return [given, repr(time.time()), repr(random.random()), str(uuid.uuid4())]
