"""What `kitchenlog query` prints: tables of a query's columns and rows."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import io
import json
import math
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.rows.beside import Rebuilt
from storage.rows.sql import Answer


def told(found: Answer) -> None:
    """What went before the answer and what it lacks, on standard error."""
    for text in (*found.damage, *filter(None, [found.unstored])):
        click.echo(f"kitchenlog: {text}", err=True)
    if found.made:
        click.echo(f"made the rows of {found.made:,} of {found.packs:,} packs", err=True)


def show(found: Answer) -> None:
    """A table for people."""
    out = Console(highlight=False)
    made = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for place, name in enumerate(found.columns):
        numbers = any(isinstance(row[place], (int, float, decimal.Decimal)) for row in found.rows)
        made.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in found.rows:
        made.add_row(*(Text(_text(value)) for value in row))
    out.print(made)
    count = len(found.rows)
    out.print(Text(f"{count:,} row{'s' if count != 1 else ''}", style="dim"))


def to_json(found: Answer) -> list[dict[str, Any]]:
    """Rows as JSON data.

    Raises:
        ValueError: two columns have one name.
    """
    twice = [name for place, name in enumerate(found.columns) if name in found.columns[:place]]
    if twice:
        raise ValueError(f"query: two columns are called {twice[0]}, and JSON has room for one: name them apart with AS")
    return [dict(zip(found.columns, map(_data, row), strict=True)) for row in found.rows]


def to_csv(found: Answer) -> str:
    """Rows as comma-separated values under their names; lists and maps as JSON, nothing for what is not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows([_cell(value) for value in row] for row in found.rows)
    return out.getvalue()


def rebuilt(made: Rebuilt) -> None:
    """What making all rows anew found."""
    for text in made.damage:
        click.echo(f"kitchenlog: {text}", err=True)
    click.echo(
        f"rows of {made.packs:,} packs: {made.same:,} were as they should be, {made.made:,} were missing, "
        f"{made.differed:,} differed, {made.removed:,} were of no pack"
    )


def _data(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return [_data(one) for one in value]
        case dict():
            return {str(key): _data(one) for key, one in value.items()}
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _cell(value: Any) -> Any:
    made = _data(value)
    if isinstance(made, (list, dict)):
        return json.dumps(made, ensure_ascii=False)
    return str(made).lower() if isinstance(made, bool) else made


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return str(_cell(value))
