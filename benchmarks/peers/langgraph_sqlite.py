"""LangGraph with its SQLite checkpointer: seven nodes, a thread for each turn.

Its state keeps what every node gave; what a provider was asked is not kept, in the peer's favour. Node functions are sync, which
with providers that answer at once is its fastest way. The variants are LangGraph's durability modes: `exit` writes one checkpoint
a turn, `async` (the default) one a step, behind the next step, `sync` one a step before it. The database is in WAL mode, as the
checkpointer sets it, with `synchronous=NORMAL` and one checkpoint of the log at the end: again in the peer's favour.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks import refund
from benchmarks.measure import main, sync_file

PACKAGES: Final = ("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint", "langchain-core")
_SAMPLE: Final = 50


class State(TypedDict):
    """What the nodes pass on: every one of their outputs."""

    number: int
    text: str
    query: str
    vector: Any
    found: list[str]
    hits: list[str]
    answer: str
    cited: list[int]
    verdict: bool


class LangGraph:
    """The refund trace as a state graph."""

    def __init__(self, folder: Path, durability: str, *, as_list: bool) -> None:
        self._path, self._durability, self._as_list, self.sent = folder / "checkpoints.sqlite", durability, as_list, 0
        self._connection = sqlite3.connect(self._path, check_same_thread=False)
        saver = SqliteSaver(self._connection)
        saver.setup()
        self._connection.execute("PRAGMA synchronous=NORMAL")
        builder: Any = StateGraph(State)
        nodes = [self._rewrite, self._embed, self._retrieve, self._rerank, self._generate, self._cite, self._judge]
        before: Any = START
        for node in nodes:
            name = f"to_{node.__name__.strip('_')}"
            builder.add_node(name, node)
            builder.add_edge(before, name)
            before = name
        builder.add_edge(before, END)
        self._graph: Any = builder.compile(checkpointer=saver)

    def _config(self, number: int) -> dict[str, Any]:
        return {"configurable": {"thread_id": str(number)}}

    def run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        """See `System`."""
        self.sent += len(turns)
        return [self._turn(one) for one in turns]

    def _turn(self, one: refund.Turn) -> bool:
        asked = {"number": one.number, "text": one.text}
        state: State = self._graph.invoke(asked, self._config(one.number), durability=self._durability)
        return state["verdict"]

    def finish(self) -> None:
        """See `System`."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync_file(self._path)

    def _rewrite(self, state: State) -> dict[str, Any]:
        return {"query": refund.reply(refund.rewrite_prompt(state["number"], state["text"]))}

    def _embed(self, state: State) -> dict[str, Any]:
        number = refund.vector_of(state["query"])
        return {"vector": refund.lists()[number] if self._as_list else refund.vectors()[number]}

    def _retrieve(self, state: State) -> dict[str, Any]:
        return {"found": refund.found(state["query"], refund.first_of(state["vector"]))}

    def _rerank(self, state: State) -> dict[str, Any]:
        hits = state["found"]
        return {"hits": refund.ranked(hits, refund.scores(state["query"], len(hits)))}

    def _generate(self, state: State) -> dict[str, Any]:
        return {"answer": refund.reply(refund.answer_prompt(state["number"], state["text"], state["hits"]))}

    def _cite(self, state: State) -> dict[str, Any]:
        return {"cited": refund.citations(state["answer"], state["hits"])}

    def _judge(self, state: State) -> dict[str, Any]:
        return {"verdict": refund.reply(refund.judge_prompt(state["text"], state["answer"], state["cited"])).endswith("True")}

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """See `System`. Threads are counted; some of them are read back, every output of theirs."""
        self._connection.close()
        again = sqlite3.connect(self._path, check_same_thread=False)
        (stored,) = again.execute("SELECT count(DISTINCT thread_id) FROM checkpoints").fetchone()
        saver = SqliteSaver(again)
        for one in turns[::_SAMPLE]:
            kept = saver.get_tuple(self._config(one.number)).checkpoint["channel_values"]
            assert kept.keys() >= State.__annotations__.keys()
            assert (kept["number"], kept["text"]) == one
        again.close()
        return self.sent, stored


def _make(folder: Path, asked: argparse.Namespace) -> LangGraph:
    return LangGraph(folder, asked.variant or "exit", as_list=asked.as_list)


if __name__ == "__main__":
    main(_make, PACKAGES)
