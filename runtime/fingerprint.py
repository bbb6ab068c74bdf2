"""Fingerprints of code and configuration: what a step's outcome depends on besides its inputs.

The syntax tree of a function or class and, transitively, of all that its globals and closure reach in the same distribution,
with every constant they read. Source counts only where it compiles to the running code: a file that was edited since it was
imported must not lend its new text to old code.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import inspect
import linecache
import sys
import textwrap
import types
import weakref
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from storage import codec

_STEP, _EFFECT = "__kitchenlog_step__", "__kitchenlog_effect__"
_SKIPPED: Final = frozenset({"type_params", "type_comment", "kind", "ctx"})
_SIMPLE: Final = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))


@attrs.frozen
class Fingerprint:
    """Of a step."""

    digest: bytes
    """16 bytes."""
    notes: tuple[str, ...]
    """What could not be followed."""
    reached: tuple[str, ...]
    """Module-qualified names of every function and class that was followed."""


class Unfingerprintable(TypeError):
    """An object has parts that cannot be told apart from others."""

    def __init__(self, path: str, value: object) -> None:
        self.path = path
        super().__init__(
            f"{path} is a {type(value).__qualname__}, which can be neither encoded nor told apart from another: "
            "give its class a method `fingerprint(self) -> str` (a provider: name, model, version; an index: its version)"
        )


_sources: weakref.WeakKeyDictionary[types.CodeType, tuple[ast.AST, str] | None] = weakref.WeakKeyDictionary()
_known: weakref.WeakKeyDictionary[Any, Fingerprint] = weakref.WeakKeyDictionary()


def remember_source(fn: Callable[..., Any]) -> None:
    """Take a function's source now, at its declaration, before its file can be edited."""
    code = getattr(fn, "__code__", None)
    if isinstance(code, types.CodeType):
        linecache.checkcache(code.co_filename)
        linecache.getlines(code.co_filename, fn.__globals__)


def code_fingerprint(target: Any) -> Fingerprint:
    """Of a function or class, with everything of its distribution that it reaches."""
    try:
        known = _known.get(target)
    except TypeError:
        known = None
    if known is not None:
        return known
    walk = _Walk()
    walk.reach(target)
    made = walk.finish()
    try:
        _known[target] = made
    except TypeError:
        return made
    return made


def config_digest(obj: object) -> tuple[bytes, tuple[str, ...]]:
    """Of an instance's configuration, field by field, and what could not be followed.

    Raises:
        Unfingerprintable: a part can be neither encoded nor named.
    """
    walk = _Walk()
    walk.put(b"config")
    walk.value(obj, type(obj).__qualname__, strict=True)
    made = walk.finish()
    return made.digest, made.notes


def step_fingerprint(target: Any) -> Fingerprint:
    """Of a callable as a step: its code, and the configuration of the instance it belongs to.

    Raises:
        Unfingerprintable: a part of the configuration can be neither encoded nor named.
    """
    walk = _Walk()
    _put_callable(walk, target)
    return walk.finish()


def _put_callable(walk: _Walk, target: Any) -> None:
    if isinstance(target, functools.partial):
        walk.put(b"partial")
        _put_callable(walk, target.func)
        walk.value(list(target.args), "partial.args", strict=True)
        walk.value(dict(target.keywords), "partial.keywords", strict=True)
    elif inspect.ismethod(target):
        walk.put(b"method")
        _put_callable(walk, target.__func__)
        walk.value(target.__self__, type(target.__self__).__qualname__, strict=True)
    elif inspect.isroutine(target) or inspect.isclass(target) or hasattr(target, _STEP):
        walk.reach(target)
    else:
        walk.put(b"instance")
        walk.reach(type(target))
        walk.value(target, type(target).__qualname__, strict=True)


