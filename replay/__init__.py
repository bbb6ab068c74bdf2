"""Taking a recording apart: matching, minimal work, the plan, the certificate, the difference."""

from replay.blocked import Blocked
from replay.certificate import Certificate, Entry
from replay.plan import Plan
from replay.result import Replay
from replay.trace_diff import TraceDiff
from replay.verification import BadCertificate, Verification

__all__ = ("BadCertificate", "Blocked", "Certificate", "Entry", "Plan", "Replay", "TraceDiff", "Verification")
