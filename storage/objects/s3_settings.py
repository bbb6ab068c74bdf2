"""How a bucket is reached."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import attrs

__all__ = ("S3Settings",)


def _endpoint(_: object, __: object, value: str | None) -> None:
    if value is None:
        return
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("endpoint begins with http:// or https:// and names a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It is printed in errors.
        raise ValueError("endpoint holds no user, query or fragment: credentials are boto3's, by profile, environment or role")


def _kms_key(settings: S3Settings, __: object, value: str | None) -> None:
    if value is not None and settings.encryption != "aws:kms":
        raise ValueError("kms_key is for encryption='aws:kms'")


@attrs.frozen(kw_only=True)
class S3Settings:
    """How a bucket is reached and what objects in it are written as.

    Args:
        endpoint: URL of the server; None for AWS's own.
        region: name of the region; None for the profile's.
        profile: name of the profile in boto3's config and credentials files; None for boto3's own choice.
        encryption: how the server encrypts what is put; None for the bucket's default.
        kms_key: id of the key for "aws:kms"; None for the account's default.
        path_style: whether the bucket is in the path of a URL, not in its host.
        storage_class: of what is put, STANDARD_IA say; None for the bucket's default.
        deadline: seconds that one call may take, its retries included. A large object over a slow line needs more.
        connect_timeout: seconds for a connection.
        read_timeout: seconds between two bytes of an answer.
    """

    endpoint: str | None = attrs.field(default=None, validator=_endpoint)
    region: str | None = None
    profile: str | None = None
    encryption: Literal["AES256", "aws:kms"] | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.in_(("AES256", "aws:kms")))
    )
    kms_key: str | None = attrs.field(default=None, validator=_kms_key)
    path_style: bool = False
    storage_class: str | None = None
    deadline: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    connect_timeout: float = attrs.field(default=3.0, validator=attrs.validators.gt(0))
    read_timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
