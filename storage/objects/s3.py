"""Objects in a bucket of S3, or of a server that speaks its protocol and takes conditional writes.

Retries are ours alone (`storage.objects.attempts`): botocore makes one attempt, with short timeouts. A write is conditional
(`If-None-Match: *`), and where it is refused because an object is there, that one is compared: after a lost reply it is our own.
Credentials come from boto3's own chain when the first request is made; nothing here holds, prints or logs them.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import threading
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from storage.objects.attempts import Budget, Exhausted, TryAgain
from storage.objects.contract import (
    ObjectInfo,
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    StoreUnavailable,
    StoreUnsuitable,
    Tail,
    check_key,
    check_prefix,
    check_range,
    is_key,
)
from storage.objects.s3_failures import Meaning, failure_of
from storage.objects.s3_settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

__all__ = ("S3ObjectStore",)

T = TypeVar("T")

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*(?:/[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*)*\Z")
_MAX_PREFIX: Final = 400
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")
_CONNECTIONS: Final = 32
_CHUNK: Final = 2**20


class S3ObjectStore:
    """See `storage.objects.contract.ObjectStore`. Makes no request before it is asked for something.

    Args:
        bucket: its name. It is not made.
        prefix: what every key in it begins with, without the slash between.
        settings: how it is reached.

    Raises:
        ValueError: no bucket has that name, or no prefix is written so.
    """

    def __init__(self, bucket: str, prefix: str = "", settings: S3Settings | None = None) -> None:
        prefix = prefix.strip("/")
        if not _BUCKET.match(bucket):
            raise ValueError(f"{bucket!r} is no name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'")
        if prefix and (not _PREFIX.match(prefix) or len(prefix) > _MAX_PREFIX):
            raise ValueError(
                f"{prefix!r} is no prefix: segments of A-Z, a-z, 0-9 and '._=+@-' joined by '/', none begins with '.', "
                f"at most {_MAX_PREFIX} characters"
            )
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._settings = S3Settings() if settings is None else settings
        self._budget = Budget(self._settings.deadline)
        self._place = f"s3://{bucket}/{prefix}".rstrip("/")
        self._process = 0
        self._made: S3Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3ObjectStore({self._place!r}, {self._settings!r})"

    def put_new(self, key: str, data: bytes) -> bool:
        """See `ObjectStore`."""
        name = self._prefix + check_key(key)
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": name, "Body": data, "IfNoneMatch": "*"}
        told = self._settings
        chosen = {"ServerSideEncryption": told.encryption, "SSEKMSKeyId": told.kms_key, "StorageClass": told.storage_class}
        request |= {field: value for field, value in chosen.items() if value is not None}

        def put() -> bool:
            try:
                self._ask("put_new", key, lambda s3: s3.put_object(**request))
                return True
            except _Answer:
                pass
            try:
                return self._get(key, "put_new", len(data)) == data
            except ObjectTooLarge:
                return False
            except ObjectNotFound:
                raise TryAgain("an object was said to be there, and then was not") from None

        return self._spend("put_new", key, put)

    def get(self, key: str, limit: int) -> bytes:
        """See `ObjectStore`."""
        check_key(key)
        return self._spend("get", key, lambda: self._get(key, "get", limit))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ObjectStore`."""
        check_key(key)
        check_range(start, length)

        def get() -> bytes:
            try:
                return self._part("get_range", key, f"bytes={start}-{start + length - 1}", length, start).data
            except _Answer:
                return b""

        return self._spend("get_range", key, get)

    def get_tail(self, key: str, length: int) -> Tail:
        """See `ObjectStore`."""
        check_key(key)
        check_range(0, length)

        def get() -> Tail:
            try:
                return self._part("get_tail", key, f"bytes=-{length}", length, None)
            except _Answer:
                # Only an empty object has no last byte.
                return Tail(b"", 0)

        return self._spend("get_tail", key, get)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore`. A deadline is for each thousand."""
        check_prefix(prefix)
        found: list[ObjectInfo] = []
        token = ""
        while True:
            page = self._page(prefix, token)
            for one in page.get("Contents", ()):
                key = one["Key"].removeprefix(self._prefix)
                if is_key(key):
                    found.append(ObjectInfo(key, one["Size"], one["LastModified"].astimezone(dt.UTC)))
            before, token = token, page.get("NextContinuationToken", "")
            if not page.get("IsTruncated"):
                break
            if not token or token == before:
                raise StoreUnsuitable("listing", self._place, "it says that there is more, and not where")
        # Not every server lists by bytes: SeaweedFS goes folder by folder.
        return iter(sorted(found, key=lambda one: one.key))

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        name = self._prefix + check_key(key)
        try:
            self._spend(
                "delete", key, lambda: self._ask("delete", key, lambda s3: s3.delete_object(Bucket=self._bucket, Key=name))
            )
        except ObjectNotFound:
            return

    def now(self) -> dt.datetime:
        """See `ObjectStore`. The server's clock, to the second.

        Raises:
            StoreUnsuitable: its answers tell no time.
        """
        answer = self._spend("now", "", lambda: self._ask("now", "", lambda s3: s3.head_bucket(Bucket=self._bucket)))
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(told).astimezone(dt.UTC)
        except ValueError:
            raise StoreUnsuitable("time", self._place, f"its answers are dated {told[:40]!r}") from None

    def close(self) -> None:
        """See `ObjectStore`."""
        made, self._made = self._made, None
        if made is not None and self._process == os.getpid():
            made.close()

    def _page(self, prefix: str, token: str) -> dict[str, Any]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if token:
            request["ContinuationToken"] = token
        work: Callable[[S3Client], Any] = lambda s3: s3.list_objects_v2(**request)  # noqa: E731
        return cast("dict[str, Any]", self._spend("list", prefix, lambda: self._ask("list", prefix, work)))

    def _get(self, key: str, operation: str, limit: int) -> bytes:
        def read(s3: S3Client) -> bytes:
            answer = s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
            if answer["ContentLength"] > limit:
                answer["Body"].close()
                raise ObjectTooLarge(key, answer["ContentLength"], limit)
            return _body(key, answer, limit)

        return self._ask(operation, key, read)

    def _part(self, operation: str, key: str, wanted: str, length: int, start: int | None) -> Tail:
        """A range of an object, checked against what the server says that it is."""

        def read(s3: S3Client) -> Tail:
            answer = s3.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=wanted)
            told = _CONTENT_RANGE.match(answer.get("ContentRange", ""))
            first, last, size = map(int, told.groups()) if told else (-1, -1, -1)
            begin = max(size - length, 0) if start is None else start
            if told is None or first != begin or last != min(begin + length, size) - 1:
                answer["Body"].close()
                raise StoreUnsuitable(
                    "range reads",
                    self._place,
                    f"asked for {wanted}, it answered {answer.get('ContentRange', 'with the whole')!r}",
                )
            data = _body(key, answer, length)
            if len(data) != last - first + 1:
                raise TryAgain(f"{len(data):,} bytes came of {last - first + 1:,}")
            return Tail(data, size)

        return self._ask(operation, key, read)

    def _spend(self, operation: str, key: str, work: Callable[[], T]) -> T:
        try:
            return self._budget.spend(work)
        except Exhausted as error:
            spent = error
        raise StoreUnavailable(operation, key, self._place, spent.attempts, spent.seconds, spent.last)

    def _ask(self, operation: str, key: str, work: Callable[[S3Client], T]) -> T:
        """One attempt.

        Raises:
            TryAgain: another may be answered.
            _Answer: an object is there already, or has none of the bytes.
        """
        try:
            return work(self._client())
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
        # Outside of the handler: botocore's error, signed strings and all, is not even the context of ours.
        if failure.meaning is Meaning.AGAIN:
            raise TryAgain(failure.text)
        if failure.meaning is Meaning.ABSENT:
            raise ObjectNotFound(key, self._place)
        if failure.meaning is Meaning.REFUSED:
            raise StoreRefused(operation, key, self._place, failure.text)
        raise _Answer(failure.text)

    def _client(self) -> S3Client:
        """This process's client. Its connections may not be used by two processes, so a forked child makes its own."""
        if self._process != os.getpid():
            self._made, self._lock = None, threading.Lock()  # a thread of the parent may have held the old one
            self._process = os.getpid()
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._made or self._make_client()
        return made

    def _make_client(self) -> S3Client:
        import boto3.session
        from botocore.config import Config

        told = self._settings
        config = Config(
            connect_timeout=told.connect_timeout,
            read_timeout=told.read_timeout,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=_CONNECTIONS,
            s3={"addressing_style": "path" if told.path_style else "auto"},
            tcp_keepalive=True,
        )
        session = boto3.session.Session(profile_name=told.profile, region_name=told.region)
        return cast("S3Client", session.client("s3", endpoint_url=told.endpoint, config=config))


class _Answer(Exception):
    """A condition or a range that the server turned down: the caller knows what it means."""


def _body(key: str, answer: GetObjectOutputTypeDef, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    # To its empty end, where botocore checks the length and the checksum.
    while part := answer["Body"].read(_CHUNK):
        size += len(part)
        if size > limit:
            answer["Body"].close()
            raise ObjectTooLarge(key, size, limit)
        parts.append(part)
    return b"".join(parts)
