"""The names that code refers to: globals, closure variables and imports, with the attribute paths read of them."""

from __future__ import annotations

import ast
import dis
import functools
import types
from typing import Any, Final

import attrs

_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_STORED: Final = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


@attrs.frozen(eq=False)
class References:
    """Names that a code object and those inside it read, each with the attribute paths read of it."""

    globals: dict[str, set[str]] = attrs.field(factory=dict)
    free: dict[str, set[str]] = attrs.field(factory=dict)
    stored: set[str] = attrs.field(factory=set)
    imports: set[tuple[int, str]] = attrs.field(factory=set)

    def add(self, code: types.CodeType) -> None:
        """Take in what a code object reads, and those inside it."""
        paths: set[str] | None = None
        path = ""
        constants: list[Any] = [0, 0]
        for one in dis.get_instructions(code):
            if one.opname in _ATTRIBUTE and paths is not None:
                path = f"{path}.{one.argval}" if path else one.argval
                continue
            if one.opname == "PUSH_NULL":
                continue
            if paths is not None:
                paths.add(path)
            paths, path = None, ""
            if one.opname in _GLOBAL:
                paths = self.globals.setdefault(one.argval, set())
            elif one.opname in _FREE:
                paths = self.free.setdefault(one.argval, set())
            elif one.opname in _STORED:
                self.stored.add(one.argval)
            elif one.opname == "LOAD_CONST":
                constants = [constants[1], one.argval]
            elif one.opname == "IMPORT_NAME":
                self.imports.add((constants[0], one.argval))
        for item in code.co_consts:
            if isinstance(item, types.CodeType):
                self.add(item)

    def with_decorators(self, tree: ast.AST) -> dict[str, set[str]]:
        """The globals, with those of the decorators: they run before the code does, so the code does not name them."""
        found = dict(self.globals)
        for decorator in getattr(tree, "decorator_list", ()):
            inside = list(ast.walk(decorator))
            paths = {one.attr for one in inside if isinstance(one, ast.Attribute)}
            for one in inside:
                if isinstance(one, ast.Name):
                    found[one.id] = found.get(one.id, set()) | (paths or {""})
        return found


@functools.lru_cache(maxsize=4096)
def references_of(code: types.CodeType) -> References:
    """What a code object reads."""
    made = References()
    made.add(code)
    return made
