"""Syntax trees as canonical text: what code says, whatever its layout, comments and docstrings."""

from __future__ import annotations

import ast
import functools
from typing import Any, Final

_SKIPPED: Final = frozenset({"type_params", "type_comment", "kind", "ctx"})


@functools.lru_cache(maxsize=4096)
def spell(tree: ast.AST) -> str:
    """A tree as text without positions and docstrings; empty fields are left out, so that newer Pythons' add nothing."""
    parts: list[str] = []
    _spell(tree, parts)
    return "\n".join(parts)  # no part has a line break: names have none, and constants are in their repr


def _spell(node: Any, parts: list[str]) -> None:
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        for name in node._fields:
            field = getattr(node, name, None)
            if name in _SKIPPED or field is None or field == []:
                continue
            parts.append(name)
            _spell(field[1:] if name == "body" and _has_docstring(node) else field, parts)
        parts.append(".")
    elif isinstance(node, list):
        parts.append(str(len(node)))
        for item in node:
            _spell(item, parts)
    else:
        parts.append(f"{type(node).__name__} {constant(node)}")


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def constant(value: Any) -> str:
    """A constant of code as text, members of sets in an order that is not the process's."""
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(constant, value))}"
    if isinstance(value, tuple):
        return f"tuple {[constant(item) for item in value]}"
    return repr(value)
