"""A store in a bucket, on a real S3 server: recorded to, read by others, and never trusted more than it was found to deserve."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

import runtime
from benchmarks import workload
from console.app import main
from runtime.errors import RuntimeMisuse
from storage import keys
from storage.log import Log
from storage.objects.contract import StoreRefused, StoreUnavailable, StoreUnsuitable
from storage.objects.probe import STANDING
from storage.objects.s3_settings import S3Settings
from storage.opening import Settings, open_store
from storage.sealer import Sealer
from tests.buckets import AGENT, KEY, Bucket, Gate, always, eventually, never, puts, until
from tests.s3_proxy import Proxy, answer, lose_reply, proxying, reset
from tests.seaweed import BUCKET, Seaweed, rclone_server, seaweed_server
from tests.test_storage_log import TRACE, put_run

__all__ = ("rclone_server", "seaweed_server")

ROOT = Path(__file__).parent.parent
OTHER_KEY = "77" * 32


@pytest.fixture
def bucket(seaweed: Seaweed, tmp_path: Path) -> Bucket:
    return Bucket(seaweed, tmp_path)


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with proxying(seaweed.port) as made:
        yield made


# recorded here, read there


def test_what_one_process_records_another_reads_replays_and_scores(bucket: Bucket, backend: str) -> None:
    with bucket.kitchen(backend=backend, durable="stored") as cook:
        runs = [cook.run(AGENT, text) for text in ("one", "two", "three")]
        assert [run.durable for run in runs] == ["stored"] * 3
        assert bucket.waiting() == []
        with bucket.kitchen("two", backend=backend) as guest:
            guest.register(AGENT)
            assert {line.trace_id for line in guest.list()} == {run.trace_id for run in runs}
            for run in runs:
                found = guest.open(run.trace_id[:12])
                assert (found.output, found.status) == (run.output, "ok")
                assert guest.replay(run.trace_id).certificate.proved
            guest.feedback(runs[0].trace_id, csat=1)
        assert cook.open(runs[0].trace_id).attributes["outcome.csat"] == 1
        assert [line.trace_id for line in cook.list(where="outcome.csat = 1")] == [runs[0].trace_id]
        report = cook.check(full=True)
        assert (report.ok, report.whole) == (True, 6)
    for key in bucket.packs():
        named = keys.parse_pack(key)
        assert named is not None
        assert named.hour in {keys.hour_of(bytes.fromhex(run.trace_id)) for run in runs}


def test_two_processes_on_two_spools_see_each_others_packs_as_they_come(bucket: Bucket) -> None:
    with bucket.kitchen("one", durable="stored") as one, bucket.kitchen("two", durable="stored") as two:
        for number in range(3):
            for mine, other in ((one, two), (two, one)):
                run = mine.run(AGENT, f"text {number}")
                assert other.open(run.trace_id).output == run.output
        assert len(one.list()) == len(two.list()) == 6


def test_a_trace_lies_under_its_own_hour_and_what_is_said_of_it_later_beside_it(bucket: Bucket) -> None:
    told = Settings(s3=S3Settings(**bucket.s3), key=KEY, spool=str(bucket.folder / "old"))
    store = open_store(bucket.url, create=True, settings=told)
    log = Log(store, sealer=Sealer(store))
    put_run(log, TRACE)
    assert log.close(30)
    store.close()
    hour = keys.hour_prefix(keys.hour_of(TRACE))
    assert [key.startswith(hour) for key in bucket.packs()] == [True]

    with bucket.kitchen() as kitchen:
        now = kitchen.run(AGENT, "now").trace_id  # one record file, traces of two hours
        kitchen.feedback(TRACE.hex(), csat=5)

    assert len(bucket.packs(hour)) == 2
    assert len(bucket.packs()) == 3
    assert bucket.waiting() == []
    with bucket.kitchen("two") as guest:
        assert guest.open(now).status == "ok"
        assert guest.open(TRACE.hex()).attributes["outcome.csat"] == 5
        assert guest.check(full=True).ok


def test_runs_that_wait_for_the_store_share_a_write_to_it(bucket: Bucket, proxy: Proxy) -> None:
    bucket.endpoint = proxy.endpoint

    async def record(kitchen: runtime.Runtime) -> list[runtime.Run[str]]:
        gate = Gate()
        runs: list[runtime.Run[str]] = []

        async def run(text: str) -> None:
            runs.append(await kitchen.arun(AGENT, text))

        await kitchen.arun(AGENT, "warm")  # makes the store
        before = len(puts(proxy))
        always(proxy, gate.spoil)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "first")
            await until(lambda: gate.held)
            for number in range(24):
                tasks.start_soon(run, f"text {number}")
            log = kitchen.log
            assert log is not None
            await until(lambda: len(log._wanted) == 24)
            gate.opened.set()
        never(proxy)
        assert len(puts(proxy)) - before == 2
        return runs

    with bucket.kitchen(durable="stored") as kitchen:
        runs = anyio.run(record, kitchen)
        assert {run.durable for run in runs} == {"stored"}
    with bucket.kitchen("two") as guest:
        assert len(guest.list()) == 26


@pytest.mark.parametrize("durable", ["batched", "committed"])
def test_a_run_that_does_not_wait_is_stored_once_its_file_was_sealed(bucket: Bucket, durable: Any) -> None:
    with bucket.kitchen(durable=durable, seal_seconds=0.3) as kitchen:
        run = kitchen.run(AGENT, "text")
        assert run.durable == durable
        eventually(lambda: run.durable == "stored")
        assert len(bucket.packs()) == 1
        later = kitchen.run(AGENT, "later")
        assert later.durable == durable
        assert run.durable == "stored"
    assert later.durable == "stored"


# keys


def test_the_first_use_makes_a_key_and_prints_it_once(
    bucket: Bucket, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KITCHENLOG_KEY", raising=False)
    with bucket.kitchen(key=None) as kitchen:
        trace = kitchen.run(AGENT, "text").trace_id
        kitchen.run(AGENT, "more")
    (key,) = re.findall(r"KITCHENLOG_KEY=([0-9a-f]{64})\n", capfd.readouterr().err)
    assert key.encode() not in everything(bucket)

    with (
        bucket.kitchen("two", key=None) as guest,
        pytest.raises(runtime.StoreError, match=r"give key=\.\.\., set KITCHENLOG_KEY, or name a key_file in kitchenlog.toml"),
    ):
        guest.open(trace)
    with bucket.kitchen("two", key=None) as guest, pytest.raises(runtime.StoreError, match="give key="):
        guest.run(AGENT, "text")
    monkeypatch.setenv("KITCHENLOG_KEY", key)
    with bucket.kitchen("two", key=None) as guest:
        assert guest.open(trace).status == "ok"
        assert guest.run(AGENT, "text").output
    assert "new store" not in capfd.readouterr().err


def test_a_key_that_is_made_for_an_object_store_is_printed_too(
    bucket: Bucket, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KITCHENLOG_KEY", raising=False)
    with runtime.Runtime(bucket.objects(), spool=bucket.folder / "one") as kitchen:
        trace = kitchen.run(AGENT, "text").trace_id
    (key,) = re.findall(r"KITCHENLOG_KEY=([0-9a-f]{64})\n", capfd.readouterr().err)
    with bucket.kitchen("two", key=key) as guest:
        assert guest.open(trace).status == "ok"


def everything(bucket: Bucket) -> bytes:
    """All that is stored, names too."""
    store = bucket.objects()
    found = b"".join(one.key.encode() + store.get(one.key, 2**26) for one in store.list(""))
    store.close()
    return found


def test_a_wrong_key_is_refused_by_who_reads_and_by_who_writes(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket.kitchen() as kitchen:
        trace = kitchen.run(AGENT, "text").trace_id
    before = bucket.stored()
    for how in ("argument", "variable"):
        if how == "variable":
            monkeypatch.setenv("KITCHENLOG_KEY", OTHER_KEY)
        with bucket.kitchen("two", key=OTHER_KEY if how == "argument" else None) as guest:
            calls: list[Callable[[], object]] = [
                functools.partial(guest.open, trace), functools.partial(guest.run, AGENT, "text"),
                functools.partial(guest.feedback, trace, csat=1),
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(runtime.StoreError, match=r"the store at s3://.* was made with") as refused:
                    call()
                assert OTHER_KEY not in str(refused.value)
    for none in ("", "5e", "zz" * 32, f"{KEY}00"):
        with bucket.kitchen("two", key=none) as guest, pytest.raises(runtime.StoreError, match="is no key: it holds 64"):
            guest.open(trace)
    assert bucket.stored() == before


def test_a_project_names_its_bucket_and_its_key_file(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KITCHENLOG_KEY", raising=False)
    project = bucket.folder / "project"
    (project / "deep").mkdir(parents=True)
    (project / "kitchenlog.toml").write_text(
        f'store = "{bucket.url}"\nkey_file = "secret.key"\nspool = "waits"\n'
        f'[s3]\nendpoint = "{bucket.server.endpoint}"\nregion = "us-east-1"\nprofile = "cook"\npath_style = true\n'
    )
    monkeypatch.chdir(project / "deep")
    with runtime.Runtime(durable="stored") as kitchen:
        assert kitchen.place == bucket.url
        run = kitchen.run(AGENT, "text")
        assert run.durable == "stored"
    key = project / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
    assert {file.name for file in (project / "waits").iterdir()} == {".gitignore", made_id(bucket)}
    with runtime.Runtime() as again:
        assert again.open(run.trace_id).output == run.output
    key.rename(project / "elsewhere")
    with runtime.Runtime() as again, pytest.raises(runtime.StoreError, match=r"secret\.key is missing"):
        again.open(run.trace_id)
    with runtime.Runtime() as again, pytest.raises(runtime.StoreError, match=r"secret\.key is missing"):
        again.run(AGENT, "text")
    assert not key.exists(), "a new key would be no key of this store"


def test_the_command_reads_and_tends_a_bucket(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITCHENLOG_KEY", KEY)
    with bucket.kitchen() as kitchen:
        traces = [kitchen.run(AGENT, text).trace_id for text in ("one", "two")]
    told = bucket.s3
    (bucket.folder / "kitchenlog.toml").write_text(
        f'[s3]\nendpoint = "{told["endpoint"]}"\nregion = "us-east-1"\nprofile = "cook"\npath_style = true\n'
    )
    monkeypatch.chdir(bucket.folder)

    def command(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["--store", bucket.url, *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert all(trace[:8] in command("list") for trace in traces)
    assert json.loads(command("show", traces[0], "--json"))["trace_id"] == traces[0]
    assert "2 traces: 2 whole" in command("check", "--full")
    assert json.loads(command("seal", "--json")) == {"sealed": [], "kept": []}
    monkeypatch.setenv("KITCHENLOG_KEY", OTHER_KEY)
    refused = CliRunner().invoke(main, ["--store", bucket.url, "list"])
    assert refused.exit_code != 0
    assert "was made with" in " ".join(refused.output.split())


def made_id(bucket: Bucket) -> str:
    store = bucket.objects()
    told = json.loads(store.get("store.json", 9999))
    store.close()
    assert told["checked"] == [
        "reading", "absence", "put-if-absent", "range reads", "tail reads", "listing", "time", "deletion"
    ]  # fmt: skip
    return str(told["id"])


@pytest.mark.parametrize("wrong", [{"endpoint": "no url"}, {"bucket": "b"}, {"deadline": 0}])
def test_settings_that_are_none_are_refused_in_words(wrong: dict[str, Any]) -> None:
    with pytest.raises(RuntimeMisuse, match="settings of s3 are endpoint, region, profile"):
        runtime.Runtime("s3://bucket/prefix", s3=wrong)


# who and what is refused


@pytest.mark.parametrize("profile", ["wrong-secret", "unknown"])
def test_wrong_credentials_are_refused_and_told_to_nobody(
    bucket: Bucket, profile: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with bucket.kitchen() as kitchen:
        trace = kitchen.run(AGENT, "text").trace_id
    bucket.settings["profile"] = profile
    with bucket.kitchen("two") as stranger:
        for call in (lambda: stranger.open(trace), lambda: stranger.run(AGENT, "text"), stranger.list):
            with pytest.raises(StoreRefused, match="HTTP 403") as refused:
                call()
            assert "secret" not in str(refused.value)
            assert KEY not in str(refused.value)
    assert "secret" not in "".join(capfd.readouterr()).replace(profile, "")


def test_who_may_only_read_reads_and_is_refused_as_a_writer(bucket: Bucket) -> None:
    with bucket.kitchen() as kitchen:
        run = kitchen.run(AGENT, "text")
    bucket.settings["profile"] = "reader"
    with bucket.kitchen("two") as reader:
        assert reader.open(run.trace_id).output == run.output
        assert len(reader.list()) == 1
        assert reader.check(full=True).ok
        with pytest.raises(StoreRefused, match="s3:PutObject"):
            reader.run(AGENT, "text")
        with pytest.raises(StoreRefused, match="s3:PutObject"):
            reader.feedback(run.trace_id, csat=1)


@pytest.mark.parametrize("existing", [False, True], ids=["a new store", "an existing store"])
def test_a_server_that_ignores_conditional_writes_is_refused_at_start(bucket: Bucket, rclone: str, *, existing: bool) -> None:
    if existing:
        with bucket.kitchen() as kitchen:
            kitchen.run(AGENT, "text")
        good, bad = bucket.objects(), Bucket(bucket.server, bucket.folder, bucket.prefix, rclone)
        copied = open_objects(bad)
        for one in good.list(""):
            assert copied.put_new(one.key, good.get(one.key, 2**26))
        good.close()
        copied.close()
    bucket.endpoint = rclone
    with bucket.kitchen("two") as kitchen:
        for _ in range(2):
            with pytest.raises(StoreUnsuitable, match="put-if-absent is missing: a second write to a key was taken"):
                kitchen.run(AGENT, "text")
        assert kitchen.log is None
    assert bucket.waiting("two") == []


def open_objects(bucket: Bucket) -> Any:
    from storage.objects.s3 import S3ObjectStore

    return S3ObjectStore(BUCKET, bucket.prefix, S3Settings(**bucket.s3))


def test_each_process_that_writes_asks_again_and_who_reads_does_not(bucket: Bucket, proxy: Proxy) -> None:
    with bucket.kitchen() as kitchen:
        trace = kitchen.run(AGENT, "text").trace_id
    bucket.endpoint = proxy.endpoint
    with bucket.kitchen("two") as guest:
        guest.open(trace)
        assert not [one for one in proxy.seen if one.method == "PUT"]
        guest.run(AGENT, "text")
    asked = [one.path for one in proxy.seen if one.method == "PUT" and STANDING in one.path]
    assert len(asked) == 2


# a store that fails, and is back


def test_a_server_that_is_killed_loses_nothing_that_was_stored(seaweed: Seaweed, tmp_path: Path) -> None:
    bucket = Bucket(seaweed, tmp_path, settings={"deadline": 30.0})
    stored: dict[str, str] = {}

    async def record(kitchen: runtime.Runtime) -> None:
        ended = False

        async def work(cook: int) -> None:
            number = 0
            while not ended:
                number += 1
                run = await kitchen.arun(AGENT, f"text {cook} {number}")
                if run.durable == "stored":
                    stored[run.trace_id] = run.output

        async with anyio.create_task_group() as tasks:
            for cook in range(4):
                tasks.start_soon(work, cook)
            await until(lambda: len(stored) >= 20)
            await anyio.to_thread.run_sync(seaweed.kill)
            await anyio.sleep(0.3)
            before = len(stored)
            await anyio.to_thread.run_sync(seaweed.start)
            await until(lambda: len(stored) >= before + 10)
            ended = True

    with bucket.kitchen(durable="stored") as kitchen:
        anyio.run(record, kitchen)
    assert bucket.waiting() == []
    with bucket.kitchen("two") as guest:
        there = {line.trace_id: line.status for line in guest.list(limit=None)}
        assert set(stored) <= set(there)
        assert set(there.values()) == {"ok"}
        for trace in list(stored)[::7]:
            assert guest.open(trace).output == stored[trace]
        assert guest.check(full=True).ok


def test_while_the_store_is_out_of_reach_runs_go_on_and_the_next_process_sends_them(
    bucket: Bucket, proxy: Proxy, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket.hurry(proxy.endpoint, deadline=3.0, connect_timeout=0.5, read_timeout=1.0)
    with bucket.kitchen(seal_seconds=0.2) as kitchen:
        runs = [kitchen.run(AGENT, "before")]
        eventually(lambda: runs[0].durable == "stored")
        always(proxy, reset)
        for number in range(3):
            runs.append(kitchen.run(AGENT, f"text {number}"))
            assert runs[-1].output == f"TEXT {number} " * 120
            time.sleep(0.3)
        assert {run.durable for run in runs[1:]} == {"batched"}
        with pytest.raises(StoreUnavailable):
            kitchen.open(runs[1].trace_id)
    assert {run.durable for run in runs[1:]} == {"batched"}
    assert len(bucket.waiting()) >= 1
    assert "waits in" in capfd.readouterr().err
    never(proxy)
    for file in bucket.folder.rglob("*.log"):
        os.utime(file, (1, 1))

    with bucket.kitchen(durable="stored") as kitchen:
        kitchen.run(AGENT, "after")
        eventually(lambda: not bucket.waiting())
    with bucket.kitchen("two") as guest:
        assert {run.trace_id for run in runs} < {line.trace_id for line in guest.list()}
        assert guest.check(full=True).ok


def test_a_process_that_begins_while_the_store_is_out_of_reach_records_all_the_same(
    bucket: Bucket, proxy: Proxy, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket.hurry(proxy.endpoint, deadline=3.0, connect_timeout=0.5, read_timeout=1.0)
    with bucket.kitchen() as kitchen:
        runs = [kitchen.run(AGENT, "before")]
    always(proxy, reset)
    with bucket.kitchen("never here"), bucket.kitchen("never here") as stranger, pytest.raises(StoreUnavailable):
        stranger.run(AGENT, "who is it")
    with bucket.kitchen(key=OTHER_KEY) as stranger, pytest.raises(runtime.StoreError, match="was made with"):
        stranger.run(AGENT, "wrong key")
    with bucket.kitchen() as kitchen:
        runs.append(kitchen.run(AGENT, "meanwhile"))
        with pytest.raises(StoreUnavailable):
            kitchen.open(runs[1].trace_id)
    assert runs[1].durable == "batched"
    assert "What is recorded meanwhile waits in" in capfd.readouterr().err
    never(proxy)
    for file in bucket.folder.rglob("*.log"):
        os.utime(file, (1, 1))
    left = set(bucket.waiting())
    assert len(left) == 1
    with bucket.kitchen() as kitchen:
        runs.append(kitchen.run(AGENT, "after"))
        eventually(lambda: left.isdisjoint(bucket.waiting()))
    with bucket.kitchen("two") as guest:
        assert {line.trace_id for line in guest.list()} == {run.trace_id for run in runs}
        assert guest.check(full=True).ok


@pytest.mark.parametrize("what", ["another store", "a store that ignores conditions", "no store"])
def test_a_store_that_answers_late_is_asked_before_it_is_written_to(
    bucket: Bucket, proxy: Proxy, rclone: str, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket.hurry(proxy.endpoint, deadline=3.0, connect_timeout=0.5, read_timeout=1.0)
    with bucket.kitchen() as kitchen:
        kitchen.run(AGENT, "before")
    objects = bucket.objects()
    bad = Bucket(bucket.server, bucket.folder, bucket.prefix, rclone)
    copy = open_objects(bad)
    told = json.loads(objects.get("store.json", 9999))
    objects.close()
    if what != "no store":
        copy.put_new("store.json", json.dumps({**told, **({"id": "ab" * 16} if what == "another store" else {})}).encode())
    always(proxy, reset)
    with bucket.kitchen(seal_seconds=0.1) as kitchen:
        run = kitchen.run(AGENT, "meanwhile")
        proxy.upstream = int(rclone.rpartition(":")[2])
        never(proxy)
        eventually(lambda: "waits in" in capfd.readouterr().err.replace("meanwhile waits in", ""))
        assert run.durable == "batched"
    assert not list(copy.list("hot/"))
    copy.close()
    assert len(bucket.waiting()) == 1


@pytest.mark.parametrize("spoil", [lose_reply, answer(503, "SlowDown", "Please reduce your request rate."), reset])
def test_a_pack_whose_first_tries_fail_is_there_once(bucket: Bucket, proxy: Proxy, spoil: Any) -> None:
    bucket.hurry(proxy.endpoint, deadline=10.0, read_timeout=0.5)
    with bucket.kitchen(durable="stored") as kitchen:
        kitchen.run(AGENT, "warm")
        proxy.script = [spoil, spoil]
        run = kitchen.run(AGENT, "text")
        assert run.durable == "stored"
        assert proxy.script == []
        assert len(kitchen.list()) == 2
    assert len(bucket.packs()) == 2


def test_a_run_that_waits_for_a_store_that_does_not_answer_says_what_was_reached(bucket: Bucket, proxy: Proxy) -> None:
    bucket.hurry(proxy.endpoint, deadline=3.0, connect_timeout=0.5, read_timeout=1.0)
    with bucket.kitchen(durable="stored") as kitchen:
        kitchen.run(AGENT, "warm")
        always(proxy, reset)

        async def impatient() -> str:
            with anyio.move_on_after(3.5):
                await kitchen.arun(AGENT, "text")
            return "cancelled"

        assert anyio.run(impatient) == "cancelled"
        never(proxy)
        run = kitchen.run(AGENT, "later")
        assert run.durable == "stored"
        assert len(kitchen.list()) == 3


# one trace of a thousand


READER = """
import json, sys
import runtime
from tests.buckets import count_requests
url, options, trace, vectors = json.loads(sys.argv[1])
with runtime.Runtime(url, **options) as kitchen:
    store = kitchen._reading()
    client = store.objects._client()
    sent, sizes = count_requests(client), []
    client.meta.events.register("after-call.s3", lambda parsed, **_: sizes.append(parsed.get("ContentLength", 0)))
    if vectors is None:
        found = kitchen.open(trace).stored
    else:
        found = store.load(bytes.fromhex(trace), vectors=vectors)
    print(json.dumps([found.state, len(found.spans), sent, sum(sizes)]))
