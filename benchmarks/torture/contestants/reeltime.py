"""reeltime: its patched httpx, its tools and its spans; the program runs again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.torture import kit as kits
from benchmarks.torture.cases import Case
from benchmarks.torture.contestant import Facts, Told, in_words
from benchmarks.torture.contestants import http_doors
from benchmarks.torture.kit import Call, Step

# Any: the checkers see an environment without it.
httpx: Any = importlib.import_module("httpx")
tape: Any = importlib.import_module("reeltime")

look_up: Any = tape.tool(kits.look_up)


class Doors(http_doors.Doors):
    """HTTP as it is, the tool by its decorator, concurrent work in spans."""

    async def stock(self, item: str) -> Any:
        """A tool."""
        return look_up(item)

    async def within(self, place: int, call: Call) -> Any:
        """Its documentation: concurrent work goes into spans of its own."""
        with tape.span(f"task {place}"):
            return await call()


def _in_spans(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    def spanned(step: Step) -> Step:
        async def fn(*given: Any) -> Any:
            with tape.span(step.name):
                return await step.fn(*given)

        return Step(step.name, fn, step.needs)

    return tuple(spanned(step) for step in steps)


class Reeltime:
    """By its README."""

    facts = Facts(
        '`strictness="strict"`; a span for each step and each concurrent task',
        cannot={
            "early cutoff": "no steps that could be reused: all code runs again",
            "code changed": "boundaries only: code and results are not recorded",
        },
    )

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Into a folder of its own."""
        with tape.session(tape_dir=folder, collect_git=False) as run:
            (folder.parent / f"{given}.run").write_text(run.run_id)
            async with httpx.AsyncClient(timeout=30) as client:
                return await kits.walk(Doors(client, url), _in_spans(case.steps), given)

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """What it notes at the end counts as said; what a swapped step no longer asks is meant."""
        told = Told()
        [note] = [place / f"{given}.run" for place in folder.parents if (place / f"{given}.run").exists()]
        run: Any = None
        try:
            with tape.session("replay", replay=note.read_text(), tape_dir=folder, strictness="strict") as run:
                async with httpx.AsyncClient(timeout=30) as client:
                    told.output = await kits.walk(Doors(client, url), _in_spans(case.then or case.steps), given)
        except Exception as error:
            told.error = in_words(error)
        if run is not None and run.summary is not None:
            told.said = run.summary.notes()
        return told
