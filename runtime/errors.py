"""What the runtime refuses, and how it says so.

KitchenlogError
  BuildError           a graph or a step that cannot work
  RuntimeMisuse        a call at the wrong place
  ReplayBlocked        the replay's output needs a call that nobody allowed
  UnknownAgent         no agent of the recorded name is registered
  UnknownAddress       a key of swap, override or live that names no span
  RecordedError        a recorded exception that cannot be made again here
BaseException
  Refused              a replay refuses to answer a call; `except Exception` cannot hide it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from storage.errors import KitchenlogError
from storage.records import Error

__all__ = (
    "BuildError",
    "KitchenlogError",
    "RecordedError",
    "Refused",
    "ReplayBlocked",
    "RuntimeMisuse",
    "UnknownAddress",
    "UnknownAgent",
)


class BuildError(KitchenlogError, TypeError):
    """A step or a graph is declared in a way that cannot work."""


class RuntimeMisuse(KitchenlogError, RuntimeError):
    """A function was called where it cannot do its work; the text names the one that can."""


class RecordedError(KitchenlogError):
    """Stands for a recorded exception whose class is not loaded in this process, or refuses to be made again."""

    recorded: Error | None = None
    """The whole of it, where it comes from a recording."""

    def __init__(self, type_name: str, message: str) -> None:
        self.type_name, self.message = type_name, message
        super().__init__(f"{type_name}: {message}")


class ReplayBlocked(KitchenlogError):
    """The replay ran as far as the recording reaches; its output needs a call that was not allowed."""

    def __init__(self, text: str, addresses: Sequence[str]) -> None:
        self.addresses = tuple(addresses)
        super().__init__(text)


class UnknownAgent(KitchenlogError, LookupError):
    """No agent registered in this process can replay the trace."""


class UnknownAddress(KitchenlogError, KeyError):
    """A key of `swap`, `override` or `live` names no span of the trace."""

    def __init__(self, key: str, option: str, known: Iterable[str]) -> None:
        self.key, self.option = key, option
        names = list(dict.fromkeys(known))
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
        self.nearest = near[0] if near else None
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        self.text = f"{option} names {key!r}, which is no address of this trace{hint}"
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


class Refused(BaseException):
    """Raised into a step whose call a replay cannot answer. Never catch it: the span is marked all the same."""
