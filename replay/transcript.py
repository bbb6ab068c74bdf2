"""A replay as a trace of its own, linked to the original.

Reused values are references into the original; only new values are stored.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import attrs
import msgspec

from replay.asked import Asked
from replay.certificate import Certificate, Issue
from replay.evaluation import Executed
from replay.result import Replay
from runtime import environment
from runtime.agent import Agent
from runtime.attributes import clean_attributes, clean_log
from runtime.failure import CANCELLED, STATUS
from runtime.manifest import describe_agent
from runtime.recorder import NODE_NESTED, root_span
from runtime.recording import Call, Recording, Result, Span
from storage import ids
from storage.log import Log
from storage.records import Kind


def write(replay: Replay, log: Log, agent: Agent[Any, Any]) -> str:
    """Record a replay: its trace id."""
    return _Writer(replay, log, agent).write()


def issued(certificate: Certificate, recording: Recording, agent: Agent[Any, Any], replay: str) -> Certificate:
    """A certificate of a replay that was recorded.

    Args:
        certificate: of the replay.
        recording: what was replayed.
        agent: what it was replayed with.
        replay: the trace of the replay.
    """
    made = Issue(
        replay, agent.name, agent.fingerprint.hex(), recording.fingerprint.hex(), recording.store_id, recording.mac.key_id.hex()
    )
    return attrs.evolve(certificate, issue=made, mac=recording.mac)


class _Writer:
    def __init__(self, replay: Replay, log: Log, agent: Agent[Any, Any]) -> None:
        self._replay, self._log, self._agent = replay, log, agent
        self._replayer = replay.replayer
        self._recording = replay.recording
        self._original = bytes.fromhex(self._recording.trace_id)
        self._known = _digests(self._recording.spans)
        self._manifest = log.shared((agent.name, agent.fingerprint), functools.partial(describe_agent, agent))
        self._sink = log.begin(ids.new_trace_id())
        replay.certificate = issued(replay.certificate, self._recording, self._agent, self._sink.trace_id.hex())

    def write(self) -> str:
        header = self._recording.stored.header
        now = time.time_ns()
        self._append(
            Kind.HEADER,
            (
                0, header.features, self._agent.name, self._agent.fingerprint, self._manifest,
                self._log.shared("environment", environment.encoded), now, header.seed, header.subject,
                dict(header.attributes or {}), None, self._value(self._recording.input), "replay",
            ),
        )  # fmt: skip
        self._append(Kind.LINK, ("replay.of", self._original, None))
        for spec in self._agent.nodes:
            self._node(spec.name, spec.index)
        # Without digests: they are for who carries it away, and can be made again.
        told = msgspec.msgpack.encode(attrs.evolve(self._replay.certificate, mac=None).to_json())
        self._append(Kind.ANNOTATION, ("certificate", now, told))
        result = self._replay.result
        status, data, error = (4, None, None) if result is None else (STATUS.index(result.status), self._of(result), result.error)
        self._append(Kind.SPAN, root_span(status, 0, now))
        self._append(Kind.END, (status, time.time_ns(), time.time_ns() - now, 0, data, error, 0))
        return self._sink.trace_id.hex()

    def _append(self, kind: Kind, fields: tuple[Any, ...]) -> int:
        number = self._sink.next_id()
        self._log.append(self._sink, int(kind), number, fields)
        return number

    def _value(self, data: bytes | None) -> Any:
        if data is None or len(data) < 512:
            return data
        digest = self._replayer.mac("value", data)
        return (self._original, digest) if digest in self._known else data

    def _of(self, result: Result) -> Any:
        return self._value(result.data)

    def _node(self, address: str, index: int) -> None:
        result = self._replayer.results.get(address)
        recorded = self._recording.spans.get(address)
        entry = self._replayer.entries.get(address)
        if result is None and (recorded is None or (entry is not None and entry.status == "dropped")):
            return
        if result is None and entry is not None and entry.status == "blocked":
            recorded = None  # what it gave then is not what it gives now
        self._span(address, index, 0, 0, result or (recorded.result if recorded else None), recorded)

    def _span(
        self,
        address: str,
        index: int,
        intent: int,
        completion: int,
        result: Result | None,
        recorded: Span | None,
    ) -> None:
        number = self._sink.next_id()
        executed = self._replayer.executed.get(address)
        stands = recorded is not None and (executed is None or result is recorded.result)
        if stands and recorded is not None:
            for call in recorded.calls:
                self._call(call, number)
        elif executed is not None:
            for place, asked in enumerate(executed.asked, 1):
                self._asked(asked, number, place)
        shown = result or Result("blocked", None, b"")
        fingerprint = executed.fingerprint if executed is not None else b"" if recorded is None else recorded.fingerprint
        start, took, wall, attributes, draws, log = _facts(recorded if stands else None, executed)
        if draws is None and recorded is not None:
            draws = recorded.record.draws  # its readings of the clock were answered from there
        findings = None if executed is None else executed.frame.findings
        attempts = recorded.record.attempts if stands and recorded is not None else _attempts(executed)
        self._log.append(
            self._sink,
            int(Kind.SPAN),
            number,
            (
                index, intent, ids.new_span_id(), start, took, STATUS.index(shown.status), self._of(shown), shown.error,
                attempts, attributes, draws, log, findings, fingerprint, completion, wall,
            ),
        )  # fmt: skip

    def _call(self, call: Call, parent: int) -> None:
        intent = call.intent
        number = self._append(
            Kind.INTENT,
            (
                parent, intent.call, intent.name, intent.attempt, intent.lane, intent.start, intent.nth, intent.time,
                self._value(call.request), intent.flags, intent.callee,
            ),
        )  # fmt: skip
        if call.span is not None:
            result = self._replayer.results.get(call.address) or call.span.result
            self._span(call.address, NODE_NESTED, number, call.completion, result, call.span)
        elif call.result is not None:
            self._outcome(number, call.completion, intent.time + call.duration_ns, call.result, call.attributes)

    def _asked(self, asked: Asked, parent: int, place: int) -> None:
        number = self._append(
            Kind.INTENT,
            (
                parent, 0 if asked.effect else 1, asked.name, asked.attempt, asked.lane, place, asked.nth, 0,
                self._value(asked.request), asked.flags, b"",
            ),
        )  # fmt: skip
        if asked.result is None:
            if (
                asked.effect and asked.recorded is not None
            ):  # it had an answer, and was cancelled before its turn: a race was lost
                self._outcome(number, place, 0, self._replayer.result(CANCELLED, None, None), {})
            return
        if asked.effect:
            told = asked.attributes if asked.recorded is None or asked.live else asked.recorded.attributes
            self._outcome(number, place, asked.duration_ns or 0, asked.result, told)
        else:
            span = None if asked.recorded is None else asked.recorded.span
            self._span(asked.address, NODE_NESTED, number, place, asked.result, span)

    def _outcome(self, intent: int, completion: int, ended: int, result: Result, attributes: dict[str, Any]) -> None:
        status = STATUS.index(result.status)
        self._append(
            Kind.OUTCOME,
            (intent, completion, ended, status, self._of(result), result.error, attributes or None, None),
        )


def _attempts(executed: Executed | None) -> list[tuple[int, int, int, Any]] | None:
    tries = None if executed is None else executed.frame.attempts
    # When they began is of no use: nothing was waited for between them.
    return [(0, took, status, error) for _, took, status, error in tries] if tries is not None and len(tries) > 1 else None


def _facts(recorded: Span | None, executed: Executed | None) -> tuple[int, int, int, Any, Any, Any]:
    if recorded is not None:
        record = recorded.record
        return record.start, record.duration, record.wall, record.attributes, record.draws, record.log
    if executed is None:
        return 0, 0, 0, None, None, None
    frame = executed.frame
    return 0, 0, frame.wall, clean_attributes(frame.attributes), frame.draws, clean_log(frame.log)


def _digests(spans: dict[str, Span]) -> set[bytes]:
    """Of every value of the original that a reference can name."""
    found: set[bytes] = set()
    for span in spans.values():
        found.add(span.result.digest)
        for call in span.calls:
            if call.result is not None:
                found.add(call.result.digest)
    return found
