"""kitchenlog as a system: the refund trace run and recorded, every effect's request and response with it.

Timed until everything is synced in record files, as the peers are; what makes packs of them is kept from beginning meanwhile.
The variant `sealed` is as it comes: packs are made while it runs, and it is timed until all of it is in packs, read back and
compared. `guarded` gives one step a timeout and a retry.
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
from storage.log import Log

PACKAGES: Final = ("kitchenlog", "msgspec", "anyio", "attrs")
_SAMPLE: Final = 50
_NEVER: Final = 1 << 40


class Kitchenlog:
    """A runtime with a store of its own."""

    def __init__(self, folder: Path, *, as_list: bool, variant: str) -> None:
        self._folder, self._sealed = folder / "store", variant == "sealed"
        self._agent = workload.make(as_list=as_list, guarded=variant == "guarded")
        self._runtime = Runtime(self._folder) if self._sealed else Runtime(self._folder, seal_bytes=_NEVER, seal_seconds=_NEVER)
        self._traces: list[str] = []
        self._log: Log | None = None

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
        self._log = log = self._runtime.log
        assert log is not None
        assert log.flush()
        if self._sealed:
            self._runtime.close()

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """See `System`. Some of the traces are read back: whole, and of their turn."""
        log = self._log
        assert log is not None
        assert log.dropped == 0, f"{log.dropped} records were dropped"
        self._runtime.close()
        with Runtime(self._folder) as reading:
            for one, trace in list(zip(turns, self._traces, strict=True))[::_SAMPLE]:
                recording = reading.open(trace)
                assert recording.status == "ok"
                assert recording.input_value == {"number": one.number, "text": one.text}
                assert len(recording.spans) == refund.SPANS - 1
        return log.sent, log.stored


def _make(folder: Path, asked: argparse.Namespace) -> Kitchenlog:
    return Kitchenlog(folder, as_list=asked.as_list, variant=asked.variant)


if __name__ == "__main__":
    main(_make, PACKAGES)
