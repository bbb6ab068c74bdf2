"""Control nodes: branch, map and loop as steps whose calls are their arms, items and iterations.

What they run are nested steps of their span, so they are recorded, matched and replayed as every nested step is.
"""

from __future__ import annotations

import collections.abc
import hashlib
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import attrs
import msgspec

from runtime.declaration import PLAIN, Bound, StepInfo, describe
from runtime.edge import Giver, check_edge, check_edges
from runtime.errors import BuildError, Refused
from runtime.fingerprint import Fingerprint
from runtime.parts import Part
from runtime.scope import SCOPE, Frame, Scope

UNTIL: Final = "until"
"""The name of a loop's condition."""
ENDED: Final = "loop.ended"
"""The attribute that tells what ended a loop: until or limit."""


def branch_step(
    name: str, condition: Giver, then: Callable[..., Any], otherwise: Callable[..., Any], givers: Sequence[Giver]
) -> StepInfo:
    """The step that runs one of two arms.

    Raises:
        BuildError: an arm does not take what it is given, or the condition is no bool.
    """
    check_edge(name, "condition", bool, condition)
    first = _part(then, givers)
    second = _part(otherwise, givers)
    if second.name == first.name:
        second = attrs.evolve(second, name=f"{second.name}_2")

    async def run(condition: bool, *args: Any) -> Any:  # noqa: FBT001 - edges are positional
        arm = first if condition else second
        scope = _scope()
        return await scope.frame.oracle.step(scope, Bound(arm.step, args, {}, alias=arm.name))

    results = dict.fromkeys([first.step.result, second.step.result])
    result = Any if Any in results else typing.Union[tuple(results)]  # noqa: UP007 - of types that are known here only
    return _control("branch", name, run, [first, second], [("condition", condition), *_named(first.step, givers)], result)


def map_step(name: str, body: Callable[..., Any], givers: Sequence[Giver], concurrency: int | None) -> StepInfo:
    """The step that runs a step on every item.

    Raises:
        BuildError: the step does not take what it is given, or what is given holds no items.
    """
    if concurrency is not None and concurrency < 1:
        raise BuildError(f"step {name}: concurrency={concurrency}; at least one item must run at a time")
    (source, held), *others = givers
    check_edge(name, "items", collections.abc.Sequence, (source, held))
    part = _part(body, [(f"each of {source}", _item_of(held)), *others], repeats=True)

    async def run(items: Sequence[Any], *rest: Any) -> Any:
        frame = _scope().frame
        calls = [Bound(part.step, (item, *rest), {}, alias=part.name, item=place) for place, item in enumerate(items)]
        return await _run_items(frame, calls, concurrency)

    named = [("items", (source, held)), *_named(part.step, [("", None), *others])[1:]]
    return _control("map", name, run, [part], named, list[part.step.result], concurrency)  # type: ignore[name-defined]


async def _run_items(frame: Frame, calls: list[Bound], concurrency: int | None) -> list[Any]:
    """The value of each item. All of them run, so that what the map comes to does not depend on which one failed first."""
    frame.oracle.announce(Scope(frame), calls)
    results: list[Any] = [None] * len(calls)
    failures: dict[int, BaseException] = {}
    todo = iter(range(len(calls)))

    async def work() -> None:
        for place in todo:
            try:
                # The lane is the item's, whichever task runs it.
                results[place] = await frame.oracle.step(Scope(frame, str(place + 1)), calls[place])
            except (Exception, Refused) as error:
                failures[place] = error

    workers = len(calls) if concurrency is None else min(concurrency, len(calls))
    if workers <= 1:
        await work()
    else:
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)
    if failures:
        refused = [place for place, error in failures.items() if isinstance(error, Refused)]
        place = min(refused or failures)
        failures[place].add_note(f"kitchenlog: raised by {frame.address}[{place}]; {len(failures)} of {len(calls)} items failed")
        raise failures[place]
    return results


