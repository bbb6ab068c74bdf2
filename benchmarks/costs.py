"""What a million traces a day, kept for a year, cost a month on S3 in the class profile `instant`: arithmetic, line by line.

Nothing is measured here; sizes are those of docs/benchmarks.md. The steady state is counted: a year after the first trace.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import page

PRICES: Final = Path(__file__).parent / "s3_prices.toml"
AIM_DOLLARS: Final = 25
DAYS: Final = 30.4
"""In a month."""
_GB: Final = 10**9
_MB: Final = 10**6


class Traffic(NamedTuple):
    """What is assumed."""

    writers: int
    """Processes that record, each with a share of the traces, all day long."""
    pack_bytes: float
    """Of a trace in a merged pack."""
    log_bytes: float = 30_000
    """Of a trace in the log: what makes a log reach 8 MB."""
    row_bytes: float = 180
    """Of a trace's rows in the index: measured of the refund trace in packs of 280."""
    traces: int = 1_000_000
    """A day."""
    seal_bytes: int = 8_388_608
    seal_seconds: int = 60
    merged_bytes: int = 64 * _MB
    """Of a merged pack at most."""
    upload_bytes: int = 8 * _MB
    """A part of an upload: a request each, and two more to begin and to end."""
    unmerged_hours: int = 2
    """How long small packs are there: their hour, and until they may be deleted."""
    unmerged_factor: float = 2.2
    """Bytes of a trace in a pack of seven traces over those in a merged one, at most."""
    hot_days: int = 7
    kept_days: int = 365
    opened: int = 1000
    """Traces opened a day, half of them older than the hot days, each with its vectors."""
    opened_bytes: int = _MB
    """Read to open one."""
    queries: int = 100
    """A day over the rows of the hot days: every row object is read once, whole."""


class Line(NamedTuple):
    """One line of the bill."""

    what: str
    how: str
    dollars: float


def lines(traffic: Traffic, prices: dict[str, Any]) -> Iterator[Line]:
    """The bill of a month."""
    hot, cold = prices["standard"], prices["glacier_instant"]
    packs = sealed(traffic)
    hours = 24 * DAYS

    def stored(what: str, how: str, size: float, price: dict[str, float]) -> Line:
        return Line(what, f"{how} = {size / _GB:,.1f} GB at ${price['gb_month']}", size / _GB * price["gb_month"])

    def asked(what: str, how: str, count: float, price: float) -> Line:
        return Line(what, f"{how} = {count:,.0f} at ${price} a thousand", count / 1000 * price)

    day = traffic.traces * traffic.pack_bytes
    yield stored("hot, Standard", f"{traffic.hot_days} days of {_size(day)}", traffic.hot_days * day, hot)
    small = (traffic.unmerged_factor * day * traffic.unmerged_hours) / 24
    how = f"{traffic.unmerged_hours} hours at {traffic.unmerged_factor} times the size"
    yield stored("hot, not merged yet, Standard", how, small, hot)
    days = traffic.kept_days - traffic.hot_days
    yield stored("warm and cold, Glacier Instant", f"{days} days of {_size(day)}", days * day, cold)
    rows = traffic.traces * traffic.row_bytes
    yield stored("index rows, Standard", f"{traffic.kept_days} days of {_size(rows)}", traffic.kept_days * rows, hot)
    yield asked("PUT of sealed packs", f"{packs:,.0f} a day", packs * DAYS, hot["put_1000"])
    yield asked("PUT of their rows", f"{packs:,.0f} a day, were all asked before they are merged", packs * DAYS, hot["put_1000"])

    hour = day / 24
    merged = math.ceil(hour / traffic.merged_bytes)
    requests = math.ceil(hour / traffic.upload_bytes) + 2 * merged
    yield asked(
        "merge of an hour: GET", f"{packs / 24:,.0f} packs and rows, {hours:,.0f} hours", 2 * packs * DAYS, hot["get_1000"]
    )
    how = f"{merged} packs in {requests} requests, {merged} of rows, a manifest; {hours:,.0f} hours"
    yield asked("merge of an hour: PUT", how, (requests + merged + 1) * hours, hot["put_1000"])
    how = f"{merged} packs in parts of 8 MB, {hours:,.0f} hours"
    yield asked("to Glacier Instant: GET", how, math.ceil(hour / traffic.upload_bytes) * hours, hot["get_1000"])
    how = f"{merged} packs in {requests} requests, a manifest; {hours:,.0f} hours"
    yield asked("to Glacier Instant: PUT", how, (requests + 1) * hours, cold["put_1000"])

    pages = math.ceil(2 * packs / 24 / 1000)
    how = f"{pages} for an hour's keys, for each merge and three for each trace opened"
    yield asked("LIST", how, pages * (hours + 3 * traffic.opened * DAYS), hot["put_1000"])
    half = traffic.opened * DAYS / 2
    yield asked("traces opened, hot: GET", f"{traffic.opened // 2} a day, 3 each", 3 * half, hot["get_1000"])
    yield asked("traces opened, cold: GET", f"{traffic.opened // 2} a day, 3 each", 3 * half, cold["get_1000"])
    read = half * traffic.opened_bytes / _GB
    how = f"{half:,.0f} of {_size(traffic.opened_bytes)} = {read:,.1f} GB at ${cold['retrieval_gb']}"
    yield Line("traces opened, cold: retrieval", how, read * cold["retrieval_gb"])
    objects = traffic.hot_days * 24 * merged
    how = f"{traffic.queries} queries a day of {objects:,} objects of rows"
    yield asked("index queries: GET", how, traffic.queries * objects * DAYS, hot["get_1000"])


