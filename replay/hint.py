"""A replay's arguments as the Python that gives them again."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def as_call(
    trace: str,
    *,
    agent: object,
    swap: Mapping[str, Any] | None,
    override: Mapping[str, Any] | None,
    code: str,
    guard: str = "standard",
    control: bool = False,
    pace: str = "fast",
) -> str:
    """The arguments of `runtime.replay`, without `live` and `budget_usd`.

    What Python cannot say stands as `<...>`, which does not parse: a hint must fail loudly rather than replay something else.
    An agent is called `agent`.
    """
    parts = [repr(trace)]
    if agent is not None:
        parts.append("agent=agent")
    for option, given in (("swap", swap), ("override", override)):
        if given:
            inner = ", ".join(f"{key!r}: {as_python(value)}" for key, value in given.items())
            parts.append(f"{option}={{{inner}}}")
    if code != "current":
        parts.append(f"code={code!r}")
    if guard != "standard":
        parts.append(f"guard={guard!r}")
    if control:
        parts.append("control=True")
    if pace != "fast":
        parts.append(f"pace={pace!r}")
    return ", ".join(parts)


def as_python(value: Any) -> str:
    """A name, or an expression whose value is equal; else `<its type>`."""
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return name if name.isidentifier() else f"<{name}>"
    text = repr(value)
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return f"<{type(value).__qualname__}>"
    return text