class _Walk:
    """One hash over all that is reached, each thing once."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"fingerprint")
        self._notes: dict[str, None] = {}
        self._reached: set[str] = set()
        self._seen: dict[int, Any] = {}
        self._homes: list[str] = []

    def finish(self) -> Fingerprint:
        return Fingerprint(self._hash.digest(), tuple(self._notes), tuple(sorted(self._reached)))

    def put(self, data: bytes) -> None:
        self._hash.update(len(data).to_bytes(4, "little"))
        self._hash.update(data)

    def note(self, text: str) -> None:
        self._notes[text] = None

    # code

    def reach(self, target: Any) -> None:
        """Follow a function or class."""
        outside = getattr(target, _EFFECT, None)
        if outside is not None:
            # What an effect's body does is in its recorded outcomes; no replay runs it.
            self.put(f"effect {outside.fn.__qualname__}".encode())
            return
        mark = getattr(target, _STEP, None)
        if mark is not None:
            self.put(repr(mark.policy).encode())
            target = mark.fn
        if inspect.ismethod(target):
            target = target.__func__
        wrapped = inspect.unwrap(target) if callable(target) else target
        if wrapped is not target and inspect.isfunction(wrapped):
            target = wrapped
        if id(target) in self._seen:
            self.put(f"seen {getattr(target, '__qualname__', '')}".encode())
            return
        self._seen[id(target)] = target
        self._reached.add(f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', target)}")
        self._homes.append(_home(target))
        try:
            if inspect.isclass(target):
                self._class(target)
            elif inspect.isfunction(target):
                self._function(target)
            else:
                self.put(f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', repr(type(target)))}".encode())
        finally:
            self._homes.pop()

    def _function(self, fn: types.FunctionType) -> None:
        self.put(b"function")
        tree = _tree(fn.__code__, fn.__globals__)
        if tree is None:
            self.note(f"from bytecode: {fn.__module__}.{fn.__qualname__}")
            self._code(fn.__code__)
        else:
            self._ast(tree)
        for name, value in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
            try:
                content = value.cell_contents
            except ValueError:
                continue
            self._read(name, content, fn)
        for place, default in enumerate(fn.__defaults__ or ()):
            self.value(default, f"{fn.__qualname__} default {place}", strict=False)
        for name, default in sorted((fn.__kwdefaults__ or {}).items()):
            self.value(default, f"{fn.__qualname__} default {name}", strict=False)
        self._globals(fn.__code__, fn)

    def _class(self, cls: type) -> None:
        self.put(f"class {cls.__qualname__}".encode())
        for base in cls.__bases__:
            self._other(base)
        for name, member in sorted(vars(cls).items()):
            if name in {
                "__weakref__",
                "__dict__",
                "__doc__",
                "__module__",
                "__qualname__",
                "__annotations__",
                "__slots__",
            }:
                continue
            inner = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            inner = inner.fget if isinstance(inner, property) else inner
            marked = getattr(inner, _STEP, None)
            fn = marked.fn if marked is not None else inner
            if inspect.isfunction(fn) and not fn.__code__.co_filename.startswith("<"):
                self.put(name.encode())
                self.reach(inner)
            elif isinstance(inner, _SIMPLE) and not name.startswith("__"):
                self.value(inner, f"{cls.__qualname__}.{name}", strict=False)

    def _globals(self, code: types.CodeType, fn: types.FunctionType) -> None:
        for name in sorted(_names(code)):
            if name in fn.__globals__:
                self._read(name, fn.__globals__[name], fn, code)
            elif not hasattr(builtins, name):
                continue

    def _read(self, name: str, value: Any, fn: types.FunctionType, code: types.CodeType | None = None) -> None:
        self.put(name.encode())
        if inspect.ismodule(value):
            self._module(value, code or fn.__code__)
        elif inspect.isroutine(value) or inspect.isclass(value):
            self._other(value)
        else:
            if isinstance(value, (list, dict, set, bytearray)):
                # Its content is of this moment, not of the code: a counter must not make every run another step.
                self.note(f"reads mutable global {fn.__module__}.{name}")
                return
            self.value(value, f"{fn.__module__}.{name}", strict=False)

    def _module(self, module: types.ModuleType, code: types.CodeType) -> None:
        self.put(module.__name__.encode())
        if self._is_ours(getattr(module, "__file__", None), module.__name__):
            for name in sorted(_names(code)):
                found = vars(module).get(name)
                if inspect.isroutine(found) or inspect.isclass(found):
                    self._other(found)
                elif found is not None and isinstance(found, (*_SIMPLE, tuple, frozenset)):
                    self.value(found, f"{module.__name__}.{name}", strict=False)

    def _other(self, value: Any) -> None:
        """A function or class that is read: followed where it is of the same distribution."""
        inner = inspect.unwrap(value) if inspect.isroutine(value) else value
        file = _file(inner)
        if self._is_ours(file, getattr(inner, "__module__", None) or ""):
            self.reach(value)
        else:
            self.put(f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', '')}".encode())

    def _is_ours(self, file: str | None, module: str) -> bool:
        return file is not None and bool(self._homes) and _home_of(file, module) == self._homes[-1]

    # values

    def value(self, value: Any, path: str, *, strict: bool) -> None:
        """Put a value in, by encoding it or by its parts."""
        kind = type(value)
        told = getattr(value, "fingerprint", None)
        if isinstance(value, _SIMPLE):
            self.put(f"{kind.__name__} {value!r}".encode("utf-8", "backslashreplace"))
        elif callable(told) and not inspect.isclass(value):
            self.put(f"{kind.__qualname__} {told()}".encode())
        elif isinstance(value, (tuple, list)):
            self.put(f"{kind.__name__} {len(value)}".encode())
            for place, item in enumerate(value):
                self.value(item, f"{path}[{place}]", strict=strict)
        elif isinstance(value, dict):
            self.put(f"dict {len(value)}".encode())
            for key, item in value.items():
                self.value(key, f"{path} key", strict=strict)
                self.value(item, f"{path}[{key!r}]", strict=strict)
        elif inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, functools.partial):
            if isinstance(value, functools.partial):
                _put_callable(self, value)
            else:
                self.reach(value)
        elif (fields := _fields(value)) is not None:
            self._object(value, fields, path, strict=strict)
        else:
            self._encoded(value, path, strict=strict)

    def _object(self, value: Any, fields: list[str], path: str, *, strict: bool) -> None:
        if id(value) in self._seen:
            self.put(b"seen")
            return
        self._seen[id(value)] = value
        self.put(type(value).__qualname__.encode())
        if callable(value):
            self.reach(type(value))
        for name in fields:
            self.put(name.encode())
            self.value(getattr(value, name, None), f"{path}.{name}", strict=strict)

    def _encoded(self, value: Any, path: str, *, strict: bool) -> None:
        data = codec.encode_with_sets(value)
        if codec.holds_opaque(data) is None:
            self.put(data)
        elif strict:
            raise Unfingerprintable(path, value)
        else:
            self.put(f"{type(value).__module__}.{type(value).__qualname__}".encode())
            self.note(f"could not follow {path}, a {type(value).__qualname__}")

    def _ast(self, node: Any) -> None:
        if isinstance(node, ast.AST):
            self.put(type(node).__name__.encode())
            for name, field in ast.iter_fields(node):
                if name in _SKIPPED or field is None or field == []:
                    continue
                if name == "decorator_list":
                    continue  # what a decorator makes of a function is reached as the function
                if name == "body" and isinstance(field, list) and _has_docstring(node, field):
                    field = field[1:]  # noqa: PLW2901 - without the docstring
                self.put(name.encode())
                self._ast(field)
        elif isinstance(node, list):
            self.put(len(node).to_bytes(4, "little"))
            for item in node:
                self._ast(item)
        else:
            self.put(f"{type(node).__name__} {_constant(node)}".encode("utf-8", "backslashreplace"))

    def _code(self, code: types.CodeType) -> None:
        self.put(code.co_code)
        self.put(repr(code.co_names).encode())
        for item in code.co_consts:
            if isinstance(item, types.CodeType):
                self._code(item)
            else:
                self.put(_constant(item).encode("utf-8", "backslashreplace"))


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(repr, value))}"
    if isinstance(value, tuple):
        return f"tuple {[_constant(item) for item in value]}"
    return repr(value)


def _has_docstring(node: ast.AST, body: list[Any]) -> bool:
    documented = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    return (
        documented
        and bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _fields(value: Any) -> list[str] | None:
    kind = type(value)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind) if field.eq or field.init]
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if hasattr(kind, "__dataclass_fields__"):
        return list(kind.__dataclass_fields__)
    return None


def _names(code: types.CodeType) -> set[str]:
    """Names that a code object and those inside it read.

    co_names holds globals and attributes alike; a surplus name only adds what it is found to name.
    """
    found = set(code.co_names)
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            found |= _names(item)
    return found


def _tree(code: types.CodeType, namespace: dict[str, Any]) -> ast.AST | None:
    """The syntax tree of a function whose source compiles to this very code, or None."""
    try:
        if code in _sources:
            found = _sources[code]
            return None if found is None else found[0]
    except TypeError:
        return None
    tree = _find_tree(code, namespace)
    _sources[code] = None if tree is None else (tree, "")
    return tree


def _find_tree(code: types.CodeType, namespace: dict[str, Any]) -> ast.AST | None:
    lines = linecache.getlines(code.co_filename, namespace)
    if not lines:
        return None
    try:
        first = code.co_firstlineno - 1
        block = inspect.getblock(lines[first:])
        source = textwrap.dedent("".join(block))
        if code.co_name == "<lambda>":
            return _find_lambda(code, lines)
        parsed = ast.parse(source)
    except (SyntaxError, ValueError, IndexError, EOFError):
        return None
    module = _compiled(code.co_filename, "".join(lines))
    if module is None or not any(_same(code, one) for one in _codes(module)):
        return None
    return next((node for node in ast.walk(parsed) if getattr(node, "name", None) == code.co_name), None)


def _find_lambda(code: types.CodeType, lines: list[str]) -> ast.AST | None:
    module = _compiled(code.co_filename, "".join(lines))
    if module is None or not any(_same(code, one) for one in _codes(module)):
        return None
    tree = _parsed("".join(lines))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=64)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@functools.lru_cache(maxsize=64)
def _compiled(name: str, source: str) -> types.CodeType | None:
    try:
        return compile(source, name, "exec", dont_inherit=True, flags=0)
    except (SyntaxError, ValueError):
        return None


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield item
            yield from _codes(item)


def _same(one: types.CodeType, two: types.CodeType) -> bool:
    """Whether two code objects are equal but for where they stand."""
    if (one.co_name, one.co_code, one.co_names, one.co_varnames, len(one.co_consts)) != (
        two.co_name, two.co_code, two.co_names, two.co_varnames, len(two.co_consts),
    ):  # fmt: skip
        return False
    return all(
        _same(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else _constant(a) == _constant(b)
        for a, b in zip(one.co_consts, two.co_consts, strict=True)
    )


def _file(target: Any) -> str | None:
    code = getattr(target, "__code__", None)
    if isinstance(code, types.CodeType):
        return code.co_filename
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    return getattr(module, "__file__", None)


def _home(target: Any) -> str:
    return _home_of(_file(target), getattr(target, "__module__", None) or "")


@functools.cache
def _distributions() -> dict[str, str]:
    return {name: found[0] for name, found in metadata.packages_distributions().items() if found}


@functools.cache
def _home_of(file: str | None, module: str) -> str:
    """What a thing belongs to: its distribution, else its top-level package, else its folder."""
    if file is None:
        return f"module {module}"
    top = module.partition(".")[0]
    path = Path(file)
    if "site-packages" in path.parts or "dist-packages" in path.parts:
        return f"distribution {_distributions().get(top, top)}"
    if top in sys.stdlib_module_names:
        return "standard library"
    if "." in module and top not in {"tests", "__main__"}:
        return f"package {top}"
    return f"folder {path.parent}"
