"""Hypothesis strategies of random programs."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.law import Body, M, Node, Op, Program

_SMALL = st.integers(0, 2)
_CAUGHT = st.sampled_from((True, True, False))
_ASKS = st.tuples(st.just("ask"), st.just(0), _SMALL, _SMALL, _CAUGHT)
_STREAMS = st.tuples(st.just("stream"), st.sampled_from((0, 0, 1, 2)), _SMALL, st.integers(0, 1), _CAUGHT)
_FANS = st.tuples(st.just("fan"), st.integers(2, 3), _SMALL, st.integers(0, 1))
_RACES = st.tuples(st.just("race"), st.integers(2, 3), _SMALL)
_CALLS = st.tuples(st.just("call"), st.sampled_from((0, 0, 1, 1, 2, 3, 4)), _SMALL, st.integers(1, 2), _CAUGHT)
_EFFECTS = (_ASKS, _STREAMS, _FANS, _RACES)


def _ops(*, nested: bool) -> st.SearchStrategy[tuple[Op, ...]]:
    """Operations; those of a step with nested steps begin with a call, so that deep programs are common."""
    rest = st.lists(st.one_of([_CALLS, *_EFFECTS] if nested else _EFFECTS), max_size=2)
    if not nested:
        return rest.map(tuple)
    return st.tuples(_CALLS, rest).map(lambda both: (both[0], *both[1]))


def _body(*, nested: bool) -> st.SearchStrategy[Body]:
    return st.builds(
        Body, st.integers(0, M - 1), _ops(nested=nested), st.sampled_from((0, 0, 0, 0, 2)), st.sampled_from((1, 2, 2))
    )


def _flaky() -> st.SearchStrategy[Body]:
    """The body of a step that is retried: what fails in it is not caught."""
    first = _ASKS.map(lambda op: (*op[:4], False))
    rest = st.lists(st.one_of([_CALLS, *_EFFECTS]), max_size=2)
    ops = st.tuples(first, rest).map(lambda both: (both[0], *both[1]))
    return st.builds(Body, st.integers(0, M - 1), ops, st.integers(1, M - 1))


_ARMS = st.sampled_from((("a0", "b0"), ("b1", "a1"), ("r0", "b0"), ("a1", "r0")))


@st.composite
def _nodes(draw: st.DrawFn, most: int, kinds: tuple[str, ...], *, inner: bool) -> tuple[Node, ...]:
    parts = st.sampled_from(("a0", "a1", "b0", "r0", "r0") if inner else ("a0", "b0", "b1", "r0", "r0", "part", "part"))
    chained = inner and draw(st.booleans())
    made: list[Node] = []
    for place in range(draw(st.integers(2 if inner and not chained else 1, most))):
        kind = draw(st.sampled_from(kinds))
        source = st.just(place - 1) if chained else st.integers(-1, place - 1)
        setting = draw(st.integers(0, 5))
        if kind == "step":
            inputs = (draw(source), *draw(st.lists(st.integers(-1, place - 1), max_size=1)))
            made.append(Node(kind, (draw(st.sampled_from(("c0", "c1", "c2"))),), inputs))
        elif kind == "branch":
            made.append(Node(kind, draw(_ARMS), (draw(source), draw(st.integers(-1, place - 1))), setting))
        elif kind == "map":
            made.append(Node(kind, (draw(parts),), (draw(source),), setting, draw(st.sampled_from((None, None, 1, 2)))))
        else:
            made.append(Node(kind, ("part",) if kind == "sub" else (draw(parts),), (draw(source),), setting))
    return tuple(made)


@st.composite
def programs(draw: st.DrawFn, kinds: tuple[str, ...] = ("step", "step", "branch", "map", "loop", "sub")) -> Program:
    """Random programs of nodes of some kinds, without swaps."""
    bodies = {name: draw(_body(nested=False)) for name in ("a0", "a1")}
    bodies |= {name: draw(_body(nested=True)) for name in ("b0", "b1", "c0", "c1", "c2")}
    bodies["r0"] = draw(_flaky())
    return Program(
        bodies,
        draw(_nodes(4, kinds, inner=False)),
        draw(_nodes(3, ("step", "branch", "map", "loop"), inner=True)),
        draw(st.integers(0, M - 1)),
        draw(st.integers(0, 2**32)),
        {},
        draw(st.sampled_from((True, False, False, False))),
    )
