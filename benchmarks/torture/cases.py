"""The cases: what is recorded, what is done with it, and what the right answer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.torture import programs
from benchmarks.torture.kit import Step


@dataclass
class Seen:
    """What a contestant did with a case."""

    recorded: Any = None
    output: Any = None
    error: str | None = None
    said: list[str] = field(default_factory=list[str])
    live: int = 0
    """Calls that reached the provider during the replay."""
    ran: dict[str, int] = field(default_factory=dict[str, int])
    """How often the code of each step ran during the replay."""
    broken: str | None = None
    """Why nothing was seen."""

    @property
    def refused(self) -> bool:
        """It raised, or said that this is not the recording."""
        return self.error is not None or bool(self.said)

    @property
    def words(self) -> str:
        """All that it said."""
        return " ".join([self.error or "", *self.said])


def as_recorded(seen: Seen) -> bool:
    """The recorded output came back, and nothing was reported."""
    return seen.output == seen.recorded and not seen.refused


def refused(seen: Seen) -> bool:
    """It did not pretend."""
    return seen.refused


@dataclass(frozen=True)
class Case:
    """One of them."""

    key: str
    done: str
    wanted: str
    tied: str
    steps: tuple[Step, ...]
    right: Callable[[Seen], bool] = as_recorded
    then: tuple[Step, ...] | None = None
    """The steps of the replay, where they are others."""
    swapped: tuple[str, ...] = ()
    """Which of them are exchanged on purpose; others count as edited."""
    how: str = "once"
    """`once`; `two at once` for two recordings at the same time; `one byte` and `cut short` for damaged copies."""


def _chain(last: Any = programs.generate) -> tuple[Step, ...]:
    return (Step("retrieve", programs.retrieve), Step("last", last, ("retrieve",)))


def _tidied(tidy: Any = programs.tidy) -> tuple[Step, ...]:
    found = Step("retrieve", programs.retrieve)
    return (found, Step("tidy", tidy, ("retrieve",)), Step("last", programs.generate, ("tidy",)))


def _parallel(retrieve: Any = programs.retrieve) -> tuple[Step, ...]:
    return (Step("retrieve", retrieve), Step("side", programs.side), Step("join", programs.join, ("retrieve", "side")))


def _one(fn: Any) -> tuple[Step, ...]:
    return (Step("only", fn),)


_JUDGED = (*_chain(), Step("judge", programs.judge, ("last",)))

CASES = (
    Case(
        "as recorded",
        "two steps in a row, a call each; replayed with nothing changed",
        "the recorded output, without a call",
        "langchain-academy#40, langgraph#7361; LangGraph 1.2 measured: all steps run again",
        _chain(),
    ),
    Case(
        "own answer, other order",
        "a fan-out of four workers with two calls each; live they finish in reverse, replayed in another order",
        "each worker its own two answers",
        "OrcaReplay#71 (each document got another one's extraction); vcrpy measured",
        _one(programs.two_stages),
    ),
    Case(
        "two calls change places",
        "two questions in a row; the edited code asks the second first",
        "each question its own answer; no call",
        "vcrpy measured (by default it matches without the body and exchanges the answers, no error)",
        _one(programs.ask_both),
        lambda seen: seen.output == seen.recorded and seen.error is None,
        _one(programs.ask_both_otherwise),
    ),
    Case(
        "equal requests of parallel workers",
        "as above, and the second question of all workers is the same, with four different answers",
        "each worker the answer that it had",
        "Kitaru#748 (three identical calls all returned the last)",
        _one(programs.two_equal_stages),
        lambda seen: as_recorded(seen) and len({row[2] for row in seen.recorded}) == 4,
    ),
    Case(
        "order of completion",
        "three parallel calls whose results are collected as they come in; live the last asked comes first",
        "the recorded order",
        "kinescope's documented limit (ordering under `gather`); OrcaReplay#71",
        _one(programs.in_order_of_completion),
    ),
    Case(
        "equal requests in a row",
        "the same question three times, three different answers",
        "the three answers in their order",
        "Kitaru#748",
        _one(programs.three_times),
        lambda seen: as_recorded(seen) and len(set(seen.recorded)) == 3,
    ),
    Case(
        "one equal request too many",
        "the same question three times; the edited code asks a fourth time",
        "refused: no answer is handed out twice, no call is made",
        "Kitaru#748",
        _one(programs.three_times),
        refused,
        _one(programs.four_times),
    ),
    Case(
        "swap one of two parallel steps",
        "`retrieve` is exchanged for one that answers without a call; `side` beside it is not",
        "the new value and the recorded value of `side`; no call",
        "LangGraph measured: `update_state` drops the sibling; cherry-studio#16161, lobehub#18797",
        _parallel(),
        lambda seen: seen.output == [programs.FIXED, seen.recorded[1]] and seen.error is None,
        _parallel(programs.fixed),
        ("retrieve",),
    ),
    Case(
        "early cutoff",
        "the middle one of three steps is exchanged for other code with the same result",
        "the recorded output, and the code of the step below does not run",
        "asked for in agentflow4j#63, lionagi#523",
        _tidied(),
        lambda seen: as_recorded(seen) and not seen.ran.get("generate"),
        _tidied(programs.tidy_otherwise),
        ("tidy",),
    ),
    Case(
        "state outside the graph",
        "a step leaves a note in a global that the next step reads; the next one is exchanged",
        "the exchanged step finds the note",
        "Kitaru's documented limit (process memory is not restored)",
        (Step("leave", programs.leave_note), Step("read", programs.read_note, ("leave",))),
        lambda seen: seen.output == str(seen.recorded).replace("left:", "left!"),
        (Step("leave", programs.leave_note), Step("read", programs.read_note_loudly, ("leave",))),
        ("read",),
    ),
    Case(
        "null is an answer",
        "the provider answers null",
        "null, and no call",
        "Kitaru#750",
        _one(programs.null),
    ),
    Case(
        "an exception of the program's own",
        "a tool in the process raises `NoStock(item, left)`, which the step catches by class",
        "the same class with its fields; the tool does not run",
        "Kitaru#750, #877 (cannot recreate the original exception class); kinescope raises RuntimeError",
        _one(programs.out_of_stock),
        lambda seen: as_recorded(seen) and not seen.ran.get("stock"),
    ),
    Case(
        "a broken connection",
        "the provider hangs up without an answer; the step falls back",
        "the same error again, so the same fallback",
        "Kitaru#750, aimux#102 (recorded outcomes, not only values)",
        _one(programs.dropped),
    ),
    Case(
        "retries",
        "two refusals with status 503, then an answer",
        "three attempts, the recorded answer",
        "aimux#102",
        _one(programs.stubborn),
    ),
    Case(
        "a cancelled call",
        "two calls race; the slow one is cancelled and never answers",
        "the recorded winner, and no call",
        "aimux#102; vcrpy and others keep completed exchanges only",
        _one(programs.hedged),
    ),
    Case(
        "a call that times out",
        "a call is given up after 0.2 seconds; the step falls back and asks something else",
        "given up again, then the recorded answer; no call",
        "aimux#102",
        _one(programs.impatient),
    ),
    Case(
        "a run that failed",
        "the step raises an exception of its own class after a call",
        "the same class and message; no call",
        "Kitaru#750, #877",
        _one(programs.fails),
        lambda seen: seen.error == seen.recorded,
    ),
    Case(
        "a stream",
        "four events of a streamed answer",
        "the four events",
        "aimux#102",
        _one(programs.streamed),
    ),
    Case(
        "a stream that breaks off",
        "two events, then the connection is lost; the step keeps what it heard",
        "two events and the same error",
        "aimux#102",
        _one(programs.stream_cut),
    ),
    Case(
        "a changed request is refused",
        "the prompt of the last step is edited",
        "refused, and the old and the new request are named",
        "OpenHands software-agent-sdk#3029, bernstein#2790 (quietly live)",
        _chain(),
        lambda seen: seen.refused and "REWORDED from" in seen.words and "answer from" in seen.words,
        _chain(programs.generate_reworded),
    ),
    Case(
        "a swallowed refusal",
        "the same edit inside `try ... except Exception: return 'sorry'`",
        "not passed off as a replay: it is reported although the step caught it",
        "ai-agent-book#145 (a failed replay counted as one), wiredframe-radar#28",
        _chain(),
        refused,
        _chain(programs.generate_or_fall_back),
    ),
    Case(
        "a step is added",
        "a new last step with a question that was never asked",
        "refused: the new step neither goes live nor is left out",
        "haystack#12672 (an added component silently never ran)",
        _chain(),
        refused,
        _JUDGED,
    ),
    Case(
        "a step is removed",
        "the last step, which asked, is gone",
        "said: a recorded call is not reached",
        "haystack#12672, TradingAgents#1089 (resumed the wrong graph)",
        _JUDGED,
        refused,
        _chain(),
    ),
    Case(
        "code changed",
        "the code of the last step is edited and asks the same; its result is another",
        "said: this is not the code, or not the output, that was recorded",
        "langchain docs#3843, langgraphjs#2608, langgraph#8458",
        (Step("plain", programs.plain), Step("shorten", programs.shorten, ("plain",))),
        refused,
        (Step("plain", programs.plain), Step("shorten", programs.shorten_otherwise, ("plain",))),
    ),
    Case(
        "a side effect",
        "a refund is paid, then confirmed",
        "the recorded receipt; nothing is paid again",
        "software-agent-sdk#3029, wiredframe-radar#28",
        (Step("pay", programs.pay), Step("confirm", programs.confirm, ("pay",))),
    ),
    Case(
        "clock, random, uuid by the tool's door",
        "a step draws all three as the tool's documentation says",
        "the recorded values",
        "kinescope's README (off unless asked for); LangGraph's page on durable execution (wrap it in a task)",
        _one(programs.own_entropy),
    ),
    Case(
        "clock, random, uuid of the library",
        "a step calls `time.time()`, `random.random()`, `uuid.uuid4()` itself",
        "the recorded values",
        "the limits that kinescope's and reeltime's READMEs name",
        _one(programs.library_entropy),
    ),
    Case(
        "a large answer",
        "one answer of two million characters",
        "all of it",
        "hermes-otel#199, #74, llm-d#1206 (silent truncation)",
        _one(programs.big),
    ),
    Case(
        "two replays at once",
        "two recordings, the same questions with different answers, replayed at the same time in one process",
        "each its own answers",
        "vcrpy#212, #1052 (patches are of the process); Laminar: one miss turns the whole process live",
        _one(programs.ask_twice),
        how="two at once",
    ),
    Case(
        "a recording cut short",
        "copies of the recording of two steps, each without the end of a file, replayed one by one",
        "the recorded output, or a refusal; no call",
        "inspect_ai#4861, #4866 (half-copied recordings); hermes-otel#199",
        _chain(),
        lambda seen: seen.refused or seen.output == seen.recorded,
        how="cut short",
    ),
    Case(
        "one byte changed",
        "copies of the recording, each with one byte changed, replayed one by one",
        "the recorded output, or a refusal; never another value",
        "inspect_ai#4861, #4866 (half-written recordings must be told)",
        _one(programs.plain),
        lambda seen: seen.refused or seen.output == seen.recorded,
        how="one byte",
    ),
)
