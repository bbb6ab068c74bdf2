"""What a contestant has to offer, and the process that puts it to one case: `... contestant NAME CASE`."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from benchmarks.torture import kit
from benchmarks.torture.cases import CASES, Case, Seen
from benchmarks.torture.provider import Provider, serving

NAMES: Final = {
    "kitchenlog": "Kitchenlog",
    "langgraph": "TimeTravel",
    "langgraph, cached": "Cached",
    "vcrpy": "Vcrpy",
    "kinescope": "Kinescope",
    "reeltime": "Reeltime",
}
"""The contestants, and their classes in the module of their first word."""
FLIPS: Final = 24
"""Damaged copies, at even distances over the recording's bytes; and one more inside the recorded answer."""
SECONDS: Final = 20


@dataclass
class Told:
    """What a replay came to."""

    output: Any = None
    error: str | None = None
    """Class and message of what it raised."""
    said: list[str] = field(default_factory=list[str])
    """What it reported as not the recording, in its own words."""


class _Warnings(logging.Handler):
    """What a tool logs as a warning is said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self.heard.append(record.getMessage())


@dataclass(frozen=True)
class Facts:
    """What the table says of a contestant."""

    settings: str
    """The best that its documentation gives."""
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])
    """Cases outside its job by its own documentation, and why."""
    reexecutes: bool = False
    """Its documentation says that a replay runs steps again, live."""


class Contestant(Protocol):
    """A tool at its best documented settings."""

    facts: Facts

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


def module_of(name: str) -> str:
    """Its first word: also the name of its environment and of its package."""
    return name.partition(",")[0]


def contestant(name: str) -> Contestant:
    """By its name in the table."""
    module = importlib.import_module(f"benchmarks.torture.contestants.{module_of(name)}")
    made: Contestant = getattr(module, NAMES[name])()
    return made


def _places(raw: Mapping[Path, bytes], more: int) -> Iterator[tuple[Path, int]]:
    """File and offset at even distances over the bytes of all files, and of the byte that is `more`."""
    total = sum(len(one) for one in raw.values())
    for place in [*(total * (2 * number + 1) // (2 * FLIPS) for number in range(FLIPS)), *([more] if more >= 0 else [])]:
        before = 0
        for path, one in raw.items():
            if before <= place < before + len(one):
                yield path, place - before
            before += len(one)


def _damaged_copies(folder: Path, how: str, answer: str) -> Iterator[Path]:
    """Of a recording: with one byte changed each, or with a file cut off there."""
    raw = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    found = b"".join(raw.values()).find(answer.encode())
    inside = found + len(answer) - 1 if found >= 0 else -1
    for number, (path, place) in enumerate(_places(raw, inside)):
        copy = folder.parent / "copies" / str(number)
        shutil.copytree(folder, copy)
        one = raw[path]
        changed = one[:place] + (bytes([one[place] ^ 1]) + one[place + 1 :] if how == "one byte" else b"")
        (copy / path.relative_to(folder)).write_bytes(changed)
        yield copy


async def _damaged(tool: Contestant, case: Case, folder: Path, server: Provider, seen: Seen) -> Seen:
    """The worst of all copies: another value without a word, a call, or nothing of that."""
    worst = Seen(seen.recorded, seen.recorded)
    for copy in _damaged_copies(folder / "A", case.how, str(seen.recorded)):
        before = server.calls
        told = await tool.replay(copy, server.url, case, "A")
        now = Seen(seen.recorded, told.output, told.error, told.said, server.calls - before)
        if not case.right(now) and not now.live:
            return now
        if now.live:
            worst = now
    return worst


async def _two_at_once(tool: Contestant, case: Case, folder: Path, server: Provider, seen: Seen) -> None:
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
            try:
                values.append(await tool.record(folder / given, server.url, case, given))
            except Exception as error:
                values.append(in_words(error))
        seen.recorded = values if case.how == "two at once" else values[0]
        before = server.calls
        kit.RAN.clear()
        kit.NOTES.clear()
        warnings = _Warnings()
        logging.getLogger().addHandler(warnings)
        if case.how in {"one byte", "cut short"}:
            return await _damaged(tool, case, folder, server, seen)
        if case.how == "two at once":
            await _two_at_once(tool, case, folder, server, seen)
        else:
            told = await tool.replay(folder / "A", server.url, case, "A")
            seen.output, seen.error, seen.said = told.output, told.error, told.said
        seen.live = server.calls - before
        seen.said += [text for text in warnings.heard if text not in seen.said]
        logging.getLogger().removeHandler(warnings)
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
    packages = {"langgraph": ["langgraph", "langgraph-checkpoint-sqlite"]}.get(module_of(name), [module_of(name)])
    facts = {
        "settings": tool.facts.settings,
        "reexecutes": tool.facts.reexecutes,
        "cannot": tool.facts.cannot.get(key),
        "versions": {package: metadata.version(package) for package in packages},
    }
    print(json.dumps({"seen": asdict(seen), "facts": facts}, default=repr))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
