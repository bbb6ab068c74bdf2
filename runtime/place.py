"""Where a project's store and agents are: `kitchenlog.toml`, `[tool.kitchenlog]`, or `./.kitchenlog`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import attrs

from runtime.errors import RuntimeMisuse


@attrs.frozen
class Place:
    """What the configuration of a project says."""

    store: Path
    agents: tuple[str, ...] = ()
    """`module:object` of each agent that the command may import."""
    config: Path | None = None


def find(start: Path | None = None) -> Place:
    """Walk up from a folder to the first configuration.

    Raises:
        RuntimeMisuse: a configuration is there and cannot be read.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        for name in ("kitchenlog.toml", "pyproject.toml"):
            config = folder / name
            if not config.is_file():
                continue
            table = _read(config)
            if table is not None:
                return _place(config, table)
    return Place(here / ".kitchenlog")


def _read(config: Path) -> dict[str, Any] | None:
    try:
        data = tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        if config.name == "pyproject.toml":
            return None
        raise RuntimeMisuse(f"{config} cannot be read: {error}") from error
    if config.name == "kitchenlog.toml":
        return data
    table: dict[str, Any] | None = data.get("tool", {}).get("kitchenlog")
    return table


def _place(config: Path, table: dict[str, Any]) -> Place:
    store = table.get("store", ".kitchenlog")
    agents = table.get("agents", [])
    if not isinstance(store, str) or not isinstance(agents, list) or not all(isinstance(one, str) for one in agents):
        raise RuntimeMisuse(f'{config}: store is a text and agents a list of "module:object"')
    return Place((config.parent / store).resolve(), tuple(agents), config)
