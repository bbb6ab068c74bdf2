"""Two traces, or a replay and its original, aligned by address."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from replay import difference, ranking, span_tree
from replay.difference import ABSENT, Change
from replay.measures import total
from replay.ranking import Ranking
from replay.replayer import Replayer
from replay.span_tree import EFFECT, GLUE, STEP, Item, Tree
from replay.trace_diff import SpanDiff, TraceDiff
from replay.unknown import opaque
from runtime import streams
from runtime.recording import Recording, Result
from storage import codec

Pair = tuple[Item | None, Item | None]


def compare_recordings(old: Recording, new: Recording) -> TraceDiff:
    """What differs between two traces."""
    return compare_trees(span_tree.of_recording(old), span_tree.of_recording(new))


def compare_replay(recording: Recording, replayer: Replayer, trace_id: str, result: Result | None) -> TraceDiff:
    """What came out otherwise in a replay.

    Args:
        recording: the original.
        replayer: has done it.
        trace_id: of the replay.
        result: what the run ends in now.
    """
    return compare_trees(span_tree.of_recording(recording), span_tree.of_replay(recording, replayer, trace_id, result))


def compare_trees(old: Tree, new: Tree) -> TraceDiff:
    """What differs between two trees."""
    found: list[SpanDiff] = []
    given = tuple(fields(codec.decode_any(old.given), codec.decode_any(new.given)))
    if given:
        found.append(SpanDiff("input", "changed", given, "input"))
    elif (unknown := codec.unknown_part(old.given) or codec.unknown_part(new.given)) is not None:
        found.append(SpanDiff("input", "unknown", (), "input", note=opaque("it", unknown)))
    same = 0
    pairs = align(old.items, new.items)
    for pair in pairs:
        differing, equal = _below(pair)
        found += differing
        same += equal
    ends = {(_digest(one), _digest(two)) for one, two in pairs if one is not None and two is not None}
    if (_of(old.result), _of(new.result)) not in ends:  # else it is the outcome of a node, which is listed
        told = tuple(_outcome_fields(_told(old.result), _told(new.result)))
        if told:
            found.append(SpanDiff("output", "changed", told, "output"))
    totals = [total((call.measures for call in tree.calls), tree.duration_ms) for tree in (old, new)]
    return TraceDiff(old.trace_id, new.trace_id, tuple(found), same, *totals)


def align(old: Sequence[Item], new: Sequence[Item]) -> list[Pair]:
    """What of two spans belongs together: the same request at the same address, then the same request, then the same address.

    In the old one's order; what was added stands behind what it followed.
    """
    left, right = list(old), list(new)
    partner: dict[int, Item] = {}
    rules: tuple[Callable[[Item], Hashable], ...] = (
        lambda item: (item.address, item.asked),
        lambda item: None if item.request is None else item.asked,
        lambda item: (item.address, item.what),
    )
    for rule in rules:
        waiting: dict[Hashable, deque[Item]] = defaultdict(deque)
        for item in right:
            waiting[rule(item)].append(item)
        taken: set[int] = set()
        for item in left:
            key = rule(item)
            if key is not None and waiting[key]:
                partner[id(item)] = other = waiting[key].popleft()
                taken.add(id(other))
        left = [item for item in left if id(item) not in partner]
        right = [item for item in right if id(item) not in taken]
    old_of = {id(two): one for one in old if (two := partner.get(id(one))) is not None}
    added: dict[int, list[Item]] = defaultdict(list)
    place = 0
    for item in new:
        one = old_of.get(id(item))
        if one is None:
            added[place].append(item)
        else:
            place = id(one)
    pairs: list[Pair] = [(None, item) for item in added[0]]
    for item in old:
        pairs.append((item, partner.get(id(item))))
        pairs += [(None, extra) for extra in added[id(item)]]
    return pairs


def _below(pair: Pair) -> tuple[list[SpanDiff], int]:
    """What differs at a pair and below it, in the order in which it came to differ, and how many spans are equal."""
    one, two = pair
    if one is None or two is None:
        there = one or two
        assert there is not None
        kind = "added" if one is None else "removed"
        return [_lone(item, kind) for item in there.walk() if item.what != GLUE], 0
    mine, asks_otherwise = _differ(one, two)
    found: list[SpanDiff] = []
    same = int(mine is None and one.what != GLUE)
    for inner in align(one.below, two.below):
        differing, equal = _below(inner)
        found += differing
        same += equal
    if mine is not None:
        found.insert(0 if asks_otherwise else len(found), mine)
    return found, same


def _lone(item: Item, kind: str) -> SpanDiff:
    measures = item.measures if item.what == EFFECT else None
    old, new = (None, measures) if kind == "added" else (measures, None)
    return SpanDiff(item.address, kind, (), item.what, old=old, new=new)


def _differ(one: Item, two: Item) -> tuple[SpanDiff | None, bool]:
    """How two that belong together differ, and whether they were asked otherwise."""
    asked = tuple(fields(_request(one), _request(two), "request")) if one.asked != two.asked else ()
    told: tuple[Change | Ranking, ...] = ()
    equal = one.result is not None and two.result is not None and one.result.same(two.result)
    if not equal:
        told = tuple(_outcome_fields(_told(one.result, is_stream=one.is_stream), _told(two.result, is_stream=two.is_stream)))
    note, kind = "", "changed"
    if not asked and not told:
        note = _unknown(one, two)
        if note:
            kind = "unknown"
        elif not equal and one.result is not None and two.result is not None:
            note = "equal as data, another encoding"
    moved = one.address != two.address
    code = None
    if one.fingerprint and two.fingerprint and one.fingerprint != two.fingerprint:
        code = one.fingerprint.hex()[:4], two.fingerprint.hex()[:4]
    if not asked and not told and not note and not moved:
        return None, False
    timed = one.what == STEP and None not in {one.measures.duration_ms, two.measures.duration_ms}
    measures = (one.measures, two.measures) if timed or one.what == EFFECT else (None, None)
    made = SpanDiff(
        two.address,
        "moved" if moved else kind,
        (*asked, *told),
        one.what,
        old_address=one.address if moved else None,
        code=code,
        old=measures[0],
        new=measures[1],
        note=note,
    )
    return made, bool(asked) or moved


def _unknown(one: Item, two: Item) -> str:
    """Why nothing tells whether two are equal, or nothing."""
    for item in (one, two):
        if item.request is not None and (unknown := codec.unknown_part(item.request)) is not None:
            return opaque("its request", unknown)
        if item.result is not None and (unknown := item.result.unknown) is not None:
            return opaque("its outcome", unknown)
    return ""


def fields(old: Any, new: Any, path: str = "") -> Iterator[Change | Ranking]:
    """How two decoded values differ: field by field, lists of documents by rank."""
    for where, one, two in difference.walk(old, new, path, as_one=ranking.are_rankings):
        if not ranking.are_rankings(one, two):
            yield Change(where, one, two)
            continue
        found = ranking.compare(one, two, where)
        if found.moves:
            yield found


def _outcome_fields(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change | Ranking]:
    """A value that is there on one side only is told by what the other ended in."""
    for name in ("status", "error"):
        yield from fields(old.get(name, ABSENT), new.get(name, ABSENT), f".{name}")
    if "output" in old and "output" in new:
        yield from fields(old["output"], new["output"], ".output")


def _request(item: Item) -> Any:
    return None if item.request is None else codec.decode_any(item.request)


def _told(result: Result | None, *, is_stream: bool = False) -> dict[str, Any]:
    if result is None:
        return {"status": "unfinished"}
    told: dict[str, Any] = {"status": result.status}
    if result.error is not None:
        told["error"] = result.text
    if is_stream and result.data is not None and not codec.is_opaque(result.data):
        told["output"] = _chunks(result.data)
    elif result.ok:
        told["output"] = result.value
    return told


def _chunks(data: bytes) -> Any:
    """A stream's chunks; as one text, where they are texts, since where a provider cuts them says nothing."""
    chunks = [codec.decode_any(chunk) for chunk in streams.unpack(data)[0]]
    return "".join(chunks) if all(isinstance(chunk, str) for chunk in chunks) else chunks


def _of(result: Result | None) -> bytes | None:
    return None if result is None else result.digest


def _digest(item: Item) -> bytes | None:
    return _of(item.result)
