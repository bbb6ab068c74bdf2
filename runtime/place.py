"""Where a project's store and agents are: `kitchenlog.toml`, `[tool.kitchenlog]`, or `./.kitchenlog`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from runtime.errors import RuntimeMisuse
from storage.objects.contract import ObjectStore
from storage.objects.locate import is_remote
from storage.objects.s3_settings import S3Settings
from storage.opening import Settings

_TABLE: Final = frozenset({"store", "agents", "key_file", "spool", "s3"})
_FOLDER: Final = ".kitchenlog"


@attrs.frozen
class Place:
    """What the configuration of a project says."""

    folder: Path
    """What paths in it are relative to."""
    store: str = _FOLDER
    agents: tuple[str, ...] = ()
    """`module:object` of each agent that the command may import."""
    key_file: str | None = None
    spool: str = f"{_FOLDER}/spool"
    s3: Mapping[str, Any] = attrs.field(factory=dict)
    config: Path | None = None

    def resolve(self, store: str | os.PathLike[str] | ObjectStore | None) -> tuple[str | ObjectStore, str]:
        """(the store, what it is called): the one that is asked for, else the project's."""
        if store is None:
            store = self.store if is_remote(self.store) else self.folder / self.store
        if not isinstance(store, (str, os.PathLike)):
            return store, repr(store)
        text = os.fspath(store)
        if "://" not in text:
            text = str(Path(text).resolve())
        return text, text

    def settings(self, *, key: str | None, s3: Mapping[str, Any] | None, spool: str | os.PathLike[str] | None) -> Settings:
        """How a bucket is reached, and where record files wait for it.

        Raises:
            RuntimeMisuse: a setting is none.
        """
        told = {**self.s3, **(s3 or {})}
        try:
            reached = S3Settings(**told) if told else None
        except (TypeError, ValueError) as error:
            fields = ", ".join(field.name for field in attrs.fields(S3Settings))
            raise RuntimeMisuse(f"settings of s3 are {fields}: {error}") from error
        return Settings(
            s3=reached,
            key=key,
            key_file=None if self.key_file is None else str(self.folder / self.key_file),
            spool=str(self.folder / self.spool if spool is None else Path(spool).resolve()),
        )


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
    return Place(here)


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
    texts = ("store", "key_file", "spool")
    agents = table.get("agents", [])
    if (
        not set(table) <= _TABLE
        or not all(isinstance(table.get(name, ""), str) for name in texts)
        or not isinstance(agents, list)
        or not all(isinstance(one, str) for one in agents)
        or not isinstance(table.get("s3", {}), dict)
    ):
        raise RuntimeMisuse(
            f'{config}: store, key_file and spool are texts, agents is a list of "module:object", s3 is a table, '
            "and there is nothing else"
        )
    told = {name: table[name] for name in (*texts, "s3") if name in table}
    return Place(config.parent, agents=tuple(agents), config=config, **told)
