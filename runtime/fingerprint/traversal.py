"""One hash over all that a callable or a value reaches.

The syntax tree of a function or class and, transitively, of all that its globals and closure reach in the same distribution,
with every constant they read.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import logging
import re
import types
from typing import Any, Final

from runtime.fingerprint.distribution import belongs, home_of, is_installed, lies_beside, qualified_name
from runtime.fingerprint.fields import field_defaults, fields_of, is_generated
from runtime.fingerprint.references import references_of
from runtime.fingerprint.source import syntax_tree
from runtime.fingerprint.syntax import constant, spell
from storage import codec

_STEP, _EFFECT = "__kitchenlog_step__", "__kitchenlog_effect__"
_SIMPLE: Final = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
_MUTABLE: Final = (list, dict, set, bytearray)
MUTABLE_GLOBAL: Final = "reads mutable global "
"""How the note on one begins."""
_TYPES: Final = (types.GenericAlias, types.UnionType, range, slice)
# Slots and the like: the machinery of a class, not its content.
_MACHINERY: Final = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


class Unfingerprintable(TypeError):
    """An object has parts that cannot be told apart from others."""

    def __init__(self, path: str, value: object) -> None:
        self.path = path
        super().__init__(
            f"{path} is a {type(value).__qualname__}, which can be neither encoded nor told apart from another: "
            "give its class a method `fingerprint(self) -> str` (a provider: name, model, version; an index: its version)"
        )


class Traversal:
    """One hash over all that is reached, each function and class once."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"fingerprint")
        self._notes: dict[str, None] = {}
        self._reached: set[str] = set()
        self._seen: dict[int, Any] = {}
        self._homes: list[str] = []
        self._inside: list[int] = []

    @property
    def digest(self) -> bytes:
        """Of all that was put in so far, 16 bytes."""
        return self._hash.digest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be followed."""
        return tuple(self._notes)

    @property
    def reached(self) -> tuple[str, ...]:
        """Module-qualified names of every function and class that was followed."""
        return tuple(sorted(self._reached))

    def put(self, data: bytes) -> None:
        """Hash bytes, so that no two sequences of them are alike."""
        self._hash.update(len(data).to_bytes(4, "little"))
        self._hash.update(data)

    def text(self, text: str) -> None:
        """Hash a text."""
        self.put(text.encode("utf-8", "backslashreplace"))

    def note(self, text: str) -> None:
        """Say what could not be followed."""
        self._notes[text] = None

    # steps

    def step(self, target: Any) -> None:
        """Follow a callable as a step, and the configuration of the instance it belongs to."""
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
        """Follow an instance's configuration.

        Raises:
            Unfingerprintable: a part can be neither encoded nor named.
        """
        self._homes.append(home_of(type(obj)))
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
        self._homes.append(home_of(inspect.unwrap(target)))
        try:
            if inspect.isclass(target) and self._is_ours(target):
                self._class(target)
            elif inspect.isfunction(target) and self._is_ours(target):
                self._function(target)
            else:
                self.text(qualified_name(target))
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
            for cls, chosen in sorted(registry.items(), key=lambda item: qualified_name(item[0])):
                self.text(qualified_name(cls))
                self._callable(chosen)

    def _function(self, fn: types.FunctionType) -> None:
        self.put(b"function")
        self._reached.add(qualified_name(fn))
        tree = syntax_tree(fn.__code__, fn.__globals__)
        if tree is None:
            self.note(f"from bytecode: {qualified_name(fn)}")
            self._code(fn.__code__)
        else:
            self.text(spell(tree))
        reads = references_of(fn.__code__)
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
            if level or lies_beside(fn, name):
                self.note(f"{qualified_name(fn)} imports {'.' * level}{name} while it runs, which is not followed")

    def _class(self, cls: type) -> None:
        self.text(f"class {cls.__qualname__}")
        self._reached.add(qualified_name(cls))
        for base in cls.__bases__:
            self._callable(base)
        for name, declared in vars(cls).get("__annotations__", {}).items():
            self.text(f"{name}: {declared if isinstance(declared, str) else _shown(declared)}")
        for name, default in field_defaults(cls):
            self.text(name)
            self.value(default, f"{qualified_name(cls)}.{name}", strict=False)
        if issubclass(cls, enum.Enum):
            for one in cls:
                self.text(one.name)
                self.value(one.value, f"{qualified_name(cls)}.{one.name}", strict=False)
        for name, member in sorted(vars(cls).items()):
            for inner in _parts(member):
                self._member(cls, name, inner)

    def _member(self, cls: type, name: str, inner: Any) -> None:
        mark = _mark(inner)
        fn = inner if mark is None else mark.fn
        if inspect.isfunction(fn):
            if not is_generated(fn, name):
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
            self.note(f"{MUTABLE_GLOBAL}{by.__module__ if inspect.isfunction(by) else qualified_name(by)}.{name}")
        else:
            self.value(value, f"{by.__module__ if inspect.isfunction(by) else qualified_name(by)}.{name}", strict=False)

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
            self.text(qualified_name(value))

    def _is_ours(self, target: Any) -> bool:
        return belongs(target, self._homes[-1])

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
        elif (fields := fields_of(value)) is not None:
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
        walk = Traversal()
        walk._homes = self._homes
        walk._inside = self._inside
        walk.value(value, path, strict=strict)
        self._notes.update(walk._notes)
        self._reached.update(walk._reached)
        return walk.digest

    def _configured(self, value: Any) -> None:
        """A callable that was given as configuration: followed wherever it belongs, unless it was installed."""
        if is_installed(home_of(inspect.unwrap(value))):
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
        self.text(qualified_name(type(value)))
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
                self.text(constant(item))


def _mark(target: Any) -> Any:
    return getattr(target, _STEP, None) or getattr(target, _EFFECT, None)


def _shown(declared: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(declared))


def _is_bare(value: Any) -> bool:
    """Whether a step is told by its class alone: it holds nothing."""
    kinds = [cls for cls in type(value).__mro__ if cls is not object]
    return all("__dict__" in vars(cls) or vars(cls).get("__slots__") == () for cls in kinds) and not getattr(
        value, "__dict__", None
    )


def _parts(member: Any) -> tuple[Any, ...]:
    """The functions inside a descriptor, or the member itself."""
    if isinstance(member, (staticmethod, classmethod)):
        return (member.__func__,)
    if isinstance(member, property):
        return tuple(one for one in (member.fget, member.fset, member.fdel) if one is not None)
    return (member.func,) if isinstance(member, functools.cached_property) else (member,)
