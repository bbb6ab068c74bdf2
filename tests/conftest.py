"""Shared fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import runtime


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """Both loops."""
    return str(request.param)


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[runtime.Runtime]:
    """A runtime with a store of its own, in check mode."""
    with runtime.Runtime(tmp_path / "store", check=True) as made:
        yield made
