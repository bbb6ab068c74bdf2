"""kitchenlog as a system: the refund trace run and recorded, every effect's request and response with it.

The variant `guarded` gives one step a timeout and a retry.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio

from benchmarks import refund, workload
from benchmarks.measure import main
from runtime import Runtime

PACKAGES: Final = ("kitchenlog", "msgspec", "anyio", "attrs")
_SAMPLE: Final = 50


class Kitchenlog:
    """A runtime with a store of its own."""

    def __init__(self, folder: Path, *, as_list: bool, guarded: bool) -> None:
        self._folder = folder / "store"
        self._agent = workload.make(as_list=as_list, guarded=guarded)
        self._runtime = Runtime(self._folder)
        self._traces: list[str] = []
        self._counts = (0, 0, 0)

    def run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        """See `System`."""
        return anyio.run(self._run, turns)

    async def _run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        runtime, agent, traces = self._runtime, self._agent, self._traces
        verdicts: list[bool] = []
        for one in turns:
            done = await runtime.arun(agent, workload.Turn(*one))
            traces.append(done.trace_id)
            verdicts.append(done.output)
        return verdicts

    def finish(self) -> None:
        """See `System`."""
        log = self._runtime.log
        assert log is not None
        self._runtime.close()
        self._counts = log.sent, log.stored, log.dropped

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """See `System`. Some of the traces are read back: whole, and of their turn."""
        sent, stored, dropped = self._counts
        assert dropped == 0, f"{dropped} records were dropped"
        with Runtime(self._folder) as reading:
            for one, trace in list(zip(turns, self._traces, strict=True))[::_SAMPLE]:
                recording = reading.open(trace)
                assert recording.status == "ok"
                assert recording.input_value == {"number": one.number, "text": one.text}
                assert len(recording.spans) == refund.SPANS - 1
        return sent, stored


def _make(folder: Path, asked: argparse.Namespace) -> Kitchenlog:
    return Kitchenlog(folder, as_list=asked.as_list, guarded=asked.variant == "guarded")


if __name__ == "__main__":
    main(_make, PACKAGES)
