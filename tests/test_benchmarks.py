"""What the benchmarks stand on, at a small size: that what they measure is what they say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import runtime
from benchmarks import million
from storage.ids import trace_seconds

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
    hours = {
        dt.datetime.fromtimestamp(trace_seconds(bytes.fromhex(each.trace_id)), tz=dt.UTC).strftime("%Y%m%dT%H") for each in listed
    }
    assert hours == {folder.name for folder in (tmp_path / "store" / "hot").iterdir()}
    assert max(hours) == dt.datetime.fromtimestamp(NEWEST, tz=dt.UTC).strftime("%Y%m%dT%H")


def test_opening_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    made = million.build(tmp_path / "store", traces=300, hours=2)

    for digits in (32, million.PREFIX):
        imported, opened = million.opening(tmp_path / "store", made.ids[-1][:digits])
        assert 0 < opened < 30 > imported > 0
