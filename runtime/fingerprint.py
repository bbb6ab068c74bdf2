"""Fingerprints of code and configuration: what a step's outcome depends on besides its inputs.

The syntax tree of a function or class and, transitively, of all that its globals and closure reach in the same distribution,
with every constant they read. Source counts only where it compiles to the running code: a file that was edited since it was
imported must not lend its new text to old code.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import linecache
import logging
import re
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from storage import codec

_STEP, _EFFECT = "__kitchenlog_step__", "__kitchenlog_effect__"
_SKIPPED: Final = frozenset({"type_params", "type_comment", "kind", "ctx"})
_SIMPLE: Final = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
_MUTABLE: Final = (list, dict, set, bytearray)
_TYPES: Final = (types.GenericAlias, types.UnionType, range, slice)
# Slots and the like: the machinery of a class, not its content.
_MACHINERY: Final = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
_GENERATED: Final = (
    "__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__setattr__", "__delattr__",
    "__replace__", "__new__",
)  # fmt: skip
_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_STORED: Final = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_STANDARD: Final = "the standard library"
_LIBRARY: Final = Path(sysconfig.get_path("stdlib"))
_OURS: Final = tuple(str(Path(__file__).parents[1] / name) for name in ("runtime", "steps", "replay", "storage", "console"))


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
    walk.owner(obj)
    made = walk.finish()
    return made.digest, made.notes


def step_fingerprint(target: Any) -> Fingerprint:
    """Of a callable as a step: its code, and the configuration of the instance it belongs to.

    Raises:
        Unfingerprintable: a part of the configuration can be neither encoded nor named.
    """
    walk = _Walk()
    walk.step(target)
    return walk.finish()


class _Walk:
    """One hash over all that is reached, each function and class once."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"fingerprint")
        self._notes: dict[str, None] = {}
        self._reached: set[str] = set()
        self._seen: dict[int, Any] = {}
        self._homes: list[str] = []
        self._inside: list[int] = []

    def finish(self) -> Fingerprint:
        return Fingerprint(self._hash.digest(), tuple(self._notes), tuple(sorted(self._reached)))

    def put(self, data: bytes) -> None:
        self._hash.update(len(data).to_bytes(4, "little"))
        self._hash.update(data)

    def text(self, text: str) -> None:
        self.put(text.encode("utf-8", "backslashreplace"))

    def note(self, text: str) -> None:
        self._notes[text] = None

    # steps

    def step(self, target: Any) -> None:
        if isinstance(target, functools.partial):
            self.put(b"partial")
            self.step(target.func)
            self.value(list(target.args), "partial.args", strict=True)
            self.value(dict(target.keywords), "partial.keywords", strict=True)
        elif inspect.ismethod(target):
            self.put(b"method")
            self.reach(target.__func__)
            owner = target.__self__
            self.reach(owner if inspect.isclass(owner) else type(owner))
            if not inspect.isclass(owner):
                self.owner(owner)
        elif inspect.isroutine(target) or inspect.isclass(target) or hasattr(target, _STEP):
            self.reach(target)
        else:
            self.put(b"instance")
            self.reach(type(target))
            self.owner(target)

    def owner(self, obj: object) -> None:
        """An instance's configuration."""
        self._homes.append(_home(type(obj)))
        self.value(obj, type(obj).__qualname__, strict=True)
        self._homes.pop()

    # code

    def reach(self, target: Any) -> None:
        """Follow a function or class."""
        outside = getattr(target, _EFFECT, None)
        if outside is not None:
            # What an effect's body does is in its recorded outcomes; no replay runs it.
            self.text(f"effect {outside.fn.__qualname__}")
            return
        mark = getattr(target, _STEP, None)
        if mark is not None:
            self.text(repr(mark.policy))
            target = mark.fn
        if inspect.ismethod(target):
            target = target.__func__
        if id(target) in self._seen:
            self.text(f"seen {getattr(target, '__qualname__', '')}")
            return
        self._seen[id(target)] = target
        # A wrapper bears the names of what it wraps; where it belongs, its own code says.
        self._homes.append(_home(inspect.unwrap(target)))
        try:
            if inspect.isclass(target) and self._is_ours(target):
                self._class(target)
            elif inspect.isfunction(target) and self._is_ours(target):
                self._function(target)
            else:
                self.text(_name(target))
            self._wrapped(target)
        finally:
            self._homes.pop()

    def _wrapped(self, target: Any) -> None:
        inner = None if inspect.isclass(target) else getattr(target, "__wrapped__", None)
        if inner is None:
            return
        self.put(b"wrapped")
        self.reach(inner)
        registry = getattr(target, "registry", None)
        if isinstance(registry, types.MappingProxyType):  # of functools.singledispatch
            for cls, chosen in sorted(registry.items(), key=lambda item: _name(item[0])):
                self.text(_name(cls))
                self._callable(chosen)

    def _function(self, fn: types.FunctionType) -> None:
        self.put(b"function")
        self._reached.add(_name(fn))
        tree = _tree(fn.__code__, fn.__globals__)
        if tree is None:
            self.note(f"from bytecode: {_name(fn)}")
            self._code(fn.__code__)
        else:
            self.text(_syntax(tree))
        reads = _reads(fn.__code__)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:
                continue
            self._read(name, content, fn, reads.free.get(name, set()), stored=name in reads.stored)
        for place, default in enumerate(fn.__defaults__ or ()):
            self.value(default, f"{fn.__qualname__} default {place}", strict=False)
        for name, default in sorted((fn.__kwdefaults__ or {}).items()):
            self.value(default, f"{fn.__qualname__} default {name}", strict=False)
        named = reads.globals if tree is None else reads.with_decorators(tree)
        for name in sorted(named):
            if name in fn.__globals__:
                self._read(name, fn.__globals__[name], fn, named[name], stored=name in reads.stored)
        for level, name in sorted(reads.imports):
            if level or _lies_beside(fn, name):
                self.note(f"{_name(fn)} imports {'.' * level}{name} while it runs, which is not followed")

    def _class(self, cls: type) -> None:
        self.text(f"class {cls.__qualname__}")
        self._reached.add(_name(cls))
        for base in cls.__bases__:
            self._callable(base)
        for name, declared in vars(cls).get("__annotations__", {}).items():
            self.text(f"{name}: {declared if isinstance(declared, str) else _shown(declared)}")
        for name, default in _field_defaults(cls):
            self.text(name)
            self.value(default, f"{_name(cls)}.{name}", strict=False)
        if issubclass(cls, enum.Enum):
            for one in cls:
                self.text(one.name)
                self.value(one.value, f"{_name(cls)}.{one.name}", strict=False)
        for name, member in sorted(vars(cls).items()):
            for inner in _parts(member):
                self._member(cls, name, inner)

    def _member(self, cls: type, name: str, inner: Any) -> None:
        mark = _mark(inner)
        fn = inner if mark is None else mark.fn
        if inspect.isfunction(fn):
            file = fn.__code__.co_filename
            if not (file.startswith("<attrs generated") or (file == "<string>" and name in _GENERATED)):
                self.text(name)
                self._callable(inner)
        elif not (name.startswith("__") or name == "_abc_impl" or isinstance(inner, (*_MACHINERY, cls))):
            self._read(name, inner, cls, set())

    def _read(self, name: str, value: Any, by: Any, paths: set[str], *, stored: bool = False) -> None:
        """What code reads: a global, a closure's variable, an attribute of a module or class."""
        self.text(name)
        if inspect.ismodule(value):
            self._module(value, paths)
        elif stored or isinstance(value, _MUTABLE):
            # Its content is of this moment, not of the code: a counter must not make every run another step.
            self.note(f"reads mutable global {by.__module__ if inspect.isfunction(by) else _name(by)}.{name}")
        else:
            self.value(value, f"{by.__module__ if inspect.isfunction(by) else _name(by)}.{name}", strict=False)

    def _module(self, module: types.ModuleType, paths: set[str]) -> None:
        self.text(module.__name__)
        if not self._is_ours(module):
            return
        if not paths or "" in paths:
            self.note(f"reads module {module.__name__} as a whole, which is not followed")
        below: dict[str, set[str]] = {}
        for path in sorted(paths - {""}):
            name, _, rest = path.partition(".")
            below.setdefault(name, set()).update({rest} - {""})
        for name, inner in below.items():
            if name in vars(module):
                self._read(name, vars(module)[name], module, inner)

    def _callable(self, value: Any) -> None:
        """A function or class that is read: followed where it is of the same distribution."""
        if _mark(value) is not None or self._is_ours(value) or self._is_ours(inspect.unwrap(value)):
            self.reach(value)
        else:
            self.text(_name(value))

    def _is_ours(self, target: Any) -> bool:
        return _belongs(_file(target), _module_of(target), self._homes[-1])

    # values

    def value(self, value: Any, path: str, *, strict: bool) -> None:
        """Put a value in, by encoding it or by its parts."""
        kind = type(value)
        if isinstance(value, _SIMPLE):
            self.text(f"{kind.__name__} {value!r}")
        elif id(value) in self._inside:
            self.text(f"the one {len(self._inside) - self._inside.index(id(value))} above")
        elif callable(getattr(kind, "fingerprint", None)) and not inspect.isclass(value):
            self.text(f"{kind.__qualname__} {value.fingerprint()}")
        else:
            self._inside.append(id(value))
            self._composed(value, path, strict=strict)
            self._inside.pop()

    def _composed(self, value: Any, path: str, *, strict: bool) -> None:  # noqa: C901, PLR0912 - one case a kind of value
        kind = type(value)
        if isinstance(value, (tuple, list)):
            self.text(f"{kind.__name__} {len(value)}")
            for place, item in enumerate(value):
                self.value(item, f"{path}[{place}]", strict=strict)
        elif isinstance(value, (dict, types.MappingProxyType)):
            self.text(f"dict {len(value)}")
            for key, item in value.items():
                self.value(key, f"{path} key", strict=strict)
                self.value(item, f"{path}[{key!r}]", strict=strict)
        elif isinstance(value, (set, frozenset)):
            self.text(f"set {len(value)}")
            for digest in sorted(self._apart(item, f"{path} item", strict=strict) for item in value):
                self.put(digest)
        elif isinstance(value, functools.partial):
            self.put(b"partial")
            for part in (value.func, value.args, value.keywords):
                self.value(part, path, strict=strict)
        elif inspect.ismethod(value):
            self.put(b"method")
            self._callable(value.__func__)
            self.value(value.__self__, f"{path}.__self__", strict=strict)
        elif inspect.isroutine(value) or inspect.isclass(value):
            (self._configured if strict else self._callable)(value)
        elif hasattr(kind, "as_step"):  # a finished agent
            self.put(value.fingerprint)
        elif isinstance(value, enum.Enum):
            self.text(f"{kind.__qualname__}.{value.name}")
        elif (fields := _fields(value)) is not None:
            self._object(value, fields, path, strict=strict)
        elif isinstance(value, re.Pattern):
            self.text(f"pattern {value.pattern!r} {value.flags}")
        elif isinstance(value, logging.Logger):
            self.text(f"logger {value.name}")
        elif isinstance(value, _TYPES) or kind.__module__ in {"typing", "operator"}:
            self.text(_shown(value))
        else:
            self._encoded(value, path, strict=strict)

    def _apart(self, value: Any, path: str, *, strict: bool) -> bytes:
        """The digest of one member of a set, whose order is of the process, not of the code."""
        walk = _Walk()
        walk._homes = self._homes
        walk._inside = self._inside
        walk.value(value, path, strict=strict)
        made = walk.finish()
        self._notes.update(dict.fromkeys(made.notes))
        self._reached.update(made.reached)
        return made.digest

    def _configured(self, value: Any) -> None:
        """A callable that was given as configuration: followed wherever it belongs, unless it was installed."""
        home = _home(inspect.unwrap(value))
        if home == _STANDARD or home.startswith("installed "):
            self._callable(value)
        else:
            self.reach(value)

    def _object(self, value: Any, fields: list[str], path: str, *, strict: bool) -> None:
        self.text(type(value).__qualname__)
        if callable(value):
            call = inspect.getattr_static(type(value), "__call__", None)
            (self.reach if _mark(call) is not None else self._configured)(type(value))
        for name in fields:
            self.text(name)
            self.value(getattr(value, name, None), f"{path}.{name}", strict=strict)

    def _encoded(self, value: Any, path: str, *, strict: bool) -> None:
        self.text(_name(type(value)))
        data = codec.encode_with_sets(value)
        if codec.holds_opaque(data) is None:
            self.put(data)
        elif callable(value) and _is_bare(value):
            self._callable(type(value))
        elif strict:
            raise Unfingerprintable(path, value)
        else:
            self.note(f"could not follow {path}, a {type(value).__qualname__}")

    def _code(self, code: types.CodeType) -> None:
        self.put(code.co_code)
        self.put(code.co_exceptiontable)
        self.text(repr((code.co_names, code.co_freevars, code.co_cellvars)))
        for item in code.co_consts:
            if isinstance(item, types.CodeType):
                self._code(item)
            else:
                self.text(_constant(item))


