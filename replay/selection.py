"""What the caller of a replay asks for, and which spans a key of `swap`, `override` or `live` names.

A key without indexes names every execution, one with an index that iteration or item; a unique span name is accepted for its
address, and `answer[2]` for that of the one step that iteration 2 of `answer` runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from runtime.errors import UnknownAddress
from runtime.parts import Part
from runtime.recording import Recording, static
from runtime.scope import parent_address

T = TypeVar("T")

_PLACE: Final = re.compile(r"(?:!\d+|\[\d+\])\Z")


def resolve(key: str, option: str, known: Iterable[str], unrecorded: Collection[str] | None = None) -> str:
    """The address, with or without indexes, that a key stands for.

    Args:
        key: as it was given.
        option: whose key it is.
        known: every address that is known.
        unrecorded: steps without indexes that hold no recorded call, where a key may name what was never reached; None where
            it may not.

    Raises:
        UnknownAddress: it names no span, or several of one name.
    """
    addresses = list(dict.fromkeys(known))
    statics = list(dict.fromkeys(static(address) for address in addresses))
    if key in addresses or key in statics or any(_matches(key, address) for address in addresses):
        return key
    if unrecorded is not None and (static(key) in statics or parent_address(static(key)) in unrecorded):
        return key
    if key.endswith("]"):
        items = [address for address in addresses if parent_address(address) == _PLACE.sub("", key) and address.startswith(key)]
        if len(items) == 1:
            return items[0]
    ends = [address for address in statics if address.rpartition("/")[2] == key]
    if len(ends) == 1:
        return ends[0]
    raise UnknownAddress(key, option, [*statics, *addresses])


def known_addresses(recording: Recording, node_names: Iterable[str]) -> list[str]:
    """Every address of a trace, and the nodes of the graph that would replay it."""
    return [*recording.addresses(), *node_names]


def glue_addresses(recording: Recording, parts: Mapping[str, Part]) -> list[str]:
    """Where glue of control nodes was computed, with indexes: it has an address and no span."""
    below: dict[str, list[str]] = {}
    for address, part in parts.items():
        if part.kind == "derive":
            below.setdefault(address.rpartition("/")[0], []).append(part.name)
    places = dict.fromkeys(address.rpartition("/")[0] for address in recording.addresses())
    return [f"{place}/{name}" for place in places for name in below.get(static(place), ())]


def _matches(key: str, address: str) -> bool:
    """Whether a key names an address: part for part it is equal, or leaves all indexes out."""
    if key == address:
        return True
    keys, parts = key.split("/"), address.split("/")
    return len(keys) == len(parts) and all(one in {part, static(part)} for one, part in zip(keys, parts, strict=True))


class Selection(Generic[T]):
    """Values by address pattern."""

    def __init__(
        self, given: Mapping[str, T], option: str, known: Iterable[str], unrecorded: Collection[str] | None = None
    ) -> None:
        addresses = list(known)
        self._values = {resolve(key, option, addresses, unrecorded): value for key, value in given.items()}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, address: str) -> bool:
        return self._key(address) is not None

    def get(self, address: str) -> T | None:
        """The value for an address; a key with an index wins over one without."""
        key = self._key(address)
        return None if key is None else self._values[key]

    def _key(self, address: str) -> str | None:
        if not self._values:
            return None
        if address in self._values:
            return address
        named = [key for key in self._values if _matches(key, address)]
        return max(named, key=lambda key: (key.count("["), len(key)), default=None)

    def widen(self, parts: Iterable[str]) -> None:
        """Let a key that names a control node or an agent name all that it runs too.

        Args:
            parts: of those, by address without indexes.
        """
        for key, value in self.items():
            above = f"{static(key)}/"
            self._values.update({f"{key}/{part.removeprefix(above)}": value for part in parts if part.startswith(above)})

    def items(self) -> list[tuple[str, T]]:
        """The patterns and their values."""
        return list(self._values.items())

    def keys(self) -> list[str]:
        """The patterns."""
        return list(self._values)

    def below(self, address: str) -> bool:
        """Whether a pattern lies under an address."""
        depth = address.count("/") + 1
        return any(_matches(above, address) for key in self._values if (above := _above(key, depth)) is not None)


def _above(key: str, depth: int) -> str | None:
    """The first `depth` names of a key that has more, without the index or attempt of what lies below them."""
    parts = key.split("/")
    return None if len(parts) <= depth else _PLACE.sub("", "/".join(parts[:depth]))


def as_list(given: str | Iterable[str] | None) -> list[str]:
    """A str where a list is meant is one address."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def as_selection(
    given: Mapping[str, Any] | None, option: str, known: Iterable[str], unrecorded: Collection[str] | None = None
) -> Selection[Any]:
    """The selection of an option."""
    return Selection(given or {}, option, known, unrecorded)


@attrs.define(eq=False)
class Request:
    """What the caller of a replay asked for."""

    swaps: Selection[Any]
    overrides: Selection[Any]
    live: Selection[bool]
    needed: bool = False
    """live="needed": what the recording cannot answer may go live, side effects excepted."""
    budget_usd: float | None = None
    use_recorded_code: bool = False
    strict: bool = False
    """Whether the guard refuses file writes."""
    control: bool = False
    """Whether a span that runs again for changed input is first repeated on its recorded input."""
    paced: bool = False
    """Whether the chunks of streams come at the times at which they came."""
    shift_ns: int = 0
    """By how much the clock of direct use is off, in an audit."""
    seed: bytes = b""
    """Of direct randomness in an audit: then nothing of direct use is answered from the recording."""

    @property
    def verifies(self) -> bool:
        """Whether spans that stand are run too."""
        return not self.swaps and not self.overrides and not self.live and not self.needed

    def without_changes(self) -> Request:
        """A request for spans as they were recorded."""
        nothing: Selection[Any] = Selection({}, "", ())
        return attrs.evolve(self, swaps=nothing, overrides=nothing, live=nothing, needed=False)

    def below(self, address: str) -> bool:
        """Whether something under an address is swapped, overridden or live."""
        return self.swaps.below(address) or self.overrides.below(address) or self.live.below(address)
