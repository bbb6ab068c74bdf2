"""kinescope: its httpx transport and its tools; the program runs again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.torture import kit as kits
from benchmarks.torture.cases import Case
from benchmarks.torture.contestant import Facts, Told, in_words
from benchmarks.torture.contestants import http_doors

# Any: the checkers see an environment without it.
kinescope: Any = importlib.import_module("kinescope")


class Doors(http_doors.Doors):
    """HTTP by its transport, the tool by its decorator."""

    async def stock(self, item: str) -> Any:
        """Its tools are sync functions."""
        return kinescope.tool(kits.look_up)(item)


class Kinescope:
    """By its README."""

    facts = Facts(
        '`policy="strict"`; `capture=["clock", "rng", "uuid"]` in the two cases of entropy',
        cannot={
            "early cutoff": "no steps: all code runs again",
            "code changed": "boundaries only: code and results are not recorded",
        },
    )

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Into a local store."""
        capture = ["clock", "rng", "uuid"] if case.key.startswith("clock") else []
        store = kinescope.LocalStore(folder)
        try:
            with kinescope.record("case", store, policy="strict", capture=capture) as session:
                (folder.parent / f"{given}.run").write_text(session.run_id)
                async with kinescope.async_http_client(timeout=30) as client:
                    return await kits.walk(Doors(client, url), case.steps, given)
        finally:
            store.db.close()

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """The program runs on the recorded events."""
        told = Told()
        [note] = [place / f"{given}.run" for place in folder.parents if (place / f"{given}.run").exists()]
        session: Any = None
        try:
            store = kinescope.LocalStore(folder)
            with kinescope.replay(note.read_text(), store, policy="strict") as session:
                async with kinescope.async_http_client(timeout=30) as client:
                    told.output = await kits.walk(Doors(client, url), case.then or case.steps, given)
        except Exception as error:
            told.error = in_words(error)
        told.said = [] if session is None else [str(one) for one in session.divergences]
        return told
