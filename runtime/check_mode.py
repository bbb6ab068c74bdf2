"""Check mode: whether a step changes its inputs, and whether what is recorded decodes to itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime.declaration import StepInfo
from storage import codec


class Inputs:
    """What a step is given, as it was before the step ran."""

    def __init__(self, info: StepInfo, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = [parameter.name for parameter in info.parameters]
        named = [(names[place] if place < len(names) else str(place), arg) for place, arg in enumerate(args)]
        self._given = [*named, *kwargs.items()]
        self._before = self._encoded()

    def _encoded(self) -> list[bytes]:
        return [codec.encode_with_sets(value) for _, value in self._given]

    def changed(self) -> Iterator[str]:
        """The names of those that are not what they were. Of one that cannot be encoded, nobody can tell."""
        for (name, _), was, now in zip(self._given, self._before, self._encoded(), strict=True):
            if was != now and not codec.is_opaque(was):
                yield name


def is_lossless(wanted: codec.Codec, data: bytes) -> bool:
    """Whether stored bytes decode to a value that gives the same bytes."""
    try:
        return wanted.lossless(data)
    except Exception:
        return False