"""


def read_alone(bucket: Bucket, trace: str, *, vectors: bool | None) -> tuple[int, int, int]:
    """(lists, reads, bytes read) of a fresh process that loads a trace, or, for no word on vectors, opens it."""
    told = json.dumps([bucket.url, {"key": KEY, "s3": bucket.s3, "spool": str(bucket.folder / "none")}, trace, vectors])
    done = subprocess.run([sys.executable, "-c", READER, told], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    state, spans, sent, size = json.loads(done.stdout)
    assert (state, spans) == ("whole", 8)
    assert set(sent) == {"ListObjectsV2", "GetObject"}
    return sent["ListObjectsV2"], sent["GetObject"], size


@pytest.mark.timeout(240)
def test_one_trace_of_a_merged_thousand_is_two_range_reads(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    agent = workload.make()
    with bucket.kitchen(seal_bytes=2**30) as kitchen:
        traces = [
            kitchen.run(agent, workload.Turn(number, f"where is order {number * 31 % 9973}?")).trace_id for number in range(1000)
        ]
    objects = bucket.objects()
    packs = [one.size for one in objects.list("hot/") if one.key.endswith(".pack")]
    objects.close()
    extra = len(packs) - 1  # the hour may have turned meanwhile
    assert extra < 2
    few = [read_alone(bucket, trace, vectors=False) for trace in traces[::250]]
    most = [read_alone(bucket, trace, vectors=True) for trace in traces[::250]]
    opened = read_alone(bucket, traces[250], vectors=None)
    assert {lists for lists, _, _ in (*few, *most, opened)} == {1}
    assert max(reads for _, reads, _ in few) == 2
    assert max(reads for _, reads, _ in most) == opened[1] == 3
    with capsys.disabled():
        print(  # noqa: T201 - the figures are to be seen
            f"\n1,000 traces in {len(packs)} pack, {sum(packs) / 1000:,.0f} bytes each; (lists, reads, bytes) of a few: "
            f"{few} without the vector, {most} with it, {opened} opened"
        )
