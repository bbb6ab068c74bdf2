"""What the benchmarks stand on, at a small size: that what they measure is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from benchmarks import costs, million, overload, page, speed
from benchmarks.costs import Traffic
from storage import keys

NEWEST = 1_790_000_000


def test_a_store_of_many_traces_is_whole_and_each_pack_lies_under_the_hour_of_its_traces(tmp_path: Path) -> None:
    made = million.build(tmp_path / "store", traces=600, hours=3, newest=NEWEST)
    with runtime.Runtime(tmp_path / "store") as kitchen:
        report = kitchen.check(full=True)
        one = kitchen.open(made.ids[0])
        again = kitchen.open(made.ids[0][: million.PREFIX])
        listed = kitchen.list(limit=600)

    assert (report.whole, report.findings) == (600, ())
    assert (one.agent, one.status, [*one.spans]) == ("million.turn", "ok", ["rewrite", "search", "answer"])
    assert one.output.startswith("where is order")
    assert one.duration_ms == pytest.approx(sum(span.duration_ms for span in one.spans.values()))
    assert again.trace_id == one.trace_id
    hours = {keys.hour_of(bytes.fromhex(each.trace_id)) for each in listed}
    assert hours == {folder.name for folder in (tmp_path / "store" / "hot").iterdir()}
    assert (len(hours), max(hours)) == (3, "20260921-14")


def test_opening_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    made = million.build(tmp_path / "store", traces=300, hours=2)

    for digits in (32, million.PREFIX):
        imported, opened = million.opening(tmp_path / "store", made.ids[-1][:digits])
        assert 0 < opened < 30 > imported > 0


def test_memory_is_flat_however_much_is_recorded(tmp_path: Path) -> None:
    outcome = overload.flat_out(tmp_path / "store", 3000)

    assert (outcome.sent, outcome.dropped) == (outcome.stored, 0)
    assert outcome.found == 3000
    assert max(outcome.tenths[5:]) - max(outcome.tenths[:5]) < 16e6, "45 MB were recorded in the second half"


def test_ten_times_more_than_the_disk_takes_is_counted_to_the_record_and_bounded(tmp_path: Path) -> None:
    disk = overload.SlowDisk(3e6)
    outcome = overload.overloaded(tmp_path / "store", 3000, a_second=1000, disk=disk, queue_bytes=2 << 20)
    with runtime.Runtime(tmp_path / "store") as kitchen:
        whole = {one.trace_id for one in kitchen.list(limit=3000) if one.status == "ok"}

    assert outcome.dropped > outcome.stored > 0
    assert outcome.sent == outcome.stored + outcome.dropped
    assert overload.records_on_disk(tmp_path / "store") == outcome.stored
    assert whole == {run.trace_id for run in outcome.runs if not run.durable.startswith("lost")}, (
        "none that lost a record is whole"
    )
    assert max(outcome.tenths) - outcome.before < 48e6, "90 MB were recorded"


def test_the_bill_adds_up() -> None:
    prices = costs.load()
    one = Traffic(writers=1, pack_bytes=7340)
    bill = {line.what: line.dollars for line in costs.lines(one, prices)}

    assert costs.total(one, prices) == pytest.approx(sum(bill.values()))
    assert costs.total(one, prices) < costs.AIM_DOLLARS
    assert bill["warm and cold, Glacier Instant"] == pytest.approx(358 * 1e6 * 7340 / 1e9 * 0.004)
    assert bill["hot, Standard"] == pytest.approx(7 * 1e6 * 7340 / 1e9 * 0.023)
    assert bill["PUT of sealed packs"] == pytest.approx((1e6 * 30_000 / 2**23 + 24) * 30.4 / 1000 * 0.005)
    assert costs.sealed(Traffic(writers=100, pack_bytes=1)) == 100 * (1440 + 24), "one a minute, and one an hour"
    assert costs.sealed(Traffic(writers=1, pack_bytes=1, traces=10)) == 10 + 24, "a day of ten traces"
    assert (
        costs.total(one._replace(pack_bytes=785), prices)
        < costs.total(one, prices)
        < costs.total(one._replace(writers=20), prices)
    )
    assert "is met" in costs.report(prices)


def test_every_section_of_the_page_is_there_and_every_peer_is_pinned() -> None:
    text = (page.DOCS / "benchmarks.md").read_text("utf-8")

    for section in ("speed", "overload", "million", "query", "costs"):
        assert text.count(f"<!-- {section}: ") == text.count(f"<!-- end of {section} -->") == 1
    for row in speed.ROWS:
        if row.environment is not None:
            pinned = Path("benchmarks", "peers", "requirements", f"{row.environment}.txt").read_text("ascii").splitlines()
            assert pinned
            assert all("==" in line for line in pinned)


@pytest.mark.parametrize(
    ("module", "options"), [("benchmarks.floor", ()), ("benchmarks.recorder", ("--list", "--variant", "guarded"))]
)
def test_a_system_is_measured_in_a_process_of_its_own_and_keeps_what_it_was_given(module: str, options: tuple[str, ...]) -> None:
    found = speed.once(speed.Row("it", module, options), 20)

    assert found["sent"] == found["stored"] > 20 * 15
    assert speed.cost(found, 20).bytes > 20_000
