"""A recorded run as a regression test: it must come out as it was recorded, and its spans must keep their contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

import runtime
from replay import Replay
from replay.certificate import NOT_OK
from replay.trace_diff import SpanDiff
from runtime import vocabulary
from runtime.plain import visible

_SHOWN = 3


@attrs.define(eq=False)
class RecordedRun:
    """A recording under test.

    Args:
        path: of the file.
        agent: that it is replayed with.
        test: how pytest calls the test, for the hint.
        update: make what comes out now the recording.
        live: with `update`, call providers for what the recording cannot answer.
        updated: told each time that is done.
    """

    path: Path
    agent: runtime.Agent[Any, Any]
    test: str = ""
    update: bool = False
    live: bool = False
    updated: Callable[[str], None] = attrs.field(default=lambda _: None, repr=False)
    _runtime: runtime.Runtime = attrs.field(init=False, repr=False)
    _trace: str = attrs.field(init=False)
    _replay: Replay | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        self._runtime = runtime.Runtime(self.path)
        [line] = self._runtime.list()
        self._trace = line.trace_id

    def close(self) -> None:
        """Give the file back."""
        self._runtime.close()

    @property
    def recording(self) -> runtime.Recording:
        """What was recorded."""
        return self._runtime.open(self._trace)

    def replay(self, **options: Any) -> Replay:
        """Replay it: see `runtime.replay`. Nothing goes live that `live` does not name."""
        made = self._runtime.replay(self._trace, agent=self.agent, **options)
        self._replay = made
        return made

    def assert_unchanged(self) -> Replay:
        """Every step ends as it was recorded, on what it was given then; providers are answered from the recording.

        Code may have changed, as long as its outcomes did not.

        Raises:
            AssertionError: the text begins with the first step that ends otherwise, and the field.
        """
        __tracebackhide__ = True  # a failure is about a step, not about this
        replay = self.replay()
        differing = _differing(replay)
        if not differing and replay.certificate.ok:
            return replay
        if self.update:
            return self._approve(replay)
        raise AssertionError(self._told(replay, differing))

    def assert_contract(self) -> None:
        """Every span of a standard step tells what its kind has to (`runtime.vocabulary.REQUIRED`), where its work was done.

        Raises:
            AssertionError: one does not, or no span is of a standard step.
        """
        __tracebackhide__ = True
        replay = self._replay or self.replay()
        kinds = {row.chapter: kind for kind, row in vocabulary.SPANS.items()}
        missing: list[str] = []
        seen = 0
        for span in self._runtime.open(replay.trace_id).to_json(full=False)["spans"]:
            kind, attributes = kinds.get(span["name"]), span["attributes"]
            if kind is None:
                continue
            seen += 1
            if span["status"] != "OK" or not attributes.get("generate.model_called", True):
                continue
            absent = [name for name in vocabulary.REQUIRED[kind] if name not in attributes]
            if absent:
                missing.append(f"{attributes.get('kitchenlog.address', kind)} does not tell {', '.join(absent)}")
        if not seen:
            raise AssertionError("no span of this trace is of a standard step, so there is no contract to keep")
        if missing:
            raise AssertionError(visible("\n".join(["the contract of spans is broken:", *missing])))

    def _approve(self, replay: Replay) -> Replay:
        """Make what comes out now the recording."""
        __tracebackhide__ = True
        if replay.blocked and self.live:
            replay = self.replay(live="needed")
        refused = [entry for entry in replay.certificate if entry.status in NOT_OK]
        if refused:
            told = "\n".join(f"    {entry}" for entry in refused)
            why = "it cannot be approved: what comes out now depends on this:"
            if replay.blocked and not self.live:
                why = "it cannot be approved without calls that nobody recorded (--kitchenlog-live makes all but side effects):"
            raise AssertionError(visible(f"{why}\n{told}"))
        first = replay.diff().first
        self._runtime.export(replay.trace_id, self.path)
        self.updated(visible(f"{self.path}: first difference at {first}"))
        return replay

    def _told(self, replay: Replay, differing: list[SpanDiff]) -> str:
        recording = replay.recording
        lines = [f"{recording.agent} {recording.trace_id[:8]} does not come out as it was recorded"]
        addresses = {one.address for one in differing}
        if differing:
            lines += ["first divergence:", _indented(self._with_status(replay, differing[0]))]
        wrong = [entry for entry in replay.certificate if entry.status in NOT_OK]
        lines += [f"    {entry}" for entry in wrong if not differing or entry.address not in addresses]
        rest = differing[1 : _SHOWN + 1]
        if rest:
            lines += ["then:", *(f"    {one.head}" for one in rest)]
        if len(differing) > _SHOWN + 1:
            lines.append(f"    and {len(differing) - _SHOWN - 1} more")
        for blocked in replay.blocked[:1]:
            lines.append(_indented(str(blocked)))
        if self.test:
            live = " --kitchenlog-live" if replay.blocked else ""
            lines.append(f"if that is meant: pytest {self.test!r} --kitchenlog-update{live}")
        return visible("\n".join(lines))

    @staticmethod
    def _with_status(replay: Replay, one: SpanDiff) -> str:
        if one.address not in replay.certificate:
            return str(one)
        _, sign, rest = str(one).partition("\n")
        return f"{replay.certificate[one.address]}{sign}{rest}"


def _differing(replay: Replay) -> list[SpanDiff]:
    """What comes out otherwise; a call that another task makes now does not."""
    return [one for one in replay.diff().spans if one.kind != "moved" or one.fields]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
