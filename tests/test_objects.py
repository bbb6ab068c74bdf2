"""The object stores: one conformance suite over each, and what fails on purpose."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import StorageError, StoreError
from storage.objects.contract import (
    InvalidKey,
    ObjectNotFound,
    ObjectStore,
    StoreRefused,
    StoreUnavailable,
    StoreUnsuitable,
    check_key,
    check_prefix,
)
from storage.objects.faulty import Fault, FaultyObjectStore, script, seeded
from storage.objects.folder import FolderObjectStore
from storage.objects.locate import is_remote, locate
from storage.objects.memory import MemoryObjectStore
from storage.objects.probe import PROPERTIES, probe
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings
from storage.testing.object_store import BAD_KEYS, GOOD_KEYS, ObjectStoreTests
from tests.seaweed import BUCKET, Seaweed, seaweed_server

__all__ = ("seaweed_server",)

NUMBER = itertools.count()


class TestMemory(ObjectStoreTests):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryObjectStore()


class TestFolder(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FolderObjectStore(tmp_path / "objects", create=True)


class TestFaultyWithoutFaults(ObjectStoreTests):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return FaultyObjectStore(MemoryObjectStore())


class TestS3(ObjectStoreTests):
    @pytest.fixture
    def store(self, seaweed: Seaweed) -> Iterator[ObjectStore]:
        made = S3ObjectStore(BUCKET, f"conformance/Run={next(NUMBER)}", seaweed.settings())
        yield made
        made.close()


def test_an_unfinished_subclass_says_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match="override the fixture"):
        ObjectStoreTests.store.__wrapped__(ObjectStoreTests())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


# keys


def test_the_grammar_of_keys() -> None:
    for key in GOOD_KEYS:
        assert check_key(key) == key
        assert check_prefix(key) == key
        assert check_prefix(f"{key}/") == f"{key}/"
    for key in BAD_KEYS:
        with pytest.raises(InvalidKey, match="is no key of an object"):
            check_key(key)
    for odd in (None, 3, b"a", ["a"]):
        with pytest.raises(InvalidKey):
            check_key(odd)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(InvalidKey):
            check_prefix(odd)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_long_key_is_not_printed_whole() -> None:
    with pytest.raises(InvalidKey) as refused:
        check_key("x" * 100_000)
    assert len(str(refused.value)) < 400


# faulty


def test_a_call_that_fails_before_has_done_nothing() -> None:
    for fault, said in ((Fault.FAIL_BEFORE, "before it was done"), (Fault.SERVER_ERROR, "503")):
        store = FaultyObjectStore(MemoryObjectStore(), script(fault))
        with pytest.raises(StoreUnavailable, match=said) as refused:
            store.put_new("k", b"x")
        assert (refused.value.operation, refused.value.key, refused.value.attempts) == ("put_new", "k", 1)
        with pytest.raises(ObjectNotFound):
            store.get("k", 1)


def test_a_call_that_fails_after_has_done_it() -> None:
    store = FaultyObjectStore(MemoryObjectStore(), script(Fault.FAIL_AFTER, Fault.FAIL_AFTER, on="put_new"))
    with pytest.raises(StoreUnavailable, match="after it was done"):
        store.put_new("k", b"x")
    assert store.get("k", 1) == b"x"
    with pytest.raises(StoreUnavailable):
        store.put_new("k", b"y")
    assert store.put_new("k", b"x") is True
    assert store.put_new("k", b"y") is False
    assert [call.fault for call in store.calls if call.operation == "put_new"] == [Fault.FAIL_AFTER, Fault.FAIL_AFTER, None, None]


def test_slow_and_cut_calls() -> None:
    waited: list[float] = []
    plan = script(Fault.SLOW, Fault.CUT, Fault.CUT, Fault.CUT, Fault.CUT)
    store = FaultyObjectStore(MemoryObjectStore(), plan, slow_seconds=3.5, sleep=waited.append)
    assert store.put_new("k", b"0123456789")
    assert waited == [3.5]
    assert store.get("k", 10) == b"01234"
    assert store.get_range("k", 4, 4) == b"45"
    assert store.get_tail("k", 4) == (b"67", 10)
    assert len(list(store.list(""))) == 1
    assert store.get("k", 10) == b"0123456789"


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.FAIL_AFTER])
def test_every_operation_can_fail(fault: Fault) -> None:
    inner = MemoryObjectStore()
    inner.put_new("k", b"x")
    store = FaultyObjectStore(inner, lambda *_: fault)
    calls: list[Callable[[], object]] = [
        lambda: store.put_new("k", b""), lambda: store.get("k", 1), lambda: store.get_range("k", 0, 1), store.now,
        lambda: store.get_tail("k", 1), lambda: store.list(""), lambda: store.delete("k"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"after 1 attempt in 0\.0 s"):
            call()
    assert len(store.calls) == len(calls)
    store.close()


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> list[Fault | None]:
        store = FaultyObjectStore(MemoryObjectStore(), seeded(seed, dict.fromkeys(Fault, 0.1)), sleep=lambda _: None)
        for number in range(300):
            try:
                store.put_new(f"k{number % 7}", b"%d" % number)
            except StoreUnavailable:
                continue
        return [call.fault for call in store.calls]

    assert run(1) == run(1) != run(2)
    assert set(run(1)) == {None, *Fault}
    for rates in ({Fault.SLOW: -0.1}, {Fault.SLOW: 0.6, Fault.CUT: 0.6}):
        with pytest.raises(ValueError, match="probabilities"):
            seeded(1, rates)


# the probe


def lacking(missing: str) -> FaultyObjectStore:
    plans = {
        "put-if-absent": lambda operation, _: Fault.IGNORE_CONDITION if operation == "put_new" else None,
        "reading": lambda operation, _: Fault.CUT if operation == "get" else None,
        "range reads": lambda operation, _: Fault.CUT if operation == "get_range" else None,
        "tail reads": lambda operation, _: Fault.CUT if operation == "get_tail" else None,
    }
    return FaultyObjectStore(MemoryObjectStore(), plans[missing])


@pytest.mark.parametrize("missing", ["put-if-absent", "reading", "range reads", "tail reads"])
def test_the_probe_names_what_is_missing(missing: str) -> None:
    store = lacking(missing)
    with pytest.raises(StoreUnsuitable, match=missing) as refused:
        probe(store)
    assert refused.value.missing == missing
    assert missing in PROPERTIES
    assert list(store.list("")) == []


class Forgetful(MemoryObjectStore):
    """Deletes nothing."""

    def delete(self, key: str) -> None:
        pass


class Blind(MemoryObjectStore):
    """Lists nothing."""

    def list(self, prefix: str) -> Iterator[object]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(())


@pytest.mark.parametrize(("made", "missing"), [(Forgetful, "deletion"), (Blind, "listing")])
def test_the_probe_names_what_else_is_missing(made: type[MemoryObjectStore], missing: str) -> None:
    with pytest.raises(StoreUnsuitable) as refused:
        probe(made())
    assert refused.value.missing == missing


def test_a_probe_that_breaks_off_removes_what_it_wrote() -> None:
    whole = FaultyObjectStore(MemoryObjectStore())
    probe(whole)
    broken = 0
    for number in range(len(whole.calls)):
        inner = MemoryObjectStore()
        try:
            probe(FaultyObjectStore(inner, script(*[None] * number, Fault.FAIL_AFTER)))
        except StoreUnavailable:
            broken += 1
        assert list(inner.list("")) == []
    assert broken == len(whole.calls) - 3  # a read of what is absent says so before its reply can be lost


# places


def test_places(tmp_path: Path) -> None:
    folder = locate(tmp_path / "new", create=True)
    assert isinstance(folder, FolderObjectStore)
    assert folder.put_new("k", b"x")
    assert locate(str(tmp_path / "new")).get("k", 1) == b"x"

    settings = S3Settings(region="eu-central-1", storage_class="STANDARD_IA")
    bucket = locate("s3://my-bucket/Some/prefix_1/", settings=settings)
    assert repr(bucket) == f"S3ObjectStore('s3://my-bucket/Some/prefix_1', {settings!r})"
    assert repr(locate("S3://my-bucket")).startswith("S3ObjectStore('s3://my-bucket', ")
    assert is_remote("s3://b")
    assert not is_remote(tmp_path)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("gs://bucket/x", "objects are not kept in gs: give s3://bucket/prefix, or the path of a folder"),
        ("file:///srv/x", "objects are not kept in file"),
        ("https://bucket.s3.amazonaws.com/x", "objects are not kept in https"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:bucket", "s3://bucket/prefix"),
        ("s3:///x", "s3://bucket/prefix"),
        ("s3://bucket/x?y", "s3://bucket/prefix"),
        ("s3://B_d/x", "no name of a bucket"),
        ("s3://user:secret@bucket/x", "no name of a bucket"),
        ("s3://bucket/../x", "no prefix"),
        ("s3://bucket/" + "x" * 500, "no prefix"),
        ("", "no path of a folder"),
        ("a\0b", "no path of a folder"),
    ],
)
def test_what_is_no_place(place: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        locate(place)


def test_settings_for_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="settings given are for a bucket"):
        locate(tmp_path, settings=S3Settings())


def test_a_missing_folder_is_refused_and_never_an_empty_store(tmp_path: Path) -> None:
    store = locate(tmp_path / "not-mounted")
    calls: list[Callable[[], object]] = [
        lambda: store.put_new("k", b""), lambda: store.get("k", 1), lambda: store.list(""), lambda: store.list("a/b"),
        lambda: store.delete("k"), lambda: store.get_tail("a/b", 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreRefused, match="no such folder") as refused:
            call()
        assert isinstance(refused.value, StorageError)
    assert not (tmp_path / "not-mounted").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", "ftp://x"), ("endpoint", "x"), ("endpoint", "http://user:secret@x"), ("endpoint", "http://x?y"),
        ("encryption", "none"), ("kms_key", "k"), ("deadline", 0.0), ("connect_timeout", -1.0), ("read_timeout", 0.0),
    ],
)  # fmt: skip
def test_settings_that_are_none(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field) as refused:
        S3Settings(**{field: value})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert "secret" not in str(refused.value)