# values


def _mark(target: Any) -> Any:
    return getattr(target, _STEP, None) or getattr(target, _EFFECT, None)


def _name(target: Any) -> str:
    if inspect.isfunction(target):  # not of what it wraps
        return f"{_module_of(target)}.{target.__code__.co_qualname}"
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', type(target).__qualname__)}".strip(".")


def _shown(declared: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(declared))


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(_constant, value))}"
    if isinstance(value, tuple):
        return f"tuple {[_constant(item) for item in value]}"
    return repr(value)


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


@functools.lru_cache(maxsize=4096)
def _syntax(tree: ast.AST) -> str:
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
        parts.append(f"{type(node).__name__} {_constant(node)}")


def _is_bare(value: Any) -> bool:
    """Whether a step is told by its class alone: it holds nothing."""
    kinds = [cls for cls in type(value).__mro__ if cls is not object]
    return all("__dict__" in vars(cls) or vars(cls).get("__slots__") == () for cls in kinds) and not getattr(
        value, "__dict__", None
    )


def _fields(value: Any) -> list[str] | None:
    kind = type(value)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind) if field.eq or field.init]
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.compare or field.init]
    return None


def _field_defaults(cls: type) -> Iterator[tuple[str, Any]]:
    """What the fields of a class are made of where nothing is given, converters and validators among it."""
    if attrs.has(cls):
        for one in attrs.fields(cls):
            default = None if one.default is attrs.NOTHING else getattr(one.default, "factory", one.default)
            yield one.name, (default, one.converter, one.validator)
    elif dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            found = field.default if field.default is not dataclasses.MISSING else field.default_factory
            yield field.name, None if found is dataclasses.MISSING else found
    elif issubclass(cls, msgspec.Struct):
        for place, default in enumerate(cls.__struct_defaults__):
            yield f"default {place}", getattr(default, "factory", default)


