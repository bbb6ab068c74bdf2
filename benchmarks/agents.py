"""The agents of `benchmarks.verify`, by names that a worker process imports."""

from __future__ import annotations

from benchmarks import workload

vectors = workload.make()
lists = workload.make(as_list=True)


async def judge_otherwise(turn: workload.Turn, answer: str, cited: list[int]) -> bool:
    """Another last step."""
    return (len(turn.text) + len(answer) + len(cited)) % 3 == 0
