"""Hostile errors: each passes unchanged, is recorded as what it is, and is raised again as that or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime import effect, step
from tests.one_step import LONE, echo, last, only, pair


@pytest.fixture
def kitchen(tmp_path: Path, backend: str) -> Iterator[runtime.Runtime]:
    """In check mode, on each loop."""
    with runtime.Runtime(tmp_path / "store", check=True, backend=backend) as made:
        yield made


class Own(Exception):
    def __init__(self, held: Any, *, code: int) -> None:
        super().__init__(held)
        self.held, self.code = held, code

    def __str__(self) -> str:
        return f"code {self.code}"


class Base(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


class Fickle(Exception):
    @property
    def retryable(self) -> bool:
        raise RuntimeError("it cannot tell")


def invalid_model() -> Exception:
    import pydantic

    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(int).validate_python("no number")
    return raised.value


ERRORS: dict[str, Callable[[], BaseException]] = {
    "own": lambda: Own(threading.Lock(), code=3), "base": lambda: Base("base"),
    "group": lambda: ExceptionGroup("several", [ValueError("one"), Own(1, code=4)]), "unspeakable": lambda: Unspeakable("x"),
    "surrogate": lambda: ValueError(LONE), "file": lambda: FileNotFoundError(2, "No such file", "bread.txt"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"), "model": invalid_model,
    "fickle": lambda: Fickle("x"),
}  # fmt: skip


def text_of(error: BaseException) -> str:
    try:
        return str(error).encode("utf-8", "backslashreplace").decode()
    except RuntimeError as broken:
        return f"<str failed: {type(broken).__name__}>"


@pytest.mark.parametrize("where", ["step", "effect"])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_passes_unchanged_and_is_recorded(kitchen: runtime.Runtime, name: str, where: str) -> None:
    error = ERRORS[name]()

    def fail() -> int:
        raise error.with_traceback(None)

    @effect
    async def ask(number: int) -> int:
        return fail()

    async def work(number: int) -> int:
        return await ask(number) if where == "effect" else fail()

    with pytest.raises(BaseException) as raised:  # noqa: PT011 - which one it is, is what is checked
        kitchen.run(only(work), 1)
    assert raised.value is error
    recording = last(kitchen)
    assert f"trace {recording.trace_id}" in error.__notes__[-1]
    assert recording.status == "error"
    told = recording.spans["work"].result.error
    assert told is not None
    assert (told.type, told.message) == (f"{type(error).__module__}:{type(error).__qualname__}", text_of(error))
    replay = kitchen.replay(recording.trace_id)
    if replay.certificate.ok:
        with pytest.raises((type(error), runtime.RecordedError)) as again:
            _ = replay.output
        assert told.message in text_of(again.value)


@pytest.mark.parametrize("where", ["effect", "nested"])
def test_an_error_in_a_worker_thread_passes_unchanged(kitchen: runtime.Runtime, where: str) -> None:
    def fail(number: int) -> int:
        raise Own(number, code=5)

    callee = effect(fail) if where == "effect" else step(fail)

    @step(thread=True)
    def work(number: int) -> int:
        return callee(number)

    with pytest.raises(Own, match="code 5"):
        kitchen.run(only(work), 1)
    recording = last(kitchen)
    assert recording.status == "error"
    assert kitchen.replay(recording.trace_id).certificate.proved


HANDLED: dict[str, Callable[[], Any]] = {
    "file": lambda: Path("no such bread").read_text(), "unicode": b"\xff".decode, "key": lambda: os.environ["NO SALT"],
    "import": lambda: __import__("no_such_module"), "attribute": lambda: attrgetter("salt")(os), "json": lambda: json.loads("{"),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDLED)
def test_a_handler_finds_the_same_error_in_a_replay(kitchen: runtime.Runtime, name: str) -> None:
    @effect
    async def ask(number: int) -> Any:
        return HANDLED[name]()

    async def work(number: int) -> list[str]:
        try:
            return [await ask(number)]
        except Exception as error:
            fields = ("filename", "start", "name", "pos")
            return [type(error).__name__, str(error), repr(error.args), *(repr(getattr(error, field, None)) for field in fields)]

    run = kitchen.run(only(work), 1)
    replay = kitchen.replay(run.trace_id)
    assert replay.certificate.proved
    assert replay.output == run.output


def test_an_error_that_cannot_be_made_again_passes_through_and_explains_another_way(kitchen: runtime.Runtime) -> None:
    import pydantic

    @effect
    async def ask(number: int) -> int:
        return pydantic.TypeAdapter(int).validate_python("no number")

    async def passes(number: int) -> int:
        return await ask(number)

    async def handles(number: int) -> int:
        try:
            return await ask(number)
        except pydantic.ValidationError:
            return 0

    with pytest.raises(pydantic.ValidationError):
        kitchen.run(only(passes), 1)
    assert kitchen.replay(last(kitchen).trace_id).certificate.proved
    entry = kitchen.replay(kitchen.run(only(handles), 1).trace_id).certificate["handles"]
    assert entry.status == "diverged"
    assert "the error of handles/ask was given as a RecordedError" in entry.reason


def test_an_interrupt_in_a_step_is_recorded_and_later_runs_go_on(kitchen: runtime.Runtime) -> None:
    async def interrupted(given: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kitchen.run(pair(echo, interrupted), 1)
    recording = last(kitchen)
    assert recording.status == "error"
    assert recording.spans["echo"].result.value == 1
    assert recording.spans["interrupted"].result.text.startswith("KeyboardInterrupt")
    with contextlib.suppress(KeyboardInterrupt):  # the step's code may do it again
        assert kitchen.replay(recording.trace_id).certificate["echo"].status == "reproduced"
    assert kitchen.run(only(echo), 1).recording.status == "ok"
