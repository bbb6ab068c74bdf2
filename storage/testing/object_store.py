"""The conformance suite of object stores.

    class TestMyStore(ObjectStoreTests):
        @pytest.fixture
        def store(self) -> Iterator[ObjectStore]:
            made = MyStore(...)
            yield made
            made.close()

Each test wants a store with nothing in it.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from storage.objects.contract import (
    MAX_KEY_LENGTH,
    MAX_SEGMENT_LENGTH,
    InvalidKey,
    ObjectNotFound,
    ObjectStore,
    ObjectTooLarge,
)
from storage.objects.probe import PROPERTIES, probe

__all__ = ("BAD_KEYS", "GOOD_KEYS", "ObjectStoreTests")

GOOD_KEYS: Final = (
    "a", "0", "store.json", "hot/2026-11-25t10/0123456789abcdef-000001.pack", "a/b/c/d/e/f/g/h", "_", "-", "a.b", "a-b", "con",
    "s" * MAX_SEGMENT_LENGTH, "/".join(["d" * 170] * 3),
)  # fmt: skip
BAD_KEYS: Final = (
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".a", "a/.b", "a..b", "A", "é", "a b", "a\\b",
    "a\0", "a\n", "a\nb", "%2e%2e", "~drafts", "a:b", "a?b", "a*", "\ud800", "s" * (MAX_SEGMENT_LENGTH + 1),
    "a/" * MAX_KEY_LENGTH + "a",
)  # fmt: skip
_LIMIT: Final = 2**24


class ObjectStoreTests:
    """What holds of every object store. A subclass, named `Test...`, gives the fixture `store`."""

    @pytest.fixture
    def store(self) -> object:
        """An empty store; overridden."""
        raise NotImplementedError("override the fixture `store` with one that gives an empty store")

    def test_it_satisfies_the_contract(self, store: ObjectStore) -> None:
        """It has the methods."""
        assert isinstance(store, ObjectStore)

    @pytest.mark.parametrize("size", [0, 1, 1000, 2**20 + 1])
    def test_what_is_written_is_read(self, store: ObjectStore, size: int) -> None:
        """Byte for byte."""
        data = random.Random(size).randbytes(size)

        assert store.put_new("a/b", data) is True
        assert store.get("a/b", size) == data

    @pytest.mark.parametrize("size", [4 * 2**20 + 1, 9 * 2**20])
    def test_large_objects(self, store: ObjectStore, size: int) -> None:
        """Of more bytes than servers keep in one piece."""
        data = random.Random(size).randbytes(size)

        assert store.put_new("large", data)
        assert store.get("large", size) == data
        assert store.get_range("large", size // 2, 2**20) == data[size // 2 : size // 2 + 2**20]
        assert store.get_tail("large", 2**18) == (data[-(2**18) :], size)

    def test_a_second_write_is_refused_and_changes_nothing(self, store: ObjectStore) -> None:
        """Put-if-absent."""
        assert store.put_new("k", b"first") is True
        for other in (b"second", b"other", b"", b"first and longer"):
            assert store.put_new("k", other) is False
        assert store.get("k", 100) == b"first"

    def test_an_equal_object_counts_as_written(self, store: ObjectStore) -> None:
        """A lost reply looks the same."""
        for data in (b"equal", b""):
            assert store.put_new(f"k{len(data)}", data) is True
            assert store.put_new(f"k{len(data)}", data) is True

    def test_absent(self, store: ObjectStore) -> None:
        """Named, in every way of reading; also beside and under what is there."""
        store.put_new("there/too", b"x")
        reads: list[Callable[[str], object]] = [
            lambda key: store.get(key, 10),
            lambda key: store.get_range(key, 0, 10),
            lambda key: store.get_tail(key, 10),
        ]
        for read in reads:
            for key in ("none", "there", "there/to", "there/too/far", "none/at/all"):
                with pytest.raises(ObjectNotFound) as refused:
                    read(key)
                assert refused.value.key == key
                assert key in str(refused.value)

    def test_a_limit(self, store: ObjectStore) -> None:
        """An object of as many bytes is read; of one more, not."""
        store.put_new("k", bytes(1000))

        assert len(store.get("k", 1000)) == 1000
        for limit in (999, 1, 0):
            with pytest.raises(ObjectTooLarge) as refused:
                store.get("k", limit)
            assert (refused.value.key, refused.value.limit) == ("k", limit)

    def test_ranges(self, store: ObjectStore) -> None:
        """Short only at the end, and empty past it."""
        data = bytes(range(100))
        store.put_new("k", data)

        for start in (0, 1, 50, 98, 99, 100, 101, 1000):
            for length in (1, 2, 49, 50, 51, 99, 100, 101, 5000):
                assert store.get_range("k", start, length) == data[start : start + length], (start, length)

    def test_tails(self, store: ObjectStore) -> None:
        """With the size of the whole."""
        data = bytes(range(100))
        store.put_new("k", data)

        for length in (1, 2, 99, 100, 101, 5000):
            assert store.get_tail("k", length) == (data[-length:], 100)

    def test_reads_of_an_empty_object(self, store: ObjectStore) -> None:
        """It is there, and has nothing."""
        store.put_new("k", b"")

        assert store.get("k", 0) == b""
        assert store.get_range("k", 0, 10) == b""
        assert store.get_tail("k", 10) == (b"", 0)
        assert [(one.key, one.size) for one in store.list("")] == [("k", 0)]

    @pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 0), (0, -1)])
    def test_what_is_no_range(self, store: ObjectStore, start: int, length: int) -> None:
        """A caller's fault, told as one."""
        store.put_new("k", b"x")
        with pytest.raises(ValueError, match="no range"):
            store.get_range("k", start, length)
        if start == 0:
            with pytest.raises(ValueError, match="no range"):
                store.get_tail("k", length)

    def test_listing(self, store: ObjectStore) -> None:
        """By the start of the key, in the order of the keys' bytes."""
        # '-' and '.' sort before the slash, digits after it.
        keys = ["a-b/x", "a.b/x", "a/x", "a/x-1", "a/x.y", "a/x0", "a/y/z", "a0/x", "a_b/x", "aa/z", "ab", "b"]
        for key in reversed(keys):
            assert store.put_new(key, key.encode())

        assert [one.key for one in store.list("")] == sorted(keys)
        assert [(one.key, one.size) for one in store.list("a/")] == [
            (key, len(key)) for key in sorted(keys) if key.startswith("a/")
        ]
        for prefix in ("a", "a/x", "a/x-", "a/y", "a/y/", "a/y/z", "b", "ab", "a0/x"):
            assert [one.key for one in store.list(prefix)] == sorted(key for key in keys if key.startswith(prefix)), prefix
        for prefix in ("c", "a/y/z/", "b/", "a/x/y", "none/at/all/"):
            assert list(store.list(prefix)) == []

    def test_what_is_listed_is_dated_by_the_stores_clock(self, store: ObjectStore) -> None:
        """Within seconds, in UTC."""
        before = store.now()
        store.put_new("k", b"x")
        (one,) = store.list("")
        after = store.now()

        second = dt.timedelta(seconds=2)  # clocks here tell whole ones
        assert before - second <= one.modified <= after + second
        assert one.modified.utcoffset() == after.utcoffset() == dt.timedelta(0)

    def test_deleting(self, store: ObjectStore) -> None:
        """May be done twice, and makes the key free."""
        store.put_new("a/b", b"one")
        store.put_new("a/c", b"two")
        for _ in range(2):
            store.delete("a/b")
            with pytest.raises(ObjectNotFound):
                store.get("a/b", 10)
            assert [one.key for one in store.list("")] == ["a/c"]
        store.delete("never/was")
        assert store.put_new("a/b", b"three") is True
        assert store.get("a/b", 10) == b"three"

    def test_the_last_object_of_a_folder_and_one_more(self, store: ObjectStore) -> None:
        """A folder that is empty is no object, and does not stay in the way."""
        for data in (b"one", b"two"):
            assert store.put_new("a/b/c", data) is True
            store.delete("a/b/c")
            assert list(store.list("")) == []

    @pytest.mark.parametrize("key", GOOD_KEYS, ids=range(len(GOOD_KEYS)))
    def test_keys(self, store: ObjectStore, key: str) -> None:
        """The longest among them."""
        assert store.put_new(key, b"x") is True
        assert store.get(key, 1) == b"x"
        assert [one.key for one in store.list(key)] == [key]
        store.delete(key)
        assert list(store.list("")) == []

    def test_what_is_no_key(self, store: ObjectStore) -> None:
        """Refused before it is a path or a request."""
        calls: list[Callable[[str], object]] = [
            lambda key: store.put_new(key, b"x"),
            lambda key: store.get(key, 10),
            lambda key: store.get_range(key, 0, 10),
            lambda key: store.get_tail(key, 10),
            store.delete,
        ]
        for key in BAD_KEYS:
            for call in calls:
                with pytest.raises(InvalidKey):
                    call(key)
            if key and not key.endswith("/"):
                with pytest.raises(InvalidKey):
                    store.list(key)
        assert list(store.list("")) == []

    def test_racing_writers_of_one_key(self, store: ObjectStore) -> None:
        """Of 64, exactly one wins, and what is read is the winner's."""
        start = threading.Barrier(64)

        def write(number: int) -> bool:
            start.wait(30)
            return store.put_new("raced", b"%05d" % number)

        with ThreadPoolExecutor(64) as pool:
            won = [number for number, result in enumerate(pool.map(write, range(64))) if result]
        assert len(won) == 1
        assert store.get("raced", 10) == b"%05d" % won[0]

    def test_many_threads_on_keys_of_their_own(self, store: ObjectStore) -> None:
        """Nothing is lost or mixed up."""

        def work(number: int) -> None:
            for nth in range(10):
                key, data = f"t{number}/{nth}", bytes([number]) * 1000 + bytes([nth])
                assert store.put_new(key, data)
                assert store.get(key, 2000) == data
                assert store.get_tail(key, 1) == (bytes([nth]), 1001)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(list(store.list(""))) == 80

    def test_any_order_of_calls(self, store: ObjectStore) -> None:
        """Against a dict, which is assumed to be right."""
        chance, model = random.Random(7), dict[str, bytes]()
        keys = [f"{folder}/{name}" for folder in "ab" for name in ("x", "x-1", "y")]
        for _ in range(300):
            key, data = chance.choice(keys), chance.randbytes(chance.choice((0, 1, 7)))
            match chance.randrange(5):
                case 0 | 1:
                    assert store.put_new(key, data) is (model.setdefault(key, data) == data)
                case 2:
                    store.delete(key)
                    model.pop(key, None)
                case 3:
                    prefix = chance.choice(("", "a", "a/", "b/x", key))
                    wanted = sorted((one, len(held)) for one, held in model.items() if one.startswith(prefix))
                    assert [(one.key, one.size) for one in store.list(prefix)] == wanted
                case _ if key in model:
                    assert store.get(key, _LIMIT) == model[key]
                    assert store.get_tail(key, 3) == (model[key][-3:], len(model[key]))
                case _:
                    with pytest.raises(ObjectNotFound):
                        store.get(key, _LIMIT)

    def test_the_probe_finds_nothing_missing(self, store: ObjectStore) -> None:
        """And leaves nothing behind."""
        assert probe(store) == PROPERTIES
        assert list(store.list("")) == []

    def test_closing_twice(self, store: ObjectStore) -> None:
        """Does nothing more."""
        store.put_new("k", b"x")
        store.close()
        store.close()
