"""The pytest plugin: recordings as regression tests (docs/testing.md).

pytest loads it in every session, so it imports nothing of the runtime until a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import runtime
    from console.regression import RecordedRun

UPDATED: Final = pytest.StashKey[list[str]]()
"""What was approved in this session, a line each."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("kitchenlog")
    group.addoption(
        "--kitchenlog-update",
        action="store_true",
        help="Where a recorded run comes out otherwise, make what comes out now the recording.",
    )
    group.addoption(
        "--kitchenlog-live",
        action="store_true",
        help="With --kitchenlog-update: call providers for what a recording cannot answer. Side effects stay refused.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that say nothing together."""
    config.stash[UPDATED] = []
    if config.getoption("--kitchenlog-live") and not config.getoption("--kitchenlog-update"):
        raise pytest.UsageError("--kitchenlog-live is for --kitchenlog-update: without it a test never calls a provider")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the recordings that were approved."""
    updated = config.stash[UPDATED]
    if updated:
        terminalreporter.section("kitchenlog: recordings updated")
        for line in updated:
            terminalreporter.write_line(line)


@pytest.fixture
def kitchenlog_store(tmp_path: Path) -> Iterator[runtime.Runtime]:
    """A runtime with a store of its own in the test's temporary folder. Every run is in check mode."""
    from runtime import Runtime  # noqa: PLC0415 - as the module says

    with Runtime(tmp_path / "kitchenlog", check=True) as made:
        yield made


@pytest.fixture
def kitchenlog_recording(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str | os.PathLike[str], runtime.Agent[Any, Any]], RecordedRun]]:
    """Opens a recording that `kitchenlog test new` or `runtime.export` wrote, to be replayed with an agent."""
    from console.regression import RecordedRun  # noqa: PLC0415 - as the module says

    config = request.config
    opened: list[RecordedRun] = []

    def open_recording(path: str | os.PathLike[str], agent: runtime.Agent[Any, Any]) -> RecordedRun:
        run = RecordedRun(
            Path(path), agent, test=request.node.nodeid, update=bool(config.getoption("--kitchenlog-update")),
            live=bool(config.getoption("--kitchenlog-live")), updated=config.stash[UPDATED].append,
        )  # fmt: skip
        opened.append(run)
        return run

    yield open_recording
    for run in opened:
        run.close()
