"""Microseconds a span over bare code: kitchenlog, the floor and the peers, one after another, round after round.

Every measurement is a process of its own that first times bare code (`benchmarks.measure`). The median of the rounds is shown.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import textwrap
from typing import Any, Final, NamedTuple

from benchmarks import environments, page
from benchmarks.refund import SPANS

TURNS: Final = 1000
ROUNDS: Final = 5


class Row(NamedTuple):
    """A system under test."""

    label: str
    module: str
    options: tuple[str, ...] = ()
    environment: str | None = None
    """Of a peer; None is this one."""


_LANGGRAPH: Final = "benchmarks.peers.langgraph_sqlite"
FLOOR: Final = "floor, `Vector`"
FLOOR_LIST: Final = "floor, `list[float]`"
ROWS: Final = (
    Row(FLOOR, "benchmarks.floor"),
    Row("kitchenlog, `Vector`", "benchmarks.recorder"),
    Row("kitchenlog, `Vector`, one step with timeout and retry", "benchmarks.recorder", ("--variant", "guarded")),
    Row("kitchenlog, `Vector`, until all is in packs", "benchmarks.recorder", ("--variant", "sealed")),
    Row("OpenTelemetry SDK to an OTLP file, base64 float32", "benchmarks.peers.otel", (), "otel"),
    Row(
        "LangGraph + SQLite, durability `exit`, bytes",
        "benchmarks.peers.langgraph_sqlite",
        ("--variant", "exit"),
        "langgraph_sqlite",
    ),
    Row(
        "LangGraph + SQLite, durability `async`, bytes",
        "benchmarks.peers.langgraph_sqlite",
        ("--variant", "async"),
        "langgraph_sqlite",
    ),
    Row(FLOOR_LIST, "benchmarks.floor", ("--list",)),
    Row("kitchenlog, `list[float]`", "benchmarks.recorder", ("--list",)),
    Row("OpenTelemetry SDK to an OTLP file, JSON list", "benchmarks.peers.otel", ("--list",), "otel"),
)


class Cost(NamedTuple):
    """Microseconds a span over bare code, but for the bytes."""

    request: float
    own: float
    """Processor time of the thread that runs the turns: the request path without its waiting for the interpreter lock."""
    synced: float
    cpu: float
    bytes: float
    """On disk, a trace."""


def once(row: Row, turns: int) -> dict[str, Any]:
    """One measurement, in a process of its own.

    Raises:
        CalledProcessError: the system did not keep what it was given, or cannot be run here.
    """
    python = sys.executable if row.environment is None else environments.python(row.environment)
    done = subprocess.run(
        [python, "-m", row.module, "--turns", str(turns), *row.options], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cost(found: dict[str, Any], turns: int) -> Cost:
    """What a measurement of so many turns came to."""
    request, own, synced, cpu = (found[what] / turns / SPANS * 1e6 for what in ("request", "own", "synced", "cpu"))
    return Cost(request, own, synced, cpu, found["bytes"])


def measure(turns: int, rounds: int) -> tuple[dict[str, list[Cost]], dict[str, str]]:
    """(every round's cost of every row, versions of what was measured).

    Raises:
        CalledProcessError: as `once`.
    """
    costs: dict[str, list[Cost]] = {row.label: [] for row in ROWS}
    versions: dict[str, str] = {}
    for environment in {row.environment: None for row in ROWS}:
        if environment is not None:
            environments.python(environment)
    for number in range(rounds):
        for row in ROWS:
            print(f"round {number + 1} of {rounds}: {row.label}", file=sys.stderr)
            found = once(row, turns)
            costs[row.label].append(cost(found, turns))
            versions.update(found["versions"])
    return costs, versions


def _middle(rounds: list[Cost]) -> Cost:
    return Cost(*(statistics.median(one[place] for one in rounds) for place in range(len(Cost._fields))))


def main(turns: int = TURNS, rounds: int = ROUNDS) -> None:
    """Measure, and write the section and the plot."""
    where = page.machine()
    costs, versions = measure(turns, rounds)
    middle = {label: _middle(found) for label, found in costs.items()}
    rows: list[list[str]] = []
    for label, taken in middle.items():
        floors = costs[FLOOR_LIST if "list" in label else FLOOR]
        pairs = list(zip(costs[label], floors, strict=True))
        spread = [one.synced for one in costs[label]]
        numbers = (taken.request, taken.own, taken.cpu, taken.bytes)
        request, own, cpu, size = (f"{one:,.1f}" if one < 100 else f"{one:,.0f}" for one in numbers)
        rows.append([
            label, request, own, f"{taken.synced:,.0f} ({min(spread):,.0f} to {max(spread):,.0f})",
            f"{statistics.median(one.synced / floor.synced for one, floor in pairs):.1f}", cpu,
            f"{statistics.median(one.cpu / floor.cpu for one, floor in pairs):.1f}", size,
        ])  # fmt: skip
    heads = [
        "microseconds a span over bare", "request path", "its CPU", "until synced", "floor = 1", "CPU of all threads",
        "floor = 1", "bytes a trace on disk",
    ]  # fmt: skip
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    page.write(
        "speed",
        f"Measured {where}.\n"
        f"Median of {rounds} rounds (in brackets the lowest and highest) of {turns:,} turns of {SPANS} spans\n"
        "run flat out, each in a process of its own, all rows in turn.\n"
        f"{textwrap.fill(f'Versions: {told}.', 120)}\n\n"
        f"{page.table(heads, rows)}\n\n"
        "![until synced, microseconds a span over bare](benchmarks.svg)",
    )
    _draw([(label.replace("`", ""), taken.synced, _colour(label)) for label, taken in middle.items()])


def _colour(label: str) -> str:
    return {"floor": "#9e9e9e", "kitchenlog": "#d95f02"}.get(label.partition(",")[0], "#7570b3")


def _draw(bars: list[tuple[str, float, str]]) -> None:
    told = {"title": "Until synced: microseconds a span over bare code", "bars": bars}
    python = environments.python("plot")
    drawn = subprocess.run(
        [python, "-m", "benchmarks.plot"], input=json.dumps(told), stdout=subprocess.PIPE, text=True, check=True
    )
    (page.DOCS / "benchmarks.svg").write_text(drawn.stdout, "utf-8")
