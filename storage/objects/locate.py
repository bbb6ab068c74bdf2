"""From what a user writes to the object store meant."""

from __future__ import annotations

import os
import re
from typing import Final

from storage.errors import StoreError
from storage.objects.contract import ObjectStore
from storage.objects.folder import FolderObjectStore
from storage.objects.s3_settings import S3Settings

__all__ = ("is_remote", "locate")

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether the place is a bucket, and no folder."""
    return isinstance(place, str) and place.lower().startswith("s3:")


def locate(place: str | os.PathLike[str], *, settings: S3Settings | None = None, create: bool = False) -> ObjectStore:
    """The object store at a place. A bucket is asked nothing yet.

    Args:
        place: `s3://bucket/prefix`, or the path of a folder.
        settings: how the bucket is reached.
        create: make the folder if it is not there. A bucket is never made.

    Raises:
        StoreError: it names no place that objects can be kept in.
        StoreRefused: the folder cannot be made.
    """
    if is_remote(place):
        from storage.objects.s3 import S3ObjectStore  # noqa: PLC0415 - what keeps to a folder starts faster without

        told = re.match(r"(?i)s3://([^/?#]+)/?([^?#]*)\Z", str(place))
        if told is None:
            raise StoreError(f"{place} names no bucket: one is written s3://bucket/prefix")
        try:
            return S3ObjectStore(told[1], told[2], settings)
        except ValueError as error:
            raise StoreError(f"{place} names no bucket: {error}") from None
    if isinstance(place, str) and (told := _SCHEME.match(place)) is not None:
        raise StoreError(f"{place}: objects are not kept in {told[1]}: give s3://bucket/prefix, or the path of a folder")
    if not str(place) or "\0" in str(place):
        raise StoreError(f"{place!r} is no path of a folder")
    if settings is not None:
        raise StoreError(
            f"{place} is a folder, and the settings given are for a bucket: leave them out, or give s3://bucket/prefix"
        )
    return FolderObjectStore(place, create=create)
