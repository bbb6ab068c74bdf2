"""What a contestant has to offer, and the process that puts it to one case: `python -m benchmarks.torture.contestant NAME CASE`."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from benchmarks.torture import kit
from benchmarks.torture.cases import CASES, Case, Seen
from benchmarks.torture.provider import Server, serving

NAMES: Final = {
    "kitchenlog": "Kitchenlog",
    "langgraph": "TimeTravel",
    "langgraph cached": "Cached",
    "vcrpy": "Vcrpy",
    "kinescope": "Kinescope",
    "reeltime": "Reeltime",
}
"""The contestants, and their classes in the module of their first word."""
FLIPS: Final = 24
"""Copies with one byte changed, at even distances over the recording's bytes; and one more inside the recorded answer."""
SECONDS: Final = 20


@dataclass
class Told:
    """What a replay came to."""

    output: Any = None
    error: str | None = None
    """Class and message of what it raised."""
    said: list[str] = field(default_factory=list[str])
    """What it reported as not the recording, in its own words."""


class Contestant(Protocol):
    """A tool at its best documented settings."""

    settings: str
    """Which."""
    reexecutes: bool
    """Its documentation says that a replay runs steps again, live."""
    cannot: dict[str, str]
    """Cases outside its job by its own documentation, and why."""

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Run live and record into the folder; returns the output."""
        ...

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """Replay what the folder holds, with the steps that the case has for it."""
        ...


def in_words(error: BaseException) -> str:
    """Class and message; of what a task group wraps, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def contestant(name: str) -> Contestant:
    """By its name in the table."""
    module = importlib.import_module(f"benchmarks.torture.contestants.{name.split()[0]}")
    made: Contestant = getattr(module, NAMES[name])()
    return made


def _one_byte_changed(folder: Path, answer: str, into: Path) -> Iterator[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    total = sum(path.stat().st_size for path in files)
    places = [(total * (2 * number + 1)) // (2 * FLIPS) for number in range(FLIPS)]
    found = [(path, path.read_bytes().find(answer.encode())) for path in files]
    for number, place in enumerate([*places, -1]):
        copy = into / str(number)
        shutil.copytree(folder, copy)
        changed = False
        for path, start in found:
            size = path.stat().st_size
            at = start + len(answer) - 1 if place < 0 <= start else place
            if 0 <= at < size and (place >= 0 or start >= 0):
                raw = bytearray((copy / path.relative_to(folder)).read_bytes())
                raw[at] ^= 1
                (copy / path.relative_to(folder)).write_bytes(raw)
                changed = True
                break
            place -= size if place >= 0 else 0
        if changed:
            yield copy


async def _damaged(tool: Contestant, case: Case, folder: Path, server: Server, seen: Seen) -> None:
    """The worst of all copies is what was seen."""
    for copy in _one_byte_changed(folder / "A", str(seen.recorded), folder / "copies"):
        before = server.calls
        told = await tool.replay(copy, server.url, case, "A")
        now = Seen(seen.recorded, told.output, told.error, told.said, server.calls - before)
        if now.live or not case.right(now):
            seen.output, seen.error, seen.said, seen.live = now.output, now.error, now.said, now.live
            return
    seen.output = seen.recorded


async def _two_at_once(tool: Contestant, case: Case, folder: Path, server: Server, seen: Seen) -> None:
    told: dict[str, Told] = {}

    async def one(given: str) -> None:
        told[given] = await tool.replay(folder / given, server.url, case, given)

    async with anyio.create_task_group() as group:
        for given in ("A", "B"):
            group.start_soon(one, given)
    seen.output = [told["A"].output, told["B"].output]
    seen.error = told["A"].error or told["B"].error
    seen.said = [*told["A"].said, *told["B"].said]


async def see(tool: Contestant, case: Case, folder: Path) -> Seen:
    """Put one case to a contestant."""
    seen = Seen()
    with serving() as server:
        values: list[Any] = []
        for given in ("A", "B") if case.how == "two at once" else ("A",):
            (folder / given).mkdir(parents=True)
            values.append(await tool.record(folder / given, server.url, case, given))
        seen.recorded = values if case.how == "two at once" else values[0]
        before = server.calls
        kit.RAN.clear()
        if case.how == "damaged":
            await _damaged(tool, case, folder, server, seen)
        elif case.how == "two at once":
            await _two_at_once(tool, case, folder, server, seen)
            seen.live = server.calls - before
        else:
            told = await tool.replay(folder / "A", server.url, case, "A")
            seen.output, seen.error, seen.said = told.output, told.error, told.said
            seen.live = server.calls - before
        seen.ran = dict(kit.RAN)
    return seen


def main(name: str, key: str) -> None:
    """One case, printed as JSON in the last line."""
    [case] = [one for one in CASES if one.key == key]
    tool = contestant(name)
    with tempfile.TemporaryDirectory() as folder:

        async def timed() -> Seen:
            with anyio.move_on_after(SECONDS):
                return await see(tool, case, Path(folder))
            return Seen(broken=f"not done after {SECONDS} seconds")

        try:
            seen = anyio.run(timed)
        except Exception as error:
            seen = Seen(broken=in_words(error))
    print(json.dumps(asdict(seen), default=repr))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
