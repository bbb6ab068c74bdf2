"""What an answer of S3, or the lack of one, means.

Only text is kept of botocore's errors: they hold signed strings and key ids.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

__all__ = ("Failure", "Meaning", "failure_of")

_AGAIN_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_AGAIN_STATUSES: Final = frozenset({408, 409, 425, 429})
_HINTS: Final = {
    "AccessDenied": "the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there",
    "NoSuchBucket": "make the bucket, or name another",
    "RequestTimeTooSkewed": "set this machine's clock",
}
_SHOWN: Final = 300


class Meaning(enum.Enum):
    """What to do about a failure."""

    AGAIN = "again"
    """Ask again."""
    ABSENT = "absent"
    """There is no such object."""
    EXISTS = "exists"
    """There is one already."""
    NO_RANGE = "no range"
    """The object has no byte of the range."""
    REFUSED = "refused"
    """Asking again would not help."""


class Failure(NamedTuple):
    """Why a request failed, with nothing of its signature."""

    meaning: Meaning
    text: str
    headers: Mapping[str, str]


def failure_of(error: Exception) -> Failure | None:
    """What the error of a request means; None if it is not one that boto3 or a socket raises."""
    from botocore import exceptions as raised
    from botocore.parsers import ResponseParserError

    if isinstance(error, raised.ClientError):
        return _of_answer(cast("Mapping[str, Any]", error.response))
    if isinstance(error, raised.CredentialRetrievalError | raised.NoCredentialsError | raised.PartialCredentialsError):
        # A credential process's own output may be part of the error's text.
        return _refused(f"no credentials were found ({type(error).__name__}): set them for boto3 by profile, environment or role")
    if isinstance(error, raised.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _refused(f"{_printable(str(error))}: AWS_CA_BUNDLE names the certificates to trust")
    transient = (
        raised.HTTPClientError, raised.ConnectionError, raised.IncompleteReadError, raised.FlexibleChecksumError,
        ResponseParserError, OSError,
    )  # fmt: skip
    if isinstance(error, transient):
        return Failure(Meaning.AGAIN, f"{type(error).__name__}: {_printable(str(error))}", {})
    if isinstance(error, raised.BotoCoreError):
        return _refused(_printable(str(error)))
    return None


def _of_answer(response: Mapping[str, Any]) -> Failure:
    told, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    status, headers = int(metadata.get("HTTPStatusCode", 0)), metadata.get("HTTPHeaders", {})
    code = _printable(str(told.get("Code", "")))
    text = f"{code} (HTTP {status}): {_printable(str(told.get('Message', '')))}"
    if code == "NoSuchKey":
        return Failure(Meaning.ABSENT, text, headers)
    if status == 412:
        return Failure(Meaning.EXISTS, text, headers)
    if status == 416:
        return Failure(Meaning.NO_RANGE, text, headers)
    if status >= 500 or status in _AGAIN_STATUSES or code in _AGAIN_CODES:
        return Failure(Meaning.AGAIN, text, headers)
    # A 404 that is not S3's own, of a proxy say, among them: it tells nothing of the object.
    return _refused(f"{text}. {_HINTS[code]}" if code in _HINTS else text)


def _refused(text: str) -> Failure:
    return Failure(Meaning.REFUSED, text, {})


def _printable(text: str) -> str:
    """Text of a server: one line, no control characters, not long."""
    line = "".join(one if one.isprintable() else " " for one in text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