def sealed(traffic: Traffic) -> float:
    """Packs a day: each writer seals at 8 MB of log or after 60 s, and once more where the hour changes."""
    share = traffic.traces / traffic.writers
    full = share * traffic.log_bytes / traffic.seal_bytes
    timed = min(86_400 / traffic.seal_seconds, share)
    return traffic.writers * (max(full, timed) + 24)


def total(traffic: Traffic, prices: dict[str, Any]) -> float:
    """Dollars a month."""
    return sum(line.dollars for line in lines(traffic, prices))


def _size(count: float) -> str:
    return f"{count / _GB:,.2f} GB" if count >= _GB else f"{count / _MB:,.1f} MB"


SIZES: Final = {
    "no vectors, boilerplate": 785.0,
    "no vectors, mixed": 1464.0,
    "no vectors, measured": 1600.0,
    "vectors, by hand": 6500.0,
    "vectors, measured": 7340.0,
}
WRITERS: Final = (1, 20, 100)
SHOWN: Final = "vectors, measured"


def report(prices: dict[str, Any]) -> str:
    """The totals for every size and number of writers, and one bill in full for each number of writers."""
    totals = [
        (f"{name}: {size:,.0f} bytes a trace", *(f"${total(Traffic(writers, size), prices):,.2f}" for writers in WRITERS))
        for name, size in SIZES.items()
    ]
    bills = {writers: list(lines(Traffic(writers, SIZES[SHOWN]), prices)) for writers in WRITERS}
    rows: list[tuple[str, ...]] = []
    for place, (what, how, _) in enumerate(bills[1]):
        rows.append((f"{what}: {how}", *(f"${bills[writers][place].dollars:,.2f}" for writers in WRITERS)))
    whole = {writers: sum(line.dollars for line in bill) for writers, bill in bills.items()}
    rows.append(("**sum**", *(f"**${whole[writers]:,.2f}**" for writers in WRITERS)))
    packs = ", ".join(f"{sealed(Traffic(writers, 0)):,.0f}" for writers in WRITERS)
    met = all(total(Traffic(1, size), prices) < AIM_DOLLARS for size in SIZES.values())
    heads = [f"{writers} writer{'s' if writers > 1 else ''}" for writers in WRITERS]
    return (
        f"Prices of {prices['date']} (`benchmarks/s3_prices.toml`); dollars a month at 1,000,000 traces a day,\n"
        "everything kept a year.\n\n"
        f"{page.table(['bytes a trace in a merged pack', *heads], totals)}\n\n"
        f"The aim, under ${AIM_DOLLARS} for one writer, is {'met' if met else 'missed'}. The last row in full; counts are\n"
        f"those of one writer. The writers seal {packs} packs a day. With packs sealed at 300 s instead of 60, 100 writers\n"
        f"would cost ${total(Traffic(100, SIZES[SHOWN], seal_seconds=300), prices):,.2f}.\n\n"
        f"{page.table(['line', *heads], rows)}"
    )


def main() -> None:
    """Write the section."""
    page.write("costs", report(load()))


def load() -> dict[str, Any]:
    """The price table."""
    return tomllib.loads(PRICES.read_text("utf-8"))
