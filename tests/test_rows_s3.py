"""Rows beside packs in a bucket: through the object store, and through nothing else."""

from __future__ import annotations

from pathlib import Path

import runtime
from runtime.sql import terms
from storage import keys
from storage.objects.s3 import S3ObjectStore
from storage.rows.beside import RowStore
from storage.rows.sql import Answer, answer
from storage.rows.trace import RowMaker
from tests.packed import killed, pack_up, store_of
from tests.seaweed import BUCKET, Seaweed, seaweed_server
from tests.test_query import agent

__all__ = ("seaweed_server",)


def ask(objects: S3ObjectStore, folder: Path, sql: str) -> Answer:
    store, maker = store_of(folder), RowMaker(terms())
    with RowStore(objects, store.id, store.mac, maker) as beside:
        return answer(sql, beside, maker, loose=(), load=store.load, progress=lambda _done, _all: None)


def test_a_bucket_is_asked_as_a_folder_is(seaweed: Seaweed, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    packs: list[str] = []
    for _ in range(3):
        with killed(folder) as kitchen:
            for variant in "ABA":
                kitchen.run(agent, "x", attributes={"variant": variant})
        packs += pack_up(folder)
    objects = S3ObjectStore(BUCKET, "rows", seaweed.settings())
    for key in packs:
        assert objects.put_new(key, (folder / key).read_bytes())
    sql = "SELECT variant, name, count(*) FROM spans JOIN traces USING (trace_id) GROUP BY ALL ORDER BY ALL"

    first, second = ask(objects, folder, sql), ask(objects, folder, sql)

    assert first.rows == runtime.Runtime(folder).query(sql).rows == [
        ("A", "first", 6), ("A", "second", 6), ("B", "first", 3), ("B", "second", 3),
    ]  # fmt: skip
    assert (first.made, second.made, second.rows) == (3, 0, first.rows)
    assert [info.key for info in objects.list("hot/") if info.key.endswith(".parquet")] == sorted(map(keys.rows, packs))
    for key in map(keys.rows, packs):
        assert objects.get(key, 2**20) == (folder / key).read_bytes()
    objects.close()
