"""What the caller of a replay asks for, and which spans a key of `swap`, `override` or `live` names.

A key without indexes names every execution; a unique span name is accepted for its address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from runtime.errors import UnknownAddress
from runtime.recording import Recording, static

T = TypeVar("T")


def resolve(key: str, option: str, known: Iterable[str]) -> str:
    """The address, with or without indexes, that a key stands for.

    Raises:
        UnknownAddress: it names no span, or several of one name.
    """
    addresses = list(dict.fromkeys(known))
    statics = list(dict.fromkeys(static(address) for address in addresses))
    if key in addresses or key in statics:
        return key
    ends = [address for address in statics if address.rpartition("/")[2] == key]
    if len(ends) == 1:
        return ends[0]
    raise UnknownAddress(key, option, [*statics, *addresses])


def known_addresses(recording: Recording, node_names: Iterable[str]) -> list[str]:
    """Every address of a trace, and the nodes of the graph that would replay it."""
    return [*recording.addresses(), *node_names]


class Selection(Generic[T]):
    """Values by address pattern."""

    def __init__(self, given: Mapping[str, T], option: str, known: Iterable[str]) -> None:
        addresses = list(known)
        self._values = {resolve(key, option, addresses): value for key, value in given.items()}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, address: str) -> bool:
        return address in self._values or static(address) in self._values

    def get(self, address: str) -> T | None:
        """The value for an address; an exact key wins over one without indexes."""
        exact = self._values.get(address)
        return exact if exact is not None else self._values.get(static(address))

    def keys(self) -> list[str]:
        """The patterns."""
        return list(self._values)

    def below(self, address: str) -> bool:
        """Whether a pattern lies under an address."""
        prefixes = (f"{address}/", f"{static(address)}/", f"{address}!")
        return any(key.startswith(prefixes) for key in self._values)


def as_list(given: str | Iterable[str] | None) -> list[str]:
    """A str where a list is meant is one address."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def as_selection(given: Mapping[str, Any] | None, option: str, known: Iterable[str]) -> Selection[Any]:
    """The selection of an option."""
    return Selection(given or {}, option, known)


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

    @property
    def verifies(self) -> bool:
        """Whether spans that stand are run too."""
        return not self.swaps and not self.overrides and not self.live and not self.needed

    def below(self, address: str) -> bool:
        """Whether something under an address is swapped, overridden or live."""
        return self.swaps.below(address) or self.overrides.below(address) or self.live.below(address)
