"""Objects by the name that another process imports them by."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from typing import Any

from runtime.errors import RuntimeMisuse


def spell(value: object, what: str) -> str:
    """`module:name` of an object that a module holds.

    Args:
        value: the object.
        what: it is, for the message.

    Raises:
        RuntimeMisuse: no module that can be imported holds it.
    """
    home, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(home, str) and isinstance(name, str) and home != "__main__" and _held(home, name) is value:
        return f"{home}:{name}"
    for module, held in list(sys.modules.items()):
        if module == "__main__" or not isinstance(held, types.ModuleType):
            continue
        for alias, other in list(vars(held).items()):
            if other is value:
                return f"{module}:{alias}"
    raise RuntimeMisuse(
        f"{what} has to be imported by another process, and no module holds it by a name of its own (what a script defines that "
        "is run directly does not count): put it at the top level of a module"
    )


def find(spelled: str) -> Any:
    """The object that `spell` spelled.

    Raises:
        RuntimeMisuse: this process finds no such object.
    """
    module, _, name = spelled.partition(":")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise RuntimeMisuse(f"{spelled} cannot be imported in a process of its own: {error}") from error
    found = _held(module, name)
    if found is None:
        raise RuntimeMisuse(f"{spelled} is not there when {module} is imported in a process of its own")
    return found


def _held(module: str, name: str) -> Any:
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None