def _parts(member: Any) -> tuple[Any, ...]:
    """The functions inside a descriptor, or the member itself."""
    if isinstance(member, (staticmethod, classmethod)):
        return (member.__func__,)
    if isinstance(member, property):
        return tuple(one for one in (member.fget, member.fset, member.fdel) if one is not None)
    return (member.func,) if isinstance(member, functools.cached_property) else (member,)


# what code reads


@attrs.frozen(eq=False)
class _Reads:
    """Names that a code object and those inside it read, each with the attribute paths read of it."""

    globals: dict[str, set[str]] = attrs.field(factory=dict)
    free: dict[str, set[str]] = attrs.field(factory=dict)
    stored: set[str] = attrs.field(factory=set)
    imports: set[tuple[int, str]] = attrs.field(factory=set)

    def add(self, code: types.CodeType) -> None:
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
def _reads(code: types.CodeType) -> _Reads:
    made = _Reads()
    made.add(code)
    return made


# source


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


def _tree(code: types.CodeType, namespace: dict[str, Any]) -> ast.AST | None:
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
        _same(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else _constant(a) == _constant(b)
        for a, b in zip(one.co_consts, two.co_consts, strict=True)
    )


def _outline(code: types.CodeType) -> tuple[Any, ...]:
    return (
        code.co_name, code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars,
        code.co_flags, code.co_argcount, code.co_kwonlyargcount, len(code.co_consts),
    )  # fmt: skip


# where code belongs


def _module_of(target: Any) -> str:
    if inspect.ismodule(target):
        return target.__name__
    if inspect.isfunction(target):  # not that of what it wraps
        return str(target.__globals__.get("__name__", ""))
    return getattr(target, "__module__", None) or ""


def _file(target: Any) -> str | None:
    if inspect.isfunction(target):
        return target.__code__.co_filename
    return getattr(sys.modules.get(_module_of(target)), "__file__", None)


def _home(target: Any) -> str:
    return _home_of(_file(target), _module_of(target))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.cache
def _home_of(file: str | None, module: str) -> str:
    """What a thing belongs to: its distribution, else its top-level package, else its folder."""
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
    there = _home_of(file, module)
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


def _lies_beside(fn: types.FunctionType, name: str) -> bool:
    """Whether a module that is named in a function is of its package or folder."""
    top = name.partition(".")[0]
    folder = Path(fn.__code__.co_filename).parent
    return top == _module_of(fn).partition(".")[0] or (folder / top).is_dir() or (folder / f"{top}.py").is_file()
