"""Functions put in the place of the standard library's while somebody holds them there, and taken back afterwards.

Each replacement asks whose code calls it and passes everyone else on, so code outside a step sees no difference but the
time of one context variable's lookup; when nobody holds them, not even that.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from runtime.scope import SCOPE

_MISSING: Final = object()


@attrs.frozen(eq=False)
class Place:
    """An attribute of a module or class, and what stands in for it."""

    owner: Any
    name: str
    ours: Any
    imported: bool = True
    """Whether names that other modules have imported it by (`from time import time`) are rebound too; then `ours` wraps it."""


class Interception:
    """A set of replacements. Every method may be called from any thread.

    Args:
        places: makes the replacements; called again where modules were loaded since.
        enter: done besides, when they are put in place.
        leave: undoes it.
        keeps_own: whether modules of this top-level package keep what they imported.
    """

    def __init__(
        self,
        places: Callable[[], Iterable[Place]],
        *,
        enter: Callable[[], None] | None = None,
        leave: Callable[[], None] | None = None,
        keeps_own: frozenset[str] = frozenset(),
    ) -> None:
        self._places, self._enter, self._leave, self._keeps_own = places, enter, leave, keeps_own
        self._lock = threading.RLock()
        self._holds = 0
        self._known: dict[tuple[int, str], Place] = {}
        """By owner and name."""
        self._before: list[tuple[Place, Any]] = []
        """What each owner itself had there when its replacement was put in place."""
        self._by_raw: dict[int, tuple[Any, Any]] = {}
        self._imported: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._seen: set[int] = set()
        self._last = (0, "", 0)
        os.register_at_fork(after_in_child=self._after_fork)

    @property
    def held(self) -> bool:
        """Whether the replacements are in place."""
        return self._holds > 0

    def hold(self) -> Callable[[], None]:
        """Keep the replacements in place until what is returned was called once."""
        with self._lock:
            self._holds += 1
            if self._holds == 1:
                self._learn()
                self._put()
        return self._release_once()

    def _release_once(self) -> Callable[[], None]:
        left = [None]

        def release() -> None:
            try:
                left.pop()
            except IndexError:
                return
            with self._lock:
                self._holds -= 1
                if self._holds == 0:
                    self._take_back()

        return release

    def _learn(self) -> None:
        """Take note of what modules loaded since the last time hold."""
        # What is loaded, or loaded again, comes last: a look at the end tells whether anything was.
        name, module = next(reversed(sys.modules.items()))
        last = (len(sys.modules), name, id(module))
        if last == self._last:
            return
        self._last = last
        new = [(name, module) for name, module in list(sys.modules.items()) if id(module) not in self._seen]
        for place in self._places():
            key = (id(place.owner), place.name)
            if key in self._known:
                continue
            self._known[key] = place
            if place.imported:
                raw = place.ours.__wrapped__
                self._by_raw[id(raw)] = (raw, place.ours)
        self._seen.update([id(module) for _, module in new])
        for name, module in new:
            if isinstance(module, types.ModuleType) and name.partition(".")[0] not in self._keeps_own:
                self._note_imported(module)

    def _note_imported(self, module: types.ModuleType) -> None:
        names = vars(module)
        for name, value in list(names.items()):
            found = self._by_raw.get(id(value))
            if found is not None and found[0] is value and (id(module), name) not in self._known:
                self._imported.append((names, name, value, found[1]))

    def _put(self) -> None:
        self._before = [(place, vars(place.owner).get(place.name, _MISSING)) for place in self._known.values()]
        for place, _ in self._before:
            setattr(place.owner, place.name, place.ours)
        for names, name, raw, ours in self._imported:
            if names.get(name) is raw:
                names[name] = ours
        if self._enter is not None:
            self._enter()

    def _take_back(self) -> None:
        if self._leave is not None:
            self._leave()
        for place, raw in self._before:
            if vars(place.owner).get(place.name) is not place.ours:
                continue  # somebody else has put something there meanwhile
            if raw is _MISSING:
                delattr(place.owner, place.name)
            else:
                setattr(place.owner, place.name, raw)
        for names, name, raw, ours in self._imported:
            if names.get(name) is ours:
                names[name] = raw

    def _after_fork(self) -> None:
        """A thread of the parent may hold the lock for ever; and the child of a step is not that step any more."""
        self._lock = threading.RLock()
        if self._holds:
            SCOPE.set(None)
