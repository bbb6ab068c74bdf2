"""Telling, while a replay runs, what it proves of each address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from replay import difference
from replay.certificate import Entry
from replay.unknown import opaque
from runtime.recording import Call, Result, Span
from storage import codec

if TYPE_CHECKING:
    from replay.answers import Answers

_FINAL = frozenset({"diverged", "unreplayable"})
"""What was found once is not taken back by what a later evaluation of the same address finds."""


class Certifier:
    """The entries of a certificate in the making.

    Args:
        executed: the addresses whose code ran.
    """

    def __init__(self, executed: Mapping[str, Any]) -> None:
        self.entries: dict[str, Entry] = {}
        self.moved: set[str] = set()
        """Calls that another task made than in the recording."""
        self._executed = executed

    def enter(self, address: str, status: str, kind: str, reason: str = "") -> None:
        """Give an address its status."""
        known = self.entries.get(address)
        if known is None or known.status not in _FINAL:
            self.entries[address] = Entry(address, status, kind, reason)

    def enter_call(self, call: Call, status: str, reason: str = "") -> None:
        """Give a recorded call its status, with all that is below it."""
        if call.span is not None:
            self.enter_all(call.span, status, reason)
        else:
            self.enter(call.address, status, "effect", reason)

    def enter_all(self, span: Span, status: str, reason: str = "") -> None:
        """Give a recorded span its status, with all below it that did not run."""
        self.enter(span.address, status, "step", reason)
        for call in span.calls:
            if call.address not in self._executed:
                self.enter_call(call, status, reason)

    def enter_asked(self, answers: Answers) -> None:
        """The calls of a span that ran again because something was changed."""
        for asked in answers.asked:
            if not asked.effect:
                continue
            if asked.live:
                self.enter(asked.address, "live", "effect")
            elif asked.recorded is not None:
                self.enter(asked.address, "moved" if asked.address in self.moved else "reused", "effect")
            elif asked.unknown is not None:
                self.enter(asked.address, "unreplayable", "effect", opaque("its request", asked.unknown))
            else:
                self.enter(asked.address, "blocked", "effect", "no recorded answer")
        again = {asked.address for asked in answers.asked}
        for call in () if answers.recorded is None else answers.recorded.calls:
            taken = call.record in answers.used or call.record in answers.claimed
            if not taken and call.address not in self.entries and call.address not in again:
                self.enter_call(call, "dropped")

    def enter_rerun(
        self, address: str, why: str, answers: Answers, result: Result, recorded: Span | None, uncontrolled: str
    ) -> None:
        """A span that ran again because something was changed.

        Args:
            address: of the span.
            why: what was changed.
            answers: what it asked.
            result: what it gave.
            recorded: what it is compared with.
            uncontrolled: what keeps a change from being the effect of its input; nothing where a control run was equal.
        """
        if answers.refusals:
            status, reason = answers.refusals[0]
        elif (unknown := result.unknown) is not None:
            status, reason = "unreplayable", opaque("its output", unknown)
        elif recorded is not None and result.same(recorded.result):
            status, reason = "cut off", why
        elif recorded is None:
            status, reason = "swapped" if why == "swapped" else "added", why
        else:
            status, reason = why if why in {"swapped", "live"} else "changed", why
        told = [*([reason] if reason != status else []), *answers.reasons, *answers.deeds]
        if uncontrolled and status == "changed":
            told.append(uncontrolled)
        self.enter(address, status, "step", "; ".join(told))

    def certify(self, address: str, span: Span, answers: Answers, result: Result) -> None:
        """A span that ran again as it was recorded."""
        unasked = [
            call
            for call in span.calls
            if call.record not in answers.used and call.result is not None and call.result.status != "cancelled"
        ]
        for asked in answers.asked:
            if asked.unknown is not None:
                kind = "effect" if asked.effect else "step"
                self.enter(asked.address, "unreplayable", kind, opaque("its request", asked.unknown))
        for call in span.calls:
            if call.is_effect or call.record not in answers.used:
                moved = call.address in self.moved
                self.enter_call(call, "moved" if moved else "reused" if call.record in answers.used else "dropped")
        unknown = span.result.unknown or result.unknown
        if answers.refusals:
            status, reason = answers.refusals[0]
        elif unknown is not None and span.result.ok and result.ok:
            status, reason = "unreplayable", opaque("its output", unknown)
        elif result.digest != span.result.digest:
            status, reason = "diverged", "; ".join([_divergence(span.result, result), *answers.reasons])
            if answers.ambiguous:
                reason = f"reassigned: {answers.ambiguous} equal concurrent requests; {reason}"
        elif unasked:
            status, reason = "diverged", f"did not ask {unasked[0].address}, as the recording did"
        elif result.data is not None and (stand_in := codec.holds_opaque(result.data)) is not None:
            status, reason = "unreplayable", opaque("its output", stand_in)
        else:
            status, reason = "reproduced", "; ".join(answers.deeds)
        self.enter(address, status, "step", reason)


def _divergence(was: Result, now: Result) -> str:
    if was.ok and now.ok:
        return difference.first(was.value, now.value)
    return f"recorded {was.status} ({was.text}), now {now.status} ({now.text})"
