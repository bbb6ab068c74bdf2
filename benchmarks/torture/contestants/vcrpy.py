"""vcrpy: HTTP exchanges in a cassette; the program runs again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.torture import kit as kits
from benchmarks.torture.cases import Case
from benchmarks.torture.contestant import Facts, Told, in_words
from benchmarks.torture.contestants import http_doors

# Any: the checkers see an environment without it.
httpx: Any = importlib.import_module("httpx")
vcr: Any = importlib.import_module("vcr")

MATCH = ["method", "scheme", "host", "port", "path", "query", "body"]


class Vcrpy:
    """By its documentation on matching and record modes."""

    facts = Facts(
        '`record_mode="none"`, `match_on` with the body, no playback repeats; `all_played` is asked at the end',
        cannot={
            "early cutoff": "no steps: all code runs again",
            "an exception of the program's own": "HTTP only",
            "code changed": "HTTP only: code and results are not recorded",
            "clock, random, uuid by the tool's door": "HTTP only: no such door",
            "clock, random, uuid of the library": "HTTP only",
        },
    )

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Into one cassette."""
        tape = vcr.VCR(match_on=MATCH, record_mode="once")
        with tape.use_cassette(str(folder / "cassette.yaml")):
            async with httpx.AsyncClient(timeout=30) as client:
                return await kits.walk(http_doors.Doors(client, url), case.steps, given)

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """The program runs on the cassette."""
        told = Told()
        tape = vcr.VCR(match_on=MATCH, record_mode="none")
        try:
            with tape.use_cassette(str(folder / "cassette.yaml")) as cassette:
                async with httpx.AsyncClient(timeout=30) as client:
                    told.output = await kits.walk(http_doors.Doors(client, url), case.then or case.steps, given)
                if not cassette.all_played and not case.swapped:
                    told.said.append("not all played")
        except Exception as error:
            told.error = in_words(error)
        return told
