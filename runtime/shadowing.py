"""The packages of kitchenlog have plain names; another package of such a name must give a clear error, not a riddle."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

BESIDE = ("steps", "replay", "storage", "console")


def check(home: Path) -> None:
    """See that the other packages lie beside `runtime`.

    Raises:
        ImportError: another package of that name is found first; the text names both and the way out.
    """
    for name in BESIDE:
        found = _folder(find_spec(name))
        wanted = home / name
        if found is None or found.resolve() != wanted.resolve():
            where = "nowhere" if found is None else str(found)
            raise ImportError(
                f"kitchenlog's package {name!r} is at {wanted}, but Python finds {where} first. Rename the other {name!r}, "
                "or start Python from another folder (python -P leaves the working folder off the path)"
            )


def _folder(spec: ModuleSpec | None) -> Path | None:
    if spec is None:
        return None
    if spec.origin is None:
        places = list(spec.submodule_search_locations or ())
        return Path(places[0]) if places else None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin
