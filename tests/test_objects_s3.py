"""S3 itself: a real server that is killed, spoiled replies, credentials that are wrong, conditions that are ignored."""

from __future__ import annotations

import contextlib
import itertools
import logging
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.objects.contract import (
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    StoreUnavailable,
    StoreUnsuitable,
)
from storage.objects.probe import PROBE_PREFIX, probe
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings
from tests.s3_proxy import (
    Proxy,
    Spoil,
    after,
    answer,
    cut,
    delayed,
    drip,
    flip,
    lose_reply,
    proxying,
    reset,
    reset_in_body,
    stall,
)
from tests.seaweed import BUCKET, PROFILES, STRANGERS, Seaweed, free_ports, rclone_server, seaweed_server

__all__ = ("rclone_server", "seaweed_server")

ROOT = Path(__file__).parent.parent
NUMBER = itertools.count()
SLOW_DOWN = answer(503, "SlowDown", "Please reduce your request rate.")


def open_store(settings: S3Settings) -> S3ObjectStore:
    return S3ObjectStore(BUCKET, f"s3/{next(NUMBER)}", settings)


@pytest.fixture
def store(seaweed: Seaweed) -> Iterator[S3ObjectStore]:
    made = open_store(seaweed.settings())
    yield made
    made.close()


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with proxying(seaweed.port) as made:
        yield made


@pytest.fixture
def proxied(seaweed: Seaweed, proxy: Proxy) -> Iterator[S3ObjectStore]:
    """With timeouts that a test can wait for."""
    made = open_store(seaweed.settings(endpoint=proxy.endpoint, deadline=6.0, connect_timeout=0.5, read_timeout=0.5))
    yield made
    made.close()


# what is refused


@pytest.mark.parametrize("profile", sorted(STRANGERS))
def test_wrong_credentials_are_refused_at_once_and_told_to_nobody(
    seaweed: Seaweed, profile: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "storage")
    store = open_store(seaweed.settings(profile=profile))
    began = time.monotonic()
    for call in (lambda: store.get("k", 1), lambda: store.put_new("k", b""), lambda: store.list(""), store.now):
        with pytest.raises(StoreRefused, match="HTTP 403") as refused:
            call()
        told = "".join(traceback.format_exception(refused.value)) + repr(store) + repr(vars(refused.value)) + caplog.text
        assert refused.value.__context__ is None
        for secret in itertools.chain(*STRANGERS.values(), *PROFILES.values()):
            assert secret not in told
    assert time.monotonic() - began < 5
    store.close()


def test_who_may_only_read(seaweed: Seaweed, store: S3ObjectStore) -> None:
    store.put_new("k", b"x")
    reader = S3ObjectStore(BUCKET, repr(store).split("'")[1].removeprefix(f"s3://{BUCKET}/"), seaweed.settings(profile="reader"))
    assert reader.get("k", 1) == b"x"
    with pytest.raises(StoreRefused, match=r"AccessDenied \(HTTP 403\).*s3:PutObject") as refused:
        reader.put_new("l", b"x")
    assert (refused.value.operation, refused.value.key) == ("put_new", "l")
    reader.close()


def test_a_bucket_that_is_not_there(seaweed: Seaweed) -> None:
    store = S3ObjectStore("no-such-bucket", "", seaweed.settings())
    for call in (lambda: store.get("k", 1), lambda: store.put_new("k", b""), lambda: store.list(""), lambda: store.delete("k")):
        with pytest.raises(StoreRefused, match=r"NoSuchBucket.*make the bucket"):
            call()
    with pytest.raises(StoreRefused, match="404"):
        store.now()
    store.close()


def test_no_credentials_and_no_profile(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreRefused, match="the-other"):
        open_store(seaweed.settings(profile="the-other")).get("k", 1)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreRefused, match="no credentials were found"):
        open_store(seaweed.settings(profile=None)).get("k", 1)


def test_an_answer_that_is_not_of_s3_is_no_absence(proxied: S3ObjectStore, proxy: Proxy) -> None:
    page = answer(404, body=b"<html>no such page</html>")
    for call in (lambda: proxied.get("k", 1), lambda: proxied.get_tail("k", 1), lambda: proxied.delete("k")):
        proxy.script[:] = [page]
        with pytest.raises(StoreRefused, match="404"):
            call()


def test_a_server_that_takes_no_ranges(proxied: S3ObjectStore, proxy: Proxy) -> None:
    calls: list[Callable[[], object]] = [lambda: proxied.get_range("k", 5, 10), lambda: proxied.get_tail("k", 10)]
    for call, told in itertools.product(calls, ("bytes 0-9/20", "bytes 0-14/20", "bytes 0-19/20", "bytes 5-14/*", "5-14", None)):
        proxy.script[:] = [
            answer(200, body=bytes(20)) if told is None else answer(206, body=bytes(20), **{"content-range": told})
        ]
        with pytest.raises(StoreUnsuitable, match="range reads"):
            call()


def test_a_server_that_tells_no_time(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxy.script[:] = [answer(200, date="yesterday")]
    with pytest.raises(StoreUnsuitable, match=r"time is missing.*'yesterday'"):
        proxied.now()


def test_what_a_server_says_is_one_printable_line(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxy.script[:] = [answer(400, "Odd", "a&#13;&#10;INFO forged \u202e" + "x" * 5000)]
    with pytest.raises(StoreRefused) as refused:
        proxied.get("k", 1)
    assert "forged" in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


# faults on the way


@pytest.mark.parametrize(
    "spoil",
    [
        SLOW_DOWN, answer(500, "InternalError"), answer(503, body=b"<html>busy"), answer(409, "ConditionalRequestConflict"),
        answer(429, "TooManyRequests"), reset, stall, lose_reply,
    ],
    ids=["slow down", "internal error", "no xml", "conflict", "too many", "reset", "stall", "lost reply"],
)  # fmt: skip
def test_every_call_is_asked_again(proxied: S3ObjectStore, proxy: Proxy, spoil: Spoil) -> None:
    for call, wanted in (
        (lambda: proxied.put_new("a/k", b"0123456789"), True),
        (lambda: proxied.get("a/k", 10), b"0123456789"),
        (lambda: proxied.get_range("a/k", 2, 3), b"234"),
        (lambda: proxied.get_tail("a/k", 3), (b"789", 10)),
        (lambda: [one.key for one in proxied.list("a/")], ["a/k"]),
        (lambda: proxied.now().year > 2000, True),
        (lambda: proxied.delete("a/k"), None),
    ):
        proxy.script[:] = [spoil]
        assert call() == wanted
        assert not proxy.script
    with pytest.raises(ObjectNotFound):
        proxied.get("a/k", 10)


def test_a_time_out_that_the_server_tells_is_asked_again(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxy.script[:] = [answer(400, "RequestTimeout", "Your socket connection to the server was not read from")]
    assert proxied.put_new("k", b"x") is True


@pytest.mark.parametrize("spoil", [cut, reset_in_body, flip, delayed(0.3)])
def test_a_body_that_comes_in_part_or_wrong_is_never_taken(proxied: S3ObjectStore, proxy: Proxy, spoil: Spoil) -> None:
    data = bytes(range(256)) * 1000
    proxied.put_new("k", data)
    proxy.script[:] = [spoil]
    assert proxied.get("k", len(data)) == data
    if spoil is flip:
        return  # a range has no checksum: whoever reads one has its own
    proxy.script[:] = [spoil]
    assert proxied.get_range("k", 1000, 100_000) == data[1000:101_000]
    proxy.script[:] = [spoil]
    assert proxied.get_tail("k", 100_000) == (data[-100_000:], len(data))


def test_a_lost_reply_is_resolved_by_what_is_there(proxied: S3ObjectStore, proxy: Proxy, store: S3ObjectStore) -> None:
    for spoil in (lose_reply, after(reset), after(stall), after(SLOW_DOWN)):
        key = f"k{len(proxy.seen)}"
        proxy.script[:] = [spoil]
        assert proxied.put_new(key, b"mine") is True
        assert [one.method for one in proxy.seen[-3:]] == ["PUT", "PUT", "GET"]
        assert proxied.get(key, 10) == b"mine"
        assert proxied.put_new(key, b"same") is False
        assert proxied.put_new(key, b"longer than it") is False
        assert proxied.put_new(key, b"mine") is True
    assert all(one.headers["if-none-match"] == "*" for one in proxy.seen if one.method == "PUT")


def test_a_lost_reply_and_another_writer(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxied.put_new("k", b"theirs")
    proxy.script[:] = [lose_reply]
    assert proxied.put_new("k", b"mine!!") is False
    assert proxied.get("k", 10) == b"theirs"


def test_an_object_that_is_deleted_while_it_is_compared(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxy.script[:] = [answer(412, "PreconditionFailed")]
    assert proxied.put_new("k", b"mine") is True
    assert [one.method for one in proxy.seen] == ["PUT", "GET", "PUT"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(SLOW_DOWN, r"SlowDown \(HTTP 503\): Please reduce"), (reset, "Connection"), (stall, "ReadTimeoutError")],
    ids=["slow down", "reset", "stall"],
)
def test_when_the_time_is_over_the_error_says_what_was_tried(seaweed: Seaweed, proxy: Proxy, spoil: Spoil, said: str) -> None:
    store = open_store(seaweed.settings(endpoint=proxy.endpoint, deadline=1.5, read_timeout=0.3))
    proxy.script = [spoil] * 1000
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=said) as refused:
        store.put_new("k", b"x")
    assert time.monotonic() - began < 2.0
    error = refused.value
    assert (error.operation, error.key) == ("put_new", "k")
    assert error.attempts == len(proxy.seen) >= 2
    assert error.seconds < 2.0
    assert f"put_new of k in {error.place} failed after {error.attempts} attempts in {error.seconds:.1f} s" in str(error)
    proxy.released.set()
    store.close()


def test_an_answer_that_drips_in_is_given_up_at_the_deadline(seaweed: Seaweed, proxy: Proxy, store: S3ObjectStore) -> None:
    proxied = open_store(seaweed.settings(endpoint=proxy.endpoint, deadline=1.0))
    proxied.put_new("k", bytes(1000))
    proxy.script = [drip]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no whole answer before the deadline"):
        proxied.get("k", 1000)
    assert 0.9 < time.monotonic() - began < 1.5
    proxied.close()


def test_a_server_that_is_not_there_is_named(seaweed: Seaweed) -> None:
    (port,) = free_ports(1)
    store = open_store(seaweed.settings(endpoint=f"http://127.0.0.1:{port}", deadline=0.5))
    with pytest.raises(StoreUnavailable, match=f"EndpointConnectionError.*127.0.0.1:{port}"):
        store.get("k", 1)


def test_a_listing_that_breaks_off_yields_nothing(proxied: S3ObjectStore, proxy: Proxy, store: S3ObjectStore) -> None:
    for number in range(3):
        proxied.put_new(f"k{number}", b"")
    proxy.script[:] = [answer(403, "AccessDenied")]
    with pytest.raises(StoreRefused):
        proxied.list("")
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    proxy.script[:] = [answer(200, body=page)]
    with pytest.raises(StoreUnsuitable, match="listing"):
        proxied.list("")


def test_an_object_over_the_limit_is_not_read(proxied: S3ObjectStore, proxy: Proxy) -> None:
    proxied.put_new("k", bytes(2**20))
    proxy.script[:] = [drip]
    began = time.monotonic()
    with pytest.raises(ObjectTooLarge, match="1,048,576"):
        proxied.get("k", 1000)
    assert time.monotonic() - began < 2.0


# what is asked of the server


def test_what_the_settings_become(seaweed: Seaweed, proxy: Proxy) -> None:
    settings = seaweed.settings(endpoint=proxy.endpoint, encryption="AES256", storage_class="GLACIER_IR")
    store = open_store(settings)
    assert store.put_new("k", b"0123456789")
    assert store.get_tail("k", 2) == (b"89", 10)
    put = proxy.seen[0].headers
    assert (put["x-amz-server-side-encryption"], put["x-amz-storage-class"]) == ("AES256", "GLACIER_IR")
    assert proxy.seen[0].path.startswith(f"/{BUCKET}/s3/")
    assert proxy.seen[1].headers["range"] == "bytes=-2"

    kms = open_store(seaweed.settings(endpoint=proxy.endpoint, encryption="aws:kms", kms_key="key-1", deadline=0.5))
    proxy.script = [answer(400, "KMS.NotFoundException", "no such key")]
    with pytest.raises(StoreRefused, match=r"KMS\.NotFoundException"):
        kms.put_new("k", b"x")
    put = proxy.seen[-1].headers
    assert put["x-amz-server-side-encryption"] == "aws:kms"
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    store.close()
    kms.close()


def test_more_than_a_page(seaweed: Seaweed, proxy: Proxy) -> None:
    store = open_store(seaweed.settings(endpoint=proxy.endpoint))
    keys = [f"many/{number % 7}/{number:05d}" for number in range(1100)]
    direct = S3ObjectStore(BUCKET, repr(store).split("'")[1].removeprefix(f"s3://{BUCKET}/"), seaweed.settings())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda key: direct.put_new(key, b""), keys))
    proxy.script = [SLOW_DOWN, lose_reply]
    assert [one.key for one in store.list("many/")] == sorted(keys)
    assert len(proxy.seen) == 4
    assert len(list(direct.list("many/3/"))) == len([key for key in keys if key.startswith("many/3/")])
    store.close()
    direct.close()


def test_what_is_not_ours_is_not_listed(seaweed: Seaweed, store: S3ObjectStore) -> None:
    import boto3.session

    client: Any = boto3.session.Session(profile_name="cook", region_name="us-east-1").client("s3", endpoint_url=seaweed.endpoint)
    prefix = repr(store).split("'")[1].removeprefix(f"s3://{BUCKET}/")
    for key in ("Upper", "with space", "folder/", "~x"):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}0/x", Body=b"")
    client.close()
    store.put_new("ours", b"x")
    assert [one.key for one in store.list("")] == ["ours"]


def test_a_server_in_the_cloud_is_reached_by_the_settings_alone() -> None:
    store = S3ObjectStore("a-bucket", "p", S3Settings(region="eu-central-1"))
    client = store._client()
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    config: Any = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (3.0, 10.0, 1)
    assert store._client() is client
    store.close()
    store.close()


def test_one_client_for_all_threads(store: S3ObjectStore) -> None:
    start = threading.Barrier(16)

    def make(_: int) -> int:
        start.wait(20)
        return id(store._client())

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(make, range(16)))) == 1


FORKS = """
import os, sys, threading
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings
settings = S3Settings(endpoint=sys.argv[2], region="us-east-1", profile="cook", path_style=True)
store = S3ObjectStore(sys.argv[1], "forked", settings)
assert store.put_new("before", b"x")
mine = id(store._client())
store._lock.acquire()  # as another thread may, at the moment of the fork
children = []
for number in range(3):
    pid = os.fork()
    if not pid:
        try:
            assert store._made is not None and store._process != os.getpid()
            work = [threading.Thread(target=store.put_new, args=(f"child{number}/{nth}", b"%d" % nth)) for nth in range(20)]
            for one in work: one.start()
            for one in work: one.join()
            assert all(store.get(f"child{number}/{nth}", 9) == b"%d" % nth for nth in range(20))
            assert store._process == os.getpid()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    children.append(pid)
for nth in range(50):
    assert store.put_new(f"parent/{nth}", b"%d" % nth)
    assert store.get(f"parent/{nth}", 9) == b"%d" % nth
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
assert id(store._client()) == mine
assert len(list(store.list("child"))) == 60
"""


def test_a_forked_child_makes_a_client_of_its_own(seaweed: Seaweed) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, BUCKET, seaweed.endpoint]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


AT_EXIT = """
import atexit, sys
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings
store = S3ObjectStore(sys.argv[1], "exit", S3Settings(endpoint=sys.argv[2], region="us-east-1", profile="cook", path_style=True))
store.put_new("early", b"x")
atexit.register(lambda: print(store.put_new("late", b"x")))
"""


def test_what_is_put_at_exit_is_put(seaweed: Seaweed) -> None:
    command = [sys.executable, "-c", AT_EXIT, BUCKET, seaweed.endpoint]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


# a server that ignores conditions


def test_the_probe_refuses_a_server_that_ignores_conditions(rclone: str, seaweed: Seaweed) -> None:
    store = open_store(seaweed.settings(endpoint=rclone))
    with pytest.raises(StoreUnsuitable, match="put-if-absent is missing: a second write to a key was taken") as refused:
        probe(store)
    assert refused.value.missing == "put-if-absent"
    assert list(store.list(PROBE_PREFIX)) == []
    store.close()


# a server that is killed


def test_nothing_acknowledged_is_lost_to_a_kill_of_the_server(seaweed: Seaweed) -> None:
    store = open_store(seaweed.settings(deadline=30.0))
    acknowledged: dict[str, bytes] = {}
    ended = threading.Event()

    def write(writer: int) -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            key, data = f"w{writer}/{number:04d}", bytes([writer]) * (1 + 977 * number % 20_000)
            assert store.put_new(key, data)
            acknowledged[key] = data

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, writer) for writer in range(4)]
        with contextlib.ExitStack() as stack:
            stack.callback(ended.set)
            wait_for(lambda: len(acknowledged) > 150)
            seaweed.kill()
            time.sleep(0.2)
            before = len(acknowledged)
            seaweed.start()
            wait_for(lambda: len(acknowledged) > before + 50)
        for one in writers:
            one.result(40)
    listed = {one.key: one.size for one in store.list("")}
    assert listed == {key: len(data) for key, data in acknowledged.items()}
    for key, data in acknowledged.items():
        assert store.get(key, len(data)) == data
    store.close()


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 40
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)
