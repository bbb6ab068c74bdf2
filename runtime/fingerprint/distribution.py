"""Where code belongs: its distribution, else its top-level package, else its folder."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
import types
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_STANDARD: Final = "the standard library"
_LIBRARY: Final = Path(sysconfig.get_path("stdlib"))
_OURS: Final = tuple(str(Path(__file__).parents[1] / name) for name in ("runtime", "steps", "replay", "storage", "console"))


def qualified_name(target: Any) -> str:
    """The module and qualified name of a function, class or value's class."""
    if inspect.isfunction(target):  # not of what it wraps
        return f"{module_of(target)}.{target.__code__.co_qualname}"
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', type(target).__qualname__)}".strip(".")


def module_of(target: Any) -> str:
    """The name of the module that a thing was defined in."""
    if inspect.ismodule(target):
        return target.__name__
    if inspect.isfunction(target):  # not that of what it wraps
        return str(target.__globals__.get("__name__", ""))
    return getattr(target, "__module__", None) or ""


def _file(target: Any) -> str | None:
    if inspect.isfunction(target):
        return target.__code__.co_filename
    return getattr(sys.modules.get(module_of(target)), "__file__", None)


def home_of(target: Any) -> str:
    """What a thing belongs to: its distribution, else its top-level package, else its folder."""
    return _home(_file(target), module_of(target))


def is_installed(home: str) -> bool:
    """Whether what belongs there was installed, with Python or beside it."""
    return home == _STANDARD or home.startswith("installed ")


def belongs(target: Any, home: str) -> bool:
    """Whether a thing is of the same distribution as what has that home."""
    return _belongs(_file(target), module_of(target), home)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.cache
def _home(file: str | None, module: str) -> str:
    top = module.partition(".")[0]
    if file is None:
        return _STANDARD if top in sys.stdlib_module_names else f"module {module}"
    path = Path(file)
    if "site-packages" in path.parts or "dist-packages" in path.parts:
        return f"installed {top}"
    if file.startswith("<frozen") or path.is_relative_to(_LIBRARY):
        return _STANDARD
    if top not in {"tests", "__main__"} and ("." in module or path.name == "__init__.py"):
        return f"package {top}"
    return f"folder {path.parent}"


@functools.cache
def _belongs(file: str | None, module: str, home: str) -> bool:
    there = _home(file, module)
    if _STANDARD in {there, home} or file is None:
        return False
    if there == home:
        return True
    if home.startswith("installed ") and there.startswith("installed "):
        names = [_distributions().get(one.removeprefix("installed "), []) for one in (there, home)]
        return not set(names[0]).isdisjoint(names[1])
    # A script's folder is all below it, but for this runtime where it runs from a checkout.
    return home.startswith("folder ") and not there.startswith("installed ") and _lies_below(file, home.removeprefix("folder "))


def _lies_below(file: str, folder: str) -> bool:
    return Path(file).is_relative_to(folder) and not file.startswith(_OURS)


def lies_beside(fn: types.FunctionType, name: str) -> bool:
    """Whether a module that is named in a function is of its package or folder."""
    top = name.partition(".")[0]
    folder = Path(fn.__code__.co_filename).parent
    return top == module_of(fn).partition(".")[0] or (folder / top).is_dir() or (folder / f"{top}.py").is_file()
