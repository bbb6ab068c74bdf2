"""Checking a store says what is damaged, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import runtime
from console.app import main
from storage import frames
from tests.left_behind import leave

LONG = "a value that is a record of its own " * 40


async def repeat(text: str) -> str:
    return f"{text} {LONG}"


graph = runtime.Graph("check.bot", input=str)
agent = graph.build(graph.add(repeat, graph.input))


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, list[str]]:
    kitchen = runtime.Runtime(tmp_path / "store")
    traces = [kitchen.run(agent, text).trace_id for text in ("a", "b", "c")]
    leave(kitchen)
    return tmp_path / "store", traces


def check(store: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["--store", str(store), "check", *options])
    return done.exit_code, done.stdout


def record_file(store: Path) -> Path:
    (file,) = (store / "log").iterdir()
    return file


def test_a_sound_store_is_said_to_be_so(store: tuple[Path, list[str]]) -> None:
    folder, traces = store
    before = record_file(folder).read_bytes()

    code, printed = check(folder, "--full")
    told = json.loads(check(folder, "--full", "--json")[1])

    assert code == 0
    assert "3 traces: 3 whole, 0 unfinished, 0 damaged" in printed
    assert told["ok"]
    assert told["traces"] == len(traces)
    assert told["values"] > len(traces)
    assert told["findings"] == []
    assert record_file(folder).read_bytes() == before


def test_every_flipped_byte_of_a_trace_is_found(store: tuple[Path, list[str]]) -> None:
    folder, _ = store
    file = record_file(folder)
    data = file.read_bytes()
    found = [
        one for one in frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES) if isinstance(one, frames.Frame)
    ]

    for frame in found[:-1]:  # a damaged last frame is a torn tail, of a process that ended as it wrote
        for offset in (frame.offset, frame.offset + 9, frame.end - 1):
            file.write_bytes(data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :])
            code, printed = check(folder)
            assert code == 1, (frame, offset)
            assert "damaged" in printed
    file.write_bytes(data)


def test_a_value_that_is_not_what_it_was_is_found_by_hashing_only(store: tuple[Path, list[str]]) -> None:
    folder, traces = store
    file = record_file(folder)
    out = [file.read_bytes()[: frames.FILE_HEADER_BYTES]]
    for one in frames.scan(file.read_bytes()[frames.FILE_HEADER_BYTES :], 0):
        assert isinstance(one, frames.Frame)
        body = one.body.replace(b"a record of its own", b"a record of my own ") if any(one.trace) else one.body
        out += [frames.pack_frame_header(one.kind, one.flags, one.record, one.trace, body), body]
    file.write_bytes(b"".join(out))

    assert check(folder)[0] == 0
    code, printed = check(folder, "--full", "--json")
    told = json.loads(printed)

    assert code == 1
    assert {one["trace"] for one in told["findings"]} == set(traces)
    assert all("does not have its digest" in one["text"] for one in told["findings"])
    assert told["damaged"] == len(traces)


def test_lost_records_are_found(store: tuple[Path, list[str]]) -> None:
    folder, traces = store
    file = record_file(folder)
    data = file.read_bytes()
    found = list(frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES))
    lost = next(one for one in found if isinstance(one, frames.Frame) and one.trace.hex() == traces[1] and one.kind == 4)
    file.write_bytes(data[: lost.offset] + data[lost.end :])

    code, printed = check(folder)

    assert code == 1
    assert traces[1] in printed
    assert "1 damaged" in printed
