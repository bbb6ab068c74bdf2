"""A refund is paid once, however often its trace is replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from runtime import Graph, effect


def test_a_hundred_replays_leave_the_ledger_as_it_is(tmp_path: Path, backend: str) -> None:
    ledger = tmp_path / "ledger"

    @effect(side_effect=True)
    async def pay(order: str, amount: int) -> str:
        with ledger.open("a") as file:
            file.write(f"{order} {amount} {runtime.current().idempotency_key}\n")
        return f"receipt {order}"

    async def judge(order: str) -> int:
        return len(order)

    async def refund(order: str, amount: int) -> str:
        return await pay(order, amount)

    async def judge_twice(order: str) -> int:
        return 2 * len(order)

    async def refund_again(order: str, amount: int) -> str:
        first = await pay(order, amount)
        return f"{first}, {await pay(order, amount)}"

    graph = Graph("ledger.bot", input=str)
    agent = graph.build(graph.add(refund, graph.input, graph.add(judge, graph.input)))
    with runtime.Runtime(tmp_path / "store", backend=backend) as kitchen:
        trace = kitchen.run(agent, "A-17").trace_id
        paid = ledger.read_text()
        assert paid.count("\n") == 1
        for number in range(100):
            asked = number % 5
            replay = kitchen.replay(
                trace,
                swap={3: {"judge": judge_twice}, 4: {"refund": refund_again}}.get(asked, {}),
                live=["needed"] if asked in {2, 3, 4} else None,
                override={"judge": 9} if asked == 1 else None,
            )
            if asked in {0, 2}:
                assert replay.certificate.ok
                assert replay.output == "receipt A-17"
            else:  # another amount, or a second payment: no recorded answer, and "needed" never pays
                assert [one.address for one in replay.blocked] == ["refund/pay#2" if asked == 4 else "refund/pay"]
                with pytest.raises(runtime.ReplayBlocked):
                    _ = replay.output
        assert ledger.read_text() == paid
        named = kitchen.replay(trace, swap={"judge": judge_twice}, live=["refund"])
        assert named.output == "receipt A-17"
        [before, after] = ledger.read_text().splitlines()
        assert after.split()[1] == "8"
        assert before.split()[2] != after.split()[2], "a replay that pays has a key of its own"