def loop_step(name: str, body: Callable[..., Any], givers: Sequence[Giver], until: Callable[..., Any], limit: int) -> StepInfo:
    """The step that runs a step on its own outcome until a condition holds, at least once.

    Raises:
        BuildError: the step does not take what it is given or what it gives, or the condition is none.
    """
    if limit < 1:
        raise BuildError(f"step {name}: limit={limit}; a loop runs at least once")
    declared = describe(body)
    again = (declared.name, declared.result)
    check_edges(declared.name, declared, givers)
    check_edges(declared.name, declared, [again, *givers[1:]])
    # What an iteration is given is one of two types; where they differ, only the declared one takes both.
    state = declared.hints.get(declared.parameters[0].name, Any) if givers[0][1] != declared.result else declared.result
    part = _part(body, [(givers[0][0], state), *givers[1:]], repeats=True)
    condition = describe(until)
    if condition.is_async:
        raise BuildError(f"step {name}: its condition {condition.name} is async; a condition is glue, computed at once")
    check_edges(f"{name}/{UNTIL}", condition, [again])
    check_edge(name, UNTIL, bool, (condition.name, condition.result))
    ends = Part(UNTIL, "derive", condition, repeats=True)

    async def run(state: Any, *rest: Any) -> Any:
        scope = _scope()
        oracle, ended = scope.frame.oracle, "limit"
        for place in range(limit):
            state = await oracle.step(scope, Bound(part.step, (state, *rest), {}, alias=part.name, item=place))
            if oracle.glue(scope, Bound(condition, (state,), {}, alias=UNTIL, item=place)):
                ended = UNTIL
                break
        scope.frame.attributes = {**(scope.frame.attributes or {}), ENDED: ended}
        return state

    return _control("loop", name, run, [part, ends], _named(part.step, givers), part.step.result, limit)


def _scope() -> Scope:
    scope = SCOPE.get()
    assert scope is not None  # a control node is run by the engine alone, inside its own span
    return scope


def _part(target: Callable[..., Any], givers: Sequence[Giver], *, repeats: bool = False) -> Part:
    info = describe(target)
    check_edges(info.name, info, givers)
    _ = info.codec, info.fingerprint  # what cannot be recorded or told apart is refused now, not at the first run
    return Part(info.name, kind_of(target), _narrow(info, givers), repeats)


def kind_of(target: object) -> str:
    """The kind of node that a callable makes: an agent's is a subgraph."""
    return "subgraph" if hasattr(type(target), "as_step") else "step"


def _narrow(info: StepInfo, givers: Sequence[Giver]) -> StepInfo:
    """The step as it is called here: a recorded argument is decoded as what it was, a Ranked, not as the Doc that is asked."""
    known = {parameter.name for parameter in info.parameters}
    hints = {name: kind for name, (_, kind) in _named(info, givers) if kind is not Any and name in known}
    if all(info.hints.get(name) == kind for name, kind in hints.items()):
        return info
    return attrs.evolve(info, hints={**info.hints, **hints}, inputs=None, encode_request=None)


def _named(info: StepInfo, givers: Sequence[Giver]) -> list[tuple[str, Giver]]:
    """What is given, by the name of the parameter that takes it."""
    names = [one.name for one in info.parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    return [(names[place] if place < len(names) else f"input_{place}", giver) for place, giver in enumerate(givers)]


def _item_of(held: Any) -> Any:
    if held is str:
        return str
    given = [one for one in typing.get_args(held) if one is not Ellipsis]
    return typing.Union[tuple(given)] if given else Any  # noqa: UP007 - of types that are known here only


def _control(
    kind: str,
    name: str,
    run: Callable[..., Any],
    parts: list[Part],
    named: list[tuple[str, Giver]],
    result: Any,
    setting: int | None = None,
) -> StepInfo:
    names = [one if one not in {other for other, _ in named[:place]} else f"{one}_" for place, (one, _) in enumerate(named)]
    parameters = tuple(inspect.Parameter(one, inspect.Parameter.POSITIONAL_ONLY) for one in names)
    hints = {one: giver[1] for one, (_, giver) in zip(names, named, strict=True)}
    info = StepInfo(run, run, name, parameters, hints, result, is_async=True, policy=PLAIN, parts=tuple(parts))
    inner = [part.step.fingerprint for part in parts]
    told = [kind, [[part.name, one.digest] for part, one in zip(parts, inner, strict=True)], setting]
    digest = hashlib.blake2b(msgspec.msgpack.encode(told), digest_size=16, person=b"control").digest()
    notes = dict.fromkeys(note for one in inner for note in one.notes)
    reached = sorted({name for one in inner for name in one.reached})
    info.keep_fingerprint(Fingerprint(digest, tuple(notes), tuple(reached)))
    return info
