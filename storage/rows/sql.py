"""SQL over rows: three views, no file and no setting in the reach of whoever asks."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from storage.errors import CorruptRecord, StorageError, TraceNotFound
from storage.rows import parquet
from storage.rows.beside import Opened, Progress, RowStore
from storage.rows.columns import OF_EFFECTS, OF_SPANS, OF_TRACES, Type, own_type
from storage.rows.parquet import allowed, quoted, scan
from storage.rows.stamp import Head
from storage.rows.trace import RowMaker, Trace, TraceRows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_OUTCOME: Final = "outcome."
_LOOKS: Final = 5
_MADE_OF: Final = {"duration_ms": "duration / 1e6 AS duration_ms"}
"""Columns of the views that are none of the rows."""
_NO_COLUMN: Final = re.compile(r"[^A-Za-z0-9_]")


class BadQuery(StorageError, ValueError):
    """The SQL cannot be answered; the text says where and why."""


class Answer(NamedTuple):
    """What a query found."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    packs: int
    """How many packs were asked."""
    made: int
    """How many of them had no rows beside them: they were made."""
    loose: int
    """Traces whose rows were made for this answer alone: of record files that are no packs yet, and of several packs."""
    damage: tuple[str, ...]
    """What the answer lacks, in words."""
    unstored: str
    """Why the rows that were made could not be stored beside their packs; empty where they could."""


def answer(
    sql: str,
    rows: RowStore,
    maker: RowMaker,
    *,
    loose: Iterable[bytes],
    load: Callable[[bytes], Trace],
    progress: Progress,
) -> Answer:
    """Answer SQL over `traces`, `spans` and `effects`.

    Args:
        sql: one SELECT.
        rows: of the store's packs.
        maker: makes the rows of traces that are in no pack, or in several.
        loose: traces that have records outside packs.
        load: reads one trace, whichever files it is in.
        progress: told of packs whose rows are made.

    Raises:
        BadQuery: it is not one SELECT, or cannot be answered.
        StoreError: rows were made by a newer version.
    """
    known = set(loose)
    for _ in range(_LOOKS):
        with parquet.connect(rows.scratch) as database:
            _check(database, sql)
            found = _once(database, sql, rows, maker, known, load, progress)
        if found is not None:
            return found
    raise StorageError(
        f"rows went away {_LOOKS} times while they were asked: ask again when no pack is merged and no row rebuilt"
    )


def _once(
    database: DuckDBPyConnection,
    sql: str,
    rows: RowStore,
    maker: RowMaker,
    loose: set[bytes],
    load: Callable[[bytes], Trace],
    progress: Progress,
) -> Answer | None:
    """The answer; None where rows went away meanwhile, those of packs that were merged for instance."""
    import duckdb

    opened = rows.open(progress)
    try:
        asked = _Asked(database, opened, maker, rows)
        asked.take(set(loose), load)
        asked.views()
        found = database.execute(sql)
        columns = tuple(str(column[0]) for column in found.description or ())
        fetched = found.fetchall()
        return Answer(columns, fetched, len(opened.files), opened.made, asked.loose, opened.damage, opened.unstored)
    except duckdb.Error as error:
        if any(not os.path.exists(path) for path in opened.files):
            return None
        raise BadQuery(f"query: {_told(error)}") from None


def _check(database: DuckDBPyConnection, sql: str) -> None:
    import duckdb

    try:
        statements = database.extract_statements(sql)
    except duckdb.Error as error:
        raise BadQuery(f"query: {_told(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise BadQuery(
            "query: it takes one SELECT over traces, spans and effects, and changes nothing. `DESCRIBE traces` shows the columns"
        )


def _told(error: Exception) -> str:
    return str(error).strip()


