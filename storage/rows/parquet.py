"""Rows as Parquet, by DuckDB. Equal rows make equal bytes, by equal versions of it."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage.rows.columns import VERSION, Terms, Type, schema
from storage.rows.stamp import Head, RowsMac, stamp
from storage.rows.trace import TraceRows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ENCODER: Final = msgspec.json.Encoder()
_GROUP_ROWS: Final = 122_880
_GLOB: Final = re.compile(r"([*?\[])")
"""What stands for other characters in a path, as DuckDB reads one."""


def quoted(text: str) -> str:
    """A text as it is written in SQL."""
    return "'" + text.replace("'", "''") + "'"


def scan(paths: Sequence[str], *options: str) -> str:
    """Files as they are named in FROM: just these, and just their columns, whatever their folders are called."""
    told = "".join(f", {one}" for one in ("union_by_name = false", "hive_partitioning = false", *options))
    return f"read_parquet({_listed(paths)}{told})"


def allowed(paths: Sequence[str]) -> str:
    """Files as they are named in the setting `allowed_paths`: it is compared with what was asked for and with what was found."""
    return f"[{', '.join(quoted(one) for path in paths for one in {path, _literal(path)})}]"


def _literal(path: str) -> str:
    return _GLOB.sub(r"[\1]", path)


def _listed(paths: Sequence[str]) -> str:
    return f"[{', '.join(quoted(_literal(path)) for path in paths)}]"


def connect(folder: str) -> DuckDBPyConnection:
    """A database in memory that keeps what does not fit in a folder, loads nothing and sees no variable of the process."""
    import duckdb

    made = duckdb.connect(
        ":memory:",
        config={
            "temp_directory": folder,
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
        },
    )
    made.execute("SET parquet_metadata_cache = true")  # a query goes over the same files several times
    return made


def encode(rows: Iterable[TraceRows], terms: Terms, mac: RowsMac, *, replaces: Sequence[str] = ()) -> tuple[bytes, Head]:
    """Rows as the bytes of a rows object, and what it says of itself.

    Args:
        rows: of traces; each is held only until it is written.
        terms: what they are told in.
        mac: the digests of rows objects.
        replaces: keys of the packs that the pack of these rows stands for.
    """
    own: dict[str, set[Type]] = defaultdict(set)
    with tempfile.TemporaryDirectory(prefix="kitchenlog-") as folder:
        places = [os.path.join(folder, f"{name}.json") for name in ("effects", "spans", "traces")]
        with contextlib.ExitStack() as stack:
            effects, spans, traces = (stack.enter_context(open(place, "wb")) for place in places)
            for one in rows:
                effects.write(_ENCODER.encode_lines(one.effects))
                spans.write(_ENCODER.encode_lines(one.spans))
                traces.write(_ENCODER.encode_lines([one.trace]))
                for name, kind in one.types:
                    own[name].add(kind)
        path = os.path.join(folder, "rows.parquet")
        _copy(folder, places, schema(terms), path)
        with open(path, "rb") as file:
            data = file.read()
    head = Head(VERSION, tuple(sorted(replaces)), {name: tuple(sorted(own[name])) for name in sorted(own)})
    return stamp(data, head, mac), head


def _copy(folder: str, places: Sequence[str], columns: Mapping[str, str], path: str) -> None:
    given = {**columns, "start": "BIGINT"}
    types = ", ".join(f'"{name}": {quoted(kind)}' for name, kind in given.items())
    chosen = ", ".join('make_timestamp("start") AS "start"' if name == "start" else f'"{name}"' for name in columns)
    options = f"hive_partitioning = false, format = 'newline_delimited', columns = {{{types}}}"
    sources = " UNION ALL ".join(f"SELECT {chosen} FROM read_json({_listed([place])}, {options})" for place in places)
    with connect(folder) as database:
        database.execute("SET threads = 1")  # the order of the rows, and so the bytes, are a function of the rows alone
        database.execute(f"COPY ({sources}) TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_GROUP_ROWS})")


def read(path: str) -> list[dict[str, Any]]:
    """The rows of a file, in order, with every column."""
    with tempfile.TemporaryDirectory(prefix="kitchenlog-") as folder, connect(folder) as database:
        found = database.execute(f"SELECT * FROM {scan([path])}")
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
