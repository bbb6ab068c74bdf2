"""What a row may say: columns and their types (docs/pack.md, section 8). Never text.

What a row says of attributes is data from above: this package knows no attribute by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import attrs

VERSION: Final = 1
"""Of the columns: rows of an older version are made anew, those of a newer one are refused."""

Type = Literal["integer", "number", "flag", "id", "ids", "numbers"]
SQL_TYPES: Final[dict[Type, str]] = {
    "integer": "BIGINT", "number": "DOUBLE", "flag": "BOOLEAN", "id": "VARCHAR", "ids": "VARCHAR[]", "numbers": "DOUBLE[]",
}  # fmt: skip

MAX_ID_LENGTH: Final = 128
MAX_OWN_LENGTH: Final = 64
_OWN: Final = re.compile(rf"[A-Za-z0-9._:/{{}}-]{{1,{MAX_OWN_LENGTH}}}\Z")
_EXACT: Final = 1 << 53
_BIGINT: Final = 1 << 63


class Declared(NamedTuple):
    """The column of an attribute."""

    column: str
    type: Type


@attrs.frozen
class Terms:
    """What the layer above knows, and rows are told in.

    Args:
        statuses: their names, by number.
        attributes: those of spans and effects that are columns, by stored name.
        address: of a call: (address of its span, attempt or None, name, lane, nth).
    """

    statuses: Sequence[str]
    attributes: Mapping[str, Declared]
    address: Callable[[str, int | None, str, str, int], str]

    def status(self, number: int) -> str:
        """The name of a status; one that is newer than this code has none."""
        return self.statuses[number] if 0 <= number < len(self.statuses) else "unknown"


_FIXED: Final[dict[str, str]] = {
    "row": "VARCHAR",
    "trace_id": "VARCHAR",
    "agent": "VARCHAR",
    "kind": "VARCHAR",
    "start": "TIMESTAMP",
    "duration": "BIGINT",
    "status": "VARCHAR",
    "error_type": "VARCHAR",
    "name": "VARCHAR",
    "address": "VARCHAR",
    "parent": "VARCHAR",
    "span_id": "VARCHAR",
    "attempt": "BIGINT",
    "attempts": "BIGINT",
    "side_effect": "BOOLEAN",
    "replay_of": "VARCHAR",
    "part": "VARCHAR",
    "own": "MAP(VARCHAR, VARCHAR)",
    "said": "MAP(VARCHAR, STRUCT(wall BIGINT, value VARCHAR))",
}
_COMMON: Final[tuple[str, ...]] = ("trace_id", "agent", "kind", "start", "duration_ms", "status", "error_type")
OF_TRACES: Final[tuple[str, ...]] = (*_COMMON, "replay_of")
OF_SPANS: Final[tuple[str, ...]] = (*_COMMON, "name", "address", "parent", "span_id", "attempts")
OF_EFFECTS: Final[tuple[str, ...]] = (*_COMMON, "name", "address", "parent", "attempt", "side_effect")


def schema(terms: Terms) -> dict[str, str]:
    """Every column of a rows object with its SQL type, in order."""
    return {**_FIXED, **{one.column: SQL_TYPES[one.type] for one in terms.attributes.values()}}


def cell(kind: Type, value: Any) -> Any:
    """A value of a declared attribute as JSON data for its column; None where it is not of the type."""
    match kind:
        case "integer":
            whole = int(value) if isinstance(value, float) and value.is_integer() else value
            return whole if type(whole) is int and -_BIGINT <= whole < _BIGINT else None
        case "number":
            return number(value)
        case "flag":
            return value if isinstance(value, bool) else None
        case "id":
            return _identifier(value)
        case "ids":
            return [_identifier(one) for one in value] if isinstance(value, list) else None
        case "numbers":
            return [number(one) for one in value] if isinstance(value, list) else None


def number(value: Any) -> float | str | None:
    """A number as JSON data. JSON has no word for those that are not finite, DuckDB has."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        made = float(value)
    except OverflowError:
        return None
    return made if math.isfinite(made) else "NaN" if math.isnan(made) else "Infinity" if made > 0 else "-Infinity"


def _identifier(value: Any) -> str | None:
    # Declared as an identifier: yet a whole document in its place is text, and stays out.
    return value if isinstance(value, str) and len(value) <= MAX_ID_LENGTH and value.isprintable() else None


def own(value: Any) -> tuple[Type, str] | None:
    """A value of a user's own attribute as type and text; None where it is text or anything else that no row holds."""
    if isinstance(value, bool):
        return "flag", "true" if value else "false"
    if isinstance(value, int):
        # What a float cannot hold is some identifier: as text it stays exact beside other numbers.
        return "integer" if -_EXACT <= value <= _EXACT else "id", str(value)
    if isinstance(value, float):
        return "number", repr(value)
    if isinstance(value, str) and _OWN.match(value):
        return "id", value
    return None


def own_type(found: set[Type]) -> str:
    """The SQL type of the column of an attribute whose values have these types."""
    if found == {"flag"}:
        return "BOOLEAN"
    if found == {"integer"}:
        return "BIGINT"
    return "DOUBLE" if found <= {"integer", "number"} else "VARCHAR"