class _Asked:
    """The views of one query."""

    def __init__(self, database: DuckDBPyConnection, opened: Opened, maker: RowMaker, rows: RowStore) -> None:
        self._database, self._maker = database, maker
        self._files = list(opened.files)
        self._own: dict[str, set[Type]] = defaultdict(set)
        for head in opened.files.values():
            self._add_types(head)
        self._rows = rows
        self._extra = ""
        self._touched: list[str] = []
        self._merged = False
        self.loose = 0
        database.execute("CREATE SCHEMA kitchenlog")

    def _add_types(self, head: Head) -> None:
        for name, types in head.own.items():
            self._own[name] |= set(types)

    def take(self, loose: set[bytes], load: Callable[[bytes], Trace]) -> None:
        """Make the rows of traces that no single pack has all of."""
        if self._files:
            loose |= self._spread()
        self.loose = len(loose)
        if not loose and self._files:
            return
        self._extra, head = self._rows.apart(_loaded(sorted(loose), load, self._maker))
        self._add_types(head)
        made_here = f"(SELECT trace_id FROM {scan([self._extra])} WHERE row = 'trace')"
        if self._files:
            self._touched = self._texts(
                f"SELECT DISTINCT filename FROM {scan(self._files, 'filename = true')} "
                f"WHERE row = 'trace' AND trace_id IN {made_here}"
            )
        if self._merged:  # what was said of these is in their new rows, the latest of it in a record file perhaps
            self._database.execute(f"DELETE FROM kitchenlog.said WHERE trace_id IN {made_here}")

    def _spread(self) -> set[bytes]:
        """Traces of which several packs hold records, but for those where all but one hold only what was said later."""
        self._database.execute(
            "CREATE TABLE kitchenlog.spread AS SELECT trace_id, count(*) FILTER (part <> 'late') AS heads "
            f"FROM {scan(self._files)} WHERE row = 'trace' GROUP BY trace_id HAVING count(*) > 1 OR bool_or(part = 'late')"
        )
        known = self._texts("SELECT trace_id FROM kitchenlog.spread WHERE heads <> 1")
        (later,) = self._database.execute("SELECT count(*) FROM kitchenlog.spread WHERE heads = 1").fetchone() or (0,)
        self._merged = bool(later)
        if later:
            self._database.execute(
                "CREATE TABLE kitchenlog.said AS SELECT trace_id, map_from_entries(list((name, latest))) AS said FROM ("
                "SELECT trace_id, one.key AS name, arg_max(one.value, one.value.wall) AS latest FROM ("
                f"SELECT trace_id, unnest(map_entries(said)) AS one FROM {scan(self._files)} WHERE row = 'trace' "
                "AND trace_id IN (SELECT trace_id FROM kitchenlog.spread WHERE heads = 1)) GROUP BY ALL) GROUP BY trace_id"
            )
        return set(map(bytes.fromhex, known))

    def _texts(self, sql: str) -> list[str]:
        return [str(row[0]) for row in self._database.execute(sql).fetchall()]

    def views(self) -> None:
        """Make the three views, and close everything else to whoever asks."""
        execute = self._database.execute
        execute(f"CREATE VIEW kitchenlog.rows AS {self._sources()}")
        traces = "kitchenlog.rows"
        if self._merged:
            traces = (
                "(SELECT one.* REPLACE (coalesce(later.said, one.said) AS said) FROM kitchenlog.rows AS one "
                "LEFT JOIN kitchenlog.said AS later USING (trace_id))"
            )
        declared = [one.column for one in self._maker.terms.attributes.values()]
        execute(
            f"CREATE VIEW traces AS SELECT {', '.join([*map(_shown, OF_TRACES), *self._own_columns()])} FROM {traces} "
            "WHERE row = 'trace' AND part <> 'late'"
        )
        for name, fixed in (("span", OF_SPANS), ("effect", OF_EFFECTS)):
            chosen = ", ".join(map(_shown, (*fixed, *declared)))
            execute(f"CREATE VIEW {name}s AS SELECT {chosen} FROM kitchenlog.rows WHERE row = '{name}'")
        execute(f"SET allowed_paths = {allowed([*self._files, *([self._extra] if self._extra else [])])}")
        execute("SET enable_external_access = false")
        execute("SET lock_configuration = true")

    def _sources(self) -> str:
        clean = [path for path in self._files if path not in set(self._touched)]
        told = [f"SELECT * FROM {scan(clean)}"] if clean else []
        if self._touched:
            told.append(
                f"SELECT * FROM {scan(self._touched)} WHERE trace_id NOT IN "
                f"(SELECT trace_id FROM {scan([self._extra])} WHERE row = 'trace')"
            )
        if self._extra:
            told.append(f"SELECT * FROM {scan([self._extra])}")
        return " UNION ALL ".join(told)

    def _own_columns(self) -> Iterator[str]:
        taken = set(OF_TRACES)
        for name in sorted(self._own):
            column = base = _NO_COLUMN.sub("_", name)
            number = 1
            while column.lower() in taken:
                number += 1
                column = f"{base}_{number}"
            taken.add(column.lower())
            value = f"own[{quoted(name)}]"
            if name.startswith(_OUTCOME):
                key = quoted(name.removeprefix(_OUTCOME))
                value = f"CASE WHEN map_contains(said, {key}) THEN said[{key}].value ELSE {value} END"
            yield f'CAST({value} AS {own_type(self._own[name])}) AS "{column}"'


def _shown(column: str) -> str:
    return _MADE_OF.get(column, f'"{column}"')


def _loaded(traces: Iterable[bytes], load: Callable[[bytes], Trace], maker: RowMaker) -> Iterator[TraceRows]:
    for trace in traces:
        try:
            yield maker.rows(load(trace), "some")
        except TraceNotFound:  # erased meanwhile
            continue
        except CorruptRecord:
            yield maker.lost(trace)
