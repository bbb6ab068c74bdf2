"""kitchenlog: an agent runtime that writes everything down, so that any run can be replayed."""

from pathlib import Path as _Path

from runtime.shadowing import check as _check

_check(_Path(__file__).parent.parent)

from runtime._face import Runtime  # noqa: E402 - a shadowed package must be named before it is imported
from runtime.agent import Agent  # noqa: E402 - as above
from runtime.declaration import Retry, step  # noqa: E402 - as above
from runtime.default import (  # noqa: E402 - as above
    aaudit,
    acheck,
    adiff,
    aexport,
    afeedback,
    alist,
    amerge,
    aopen,
    aplan,
    aquery,
    areindex,
    areplay,
    arun,
    aseal,
    audit,
    averify,
    averify_certificate,
    check,
    configure,
    diff,
    export,
    feedback,
    list,
    merge,
    open,
    plan,
    query,
    register,
    reindex,
    replay,
    run,
    seal,
    verify,
    verify_certificate,
)
from runtime.effects import effect, is_effect  # noqa: E402 - as above
from runtime.entropy import Current, current  # noqa: E402 - as above
from runtime.errors import (  # noqa: E402 - as above
    BuildError,
    KitchenlogError,
    RecordedError,
    Refused,
    ReplayBlocked,
    RuntimeMisuse,
    UnknownAddress,
    UnknownAgent,
)
from runtime.graph import Graph  # noqa: E402 - as above
from runtime.listing import Listed  # noqa: E402 - as above
from runtime.live_run import Run  # noqa: E402 - as above
from runtime.node import Node  # noqa: E402 - as above
from runtime.recording import Recording  # noqa: E402 - as above
from storage.errors import AmbiguousTrace, CorruptRecord, InvalidId, StoreError, TraceNotFound  # noqa: E402 - as above
from storage.values import Erased, Opaque, Redacted, Vector  # noqa: E402 - as above

__all__ = (
    "Agent",
    "AmbiguousTrace",
    "BuildError",
    "CorruptRecord",
    "Current",
    "Erased",
    "Graph",
    "InvalidId",
    "KitchenlogError",
    "Listed",
    "Node",
    "Opaque",
    "RecordedError",
    "Recording",
    "Redacted",
    "Refused",
    "ReplayBlocked",
    "Retry",
    "Run",
    "Runtime",
    "RuntimeMisuse",
    "StoreError",
    "TraceNotFound",
    "UnknownAddress",
    "UnknownAgent",
    "Vector",
    "aaudit",
    "acheck",
    "adiff",
    "aexport",
    "afeedback",
    "alist",
    "amerge",
    "aopen",
    "aplan",
    "aquery",
    "areindex",
    "areplay",
    "arun",
    "aseal",
    "audit",
    "averify",
    "averify_certificate",
    "check",
    "configure",
    "current",
    "diff",
    "effect",
    "export",
    "feedback",
    "is_effect",
    "list",
    "merge",
    "open",
    "plan",
    "query",
    "register",
    "reindex",
    "replay",
    "run",
    "seal",
    "step",
    "verify",
    "verify_certificate",
)
