"""The source of running code: remembered at declaration, and taken only where it compiles to that very code.

A file that was edited since it was imported must not lend its new text to old code.
"""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Callable
from typing import Any, Final

from runtime.fingerprint.syntax import constant


def remember_source(fn: Callable[..., Any]) -> None:
    """Take a function's source now, at its declaration, before its file can be edited."""
    code = getattr(fn, "__code__", None)
    if isinstance(code, types.CodeType):
        linecache.checkcache(code.co_filename)
        linecache.getlines(code.co_filename, fn.__globals__)


class _Source:
    """A file's text at one moment: its syntax trees, and the code they compile to."""

    def __init__(self, name: str, text: str) -> None:
        self.text = text
        self._codes: dict[str, list[types.CodeType]] = {}
        self._nodes: dict[tuple[str, int], list[Any]] = {}
        try:
            tree = ast.parse(text)
            self._index(compile(tree, name, "exec", dont_inherit=True))
        except (SyntaxError, ValueError, RecursionError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Lambda):
                self._nodes.setdefault(("<lambda>", node.lineno), []).append(node)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self._nodes.setdefault((node.name, line), []).append(node)

    def _index(self, code: types.CodeType) -> None:
        for item in code.co_consts:
            if isinstance(item, types.CodeType):
                self._codes.setdefault(item.co_qualname, []).append(item)
                self._index(item)

    def tree(self, code: types.CodeType) -> ast.AST | None:
        """Of a function, if this text compiles to its running code."""
        same = [one for one in self._codes.get(code.co_qualname, ()) if _same(one, code)]
        if not same:
            return None
        chosen = max(same, key=lambda one: (one == code, one.co_firstlineno == code.co_firstlineno))
        nodes = self._nodes.get((chosen.co_name, chosen.co_firstlineno), [])
        return nodes[0] if len(nodes) == 1 else _lambda_of(chosen, nodes)


def _lambda_of(code: types.CodeType, nodes: list[Any]) -> ast.AST | None:
    """Which of several lambdas in a line the code is: the innermost whose body spans it."""
    spots = [(start, left, end, right) for start, end, left, right in code.co_positions() if left != right]
    if not spots or any(None in spot for spot in spots):
        return None
    first, last = min(spot[:2] for spot in spots), max(spot[2:] for spot in spots)
    around = [
        one.body
        for one in nodes
        if (one.body.lineno, one.body.col_offset) <= first and last <= (one.body.end_lineno, one.body.end_col_offset)
    ]
    inner = max(around, key=lambda body: (body.lineno, body.col_offset), default=None)
    return next((one for one in nodes if one.body is inner), None)


_texts: dict[str, list[_Source]] = {}
_KEPT: Final = 4  # texts of a file that was edited and reloaded


def syntax_tree(code: types.CodeType, namespace: dict[str, Any]) -> ast.AST | None:
    """The syntax tree of a function whose source compiles to this very code, or None."""
    known = _texts.setdefault(code.co_filename, [])
    for source in known:
        found = source.tree(code)
        if found is not None:
            return found
    for fresh in (False, True):
        if fresh:
            linecache.checkcache(code.co_filename)
        text = "".join(linecache.getlines(code.co_filename, namespace))
        if text and all(text != one.text for one in known):
            source = _Source(code.co_filename, text)
            known.insert(0, source)
            del known[_KEPT:]
            found = source.tree(code)
            if found is not None:
                return found
    return None


def _same(one: types.CodeType, two: types.CodeType) -> bool:
    """Whether two code objects are equal but for where they stand."""
    return _outline(one) == _outline(two) and all(
        _same(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else constant(a) == constant(b)
        for a, b in zip(one.co_consts, two.co_consts, strict=True)
    )


def _outline(code: types.CodeType) -> tuple[Any, ...]:
    return (
        code.co_name, code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars,
        code.co_flags, code.co_argcount, code.co_kwonlyargcount, len(code.co_consts),
    )  # fmt: skip
