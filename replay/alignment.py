"""Two traces, or a replay and its original, aligned by address."""

from __future__ import annotations

from replay.difference import Change, SpanDiff, TraceDiff, changes
from replay.replayer import Replayer
from runtime.recording import Call, Recording, Result, Span
from storage import codec


def compare_recordings(old: Recording, new: Recording) -> TraceDiff:
    """What differs between two traces."""
    before, after = dict(old.tree()), dict(new.tree())
    spans: list[SpanDiff] = []
    same = 0
    for address in [*before, *(address for address in after if address not in before)]:
        one, two = before.get(address), after.get(address)
        if one is None or two is None:
            spans.append(SpanDiff(address, "added" if one is None else "removed", ()))
            continue
        asked = list(changes(_asked(one), _asked(two), "request"))
        fields = (*asked, *changes(_told(one.result), _told(two.result)))
        if fields:
            spans.append(SpanDiff(address, "changed", fields))
        else:
            same += 1
    return TraceDiff(old.trace_id, new.trace_id, tuple(spans), same)


def compare(recording: Recording, replayer: Replayer) -> TraceDiff:
    """What a replay changed."""
    spans: list[SpanDiff] = []
    same = 0
    before = dict(recording.tree())
    asked = {one.address: one for run in replayer.executed.values() for one in run.asked if one.effect}
    for address, item in before.items():
        now = replayer.results.get(address)
        made = asked.get(address)
        entry = replayer.entries.get(address)
        if entry is not None and entry.status == "dropped":
            spans.append(SpanDiff(address, "removed", ()))
            continue
        fields: list[Change] = []
        if made is not None and isinstance(item, Call):
            fields += changes(codec.decode_any(item.request), codec.decode_any(made.request), "request")
            now = made.result
        if now is not None:
            fields += changes(_told(item.result), _told(now))
        if fields:
            spans.append(SpanDiff(address, "changed", tuple(fields)))
        else:
            same += 1
    new = [address for address in [*replayer.executed, *asked] if address not in before]
    spans += [SpanDiff(address, "added", ()) for address in new]
    return TraceDiff(recording.trace_id, f"replay of {recording.trace_id}", tuple(spans), same)


def _asked(item: Span | Call) -> object:
    return codec.decode_any(item.request) if isinstance(item, Call) else None


def _told(result: Result | None) -> object:
    if result is None:
        return None
    return {"output": result.value} if result.ok else {"status": result.status, "error": result.text}
