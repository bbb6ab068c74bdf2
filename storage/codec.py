"""Values to bytes and back (docs/format.md, section 6).

One encoder for everything that is recorded. It never raises: what msgspec cannot encode becomes an `Opaque` value, so a
hostile value changes no step's result. Decoding is by declared type, never by a name found in the data.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs
import msgspec
from msgspec import msgpack

from storage.errors import CorruptRecord
from storage.values import Erased, Opaque, Redacted, StandIn, Vector, vector_of_array

MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
"""Values above this are not stored, only their size and digest."""
_OPAQUE_TEXT: Final = 2000
EXTENSION_HEAD: Final = 0xC7
"""No first byte below this begins an extension: what is told from it needs no further look."""
_VECTOR, _OPAQUE, _REDACTED, _ERASED = 1, 2, 3, 4
_STAND_INS: Final[dict[type, int]] = {Opaque: _OPAQUE, Redacted: _REDACTED, Erased: _ERASED}

Encode = Callable[[Any], bytes]

# What msgspec raises on values it cannot take: wrong type, lone surrogate, int over 64 bits, cycle or depth.
_UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


def _enc_hook(value: Any) -> Any:
    kind = type(value)
    if kind is Vector:
        return msgpack.Ext(_VECTOR, value.to_ext())
    code = _STAND_INS.get(kind)
    if code is not None:
        return msgpack.Ext(code, msgpack.encode(value.parts))
    module = kind.__module__
    if module == "numpy":
        if kind.__name__ == "ndarray":
            return msgpack.Ext(_VECTOR, vector_of_array(value).to_ext())
        if hasattr(value, "item"):  # a numpy scalar
            return value.item()
    dump = getattr(kind, "model_dump", None)  # a pydantic model
    if dump is not None and hasattr(kind, "model_validate"):
        return dump(value)
    raise TypeError(f"{module}.{kind.__qualname__} cannot be encoded")


def _ext_hook(code: int, body: memoryview) -> Any:
    if code == _VECTOR:
        return Vector.from_ext(bytes(body))
    parts = msgpack.decode(body)
    try:
        if code == _OPAQUE:
            return Opaque(*parts)
        if code == _REDACTED:
            return Redacted(*parts)
        if code == _ERASED:
            return Erased(*parts)
    except TypeError as error:
        raise ValueError(f"a stored extension {code} has the wrong parts") from error
    raise ValueError(f"extension type {code} is not one of this format's")


def _dec_hook(wanted: type, value: Any) -> Any:
    origin = typing.get_origin(wanted) or wanted
    if isinstance(value, origin):
        return value
    if isinstance(value, Vector) and origin.__module__ == "numpy":
        made: Any = value
        return made.__array__(copy=True)
    validate = getattr(wanted, "model_validate", None)
    if validate is not None:
        return validate(value)
    if origin.__module__ == "numpy" and isinstance(value, (int, float, bool)):
        return wanted(value)
    raise ValueError(f"a stored {type(value).__name__} is no {getattr(wanted, '__name__', wanted)}")


_natural: Final = msgpack.Encoder(enc_hook=_enc_hook)
_sorted: Final = msgpack.Encoder(enc_hook=_enc_hook, order="sorted")
_generic: Final = msgpack.Decoder(ext_hook=_ext_hook)
_verbatim: Final = msgpack.Decoder()  # leaves extensions as they are


def opaque(value: Any, reason: str) -> Opaque:
    """What is stored in place of `value`. Never raises, whatever the value's repr does."""
    kind = type(value)
    try:
        shower = reprlib.Repr()
        shower.maxstring = shower.maxother = _OPAQUE_TEXT
        text = shower.repr(value)
    except Exception as error:  # a repr may do anything
        text = f"<repr failed: {type(error).__name__}>"
    return Opaque(as_utf8(f"{kind.__module__}.{kind.__qualname__}"), as_utf8(text[:_OPAQUE_TEXT]), as_utf8(reason)[:_OPAQUE_TEXT])


def as_utf8(text: str) -> str:
    """A text that can be stored: lone surrogates as their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encode_opaque(value: Any, error: BaseException) -> bytes:
    try:
        said = f": {error}"
    except Exception:  # so may the text of what a serializer of the value's own raised
        said = ""
    return _natural.encode(opaque(value, f"{type(error).__name__}{said}"))


def encode(value: Any) -> bytes:
    """The stored bytes of a value whose declared type holds no set. Never raises."""
    try:
        return _natural.encode(value)
    except _UNENCODABLE as error:
        return _encode_opaque(value, error)
    except Exception as error:  # a hook of the value's own (a pydantic serializer) may raise anything
        return _encode_opaque(value, error)


def encode_with_sets(value: Any) -> bytes:
    """The stored bytes of any value: like `encode`, with sets in a fixed order. Never raises."""
    try:
        return _natural.encode(_fix_sets(value))
    except _UNENCODABLE as error:
        return _encode_opaque(value, error)
    except Exception as error:
        return _encode_opaque(value, error)


def encode_request(value: Any) -> bytes:
    """The canonical bytes of an effect's request. Never raises."""
    try:
        return _sorted.encode(value)
    except TypeError:
        try:
            return _canonical(_natural.encode(_fix_sets(value)))
        except Exception as error:
            return _encode_opaque(value, error)
    except Exception as error:
        return _encode_opaque(value, error)


def canonical(data: bytes) -> bytes:
    """The canonical form of stored bytes: every map sorted by its keys. Never raises: what is too deep becomes an `Opaque`."""
    try:
        return _canonical(data)
    except Exception as error:
        return _natural.encode(Opaque("?", "", as_utf8(f"{type(error).__name__}: {error}")))


def _canonical(data: bytes) -> bytes:
    value = _verbatim.decode(data)
    try:
        return _sorted.encode(value)
    except TypeError:
        return _natural.encode(_sort_maps(value))


def _sort_maps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sort_maps(value[key]) for key in sorted(value, key=_natural.encode)}
    if isinstance(value, (list, tuple)):
        return [_sort_maps(item) for item in value]
    return value


def _fix_sets(value: Any) -> Any:
    """The value with every set as a sorted list. Whatever holds none is returned as it is."""
    if isinstance(value, (set, frozenset)):
        items = [_fix_sets(item) for item in value]
        try:
            return sorted(items)
        except TypeError:
            return sorted(items, key=_natural.encode)
    if isinstance(value, dict):
        return {key: _fix_sets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fix_sets(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return _fix_struct(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _fix_sets(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if attrs.has(type(value)):
        return {f.name: _fix_sets(getattr(value, f.name)) for f in attrs.fields(type(value))}
    return value


def _fix_struct(value: msgspec.Struct) -> Any:
    config = value.__struct_config__
    fields = [(f.encode_name, _fix_sets(getattr(value, f.name))) for f in msgspec.structs.fields(value)]
    if config.array_like:
        return [config.tag, *(item for _, item in fields)] if config.tag is not None else [item for _, item in fields]
    made: dict[Any, Any] = {} if config.tag is None else {config.tag_field: config.tag}
    made.update(fields)
    return made


def _parts(declared: Any) -> Iterable[Any]:
    """The types inside a type: arguments of generics, fields of structs, dataclasses and attrs classes."""
    yield from typing.get_args(declared)
    origin = typing.get_origin(declared) or declared
    if isinstance(origin, type):
        hints: dict[str, Any] = {}
        if (
            issubclass(origin, msgspec.Struct)
            or dataclasses.is_dataclass(origin)
            or attrs.has(origin)
            or typing.is_typeddict(origin)
        ):
            hints = typing.get_type_hints(origin, include_extras=False)
        yield from hints.values()


def may_hold_sets(declared: Any) -> bool:
    """Whether a value of this declared type may hold a set, so that its order must be fixed."""
    seen: list[Any] = []
    todo = [declared]
    while todo:
        one = todo.pop()
        if any(one is known for known in seen):
            continue
        seen.append(one)
        origin = typing.get_origin(one) or one
        if one is Any or one is object or isinstance(one, typing.TypeVar):
            return True
        if (
            isinstance(origin, type)
            and issubclass(origin, (set, frozenset, typing.AbstractSet))
            and not issubclass(origin, (str, bytes))
        ):
            return True
        try:
            todo.extend(_parts(one))
        except Exception:  # hints that do not resolve: take the careful path
            return True
    return False


@functools.cache
def _encoder(*, holds_sets: bool) -> Encode:
    return encode_with_sets if holds_sets else encode


def encoder(declared: Any) -> Encode:
    """The encoder for values of a declared type."""
    return _encoder(holds_sets=may_hold_sets(declared))


class Codec:
    """Encodes and decodes the values of one declared type.

    Args:
        declared: the annotation of the parameter or result.

    Raises:
        TypeError: values of that type cannot be stored; the text names the part that cannot.
    """

    __slots__ = ("_decoder", "declared", "encode")

    encode: Encode

    def __init__(self, declared: Any) -> None:
        self.declared = declared
        self.encode = encoder(declared)
        try:
            self._decoder: msgpack.Decoder[Any] = msgpack.Decoder(declared, ext_hook=_ext_hook, dec_hook=_dec_hook)
        except Exception as error:
            raise TypeError(f"{show_type(declared)} cannot be stored: {error}") from error

    def decode(self, data: bytes) -> Any:
        """The value of stored bytes.

        Raises:
            TypeChanged: they are not a value of the declared type.
            CorruptRecord: they are not a stored value at all.
        """
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise TypeChanged(self.declared, str(error)) from error
        except Exception as error:
            raise CorruptRecord(f"stored bytes are no value: {type(error).__name__}: {error}") from error

    def lossless(self, data: bytes) -> bool:
        """Whether decoding and encoding again gives the same bytes."""
        return self.encode(self.decode(data)) == data


class TypeChanged(TypeError):
    """A stored value does not fit the type that is declared today."""

    def __init__(self, declared: Any, detail: str) -> None:
        self.detail = detail
        super().__init__(f"the stored value is no {show_type(declared)}: {detail}")


def decode_any(data: bytes) -> Any:
    """The value of stored bytes without its type: structs come as dicts, tuples as lists.

    Raises:
        CorruptRecord: the bytes are not a stored value.
    """
    try:
        return _generic.decode(data)
    except Exception as error:
        raise CorruptRecord(f"stored bytes are no value: {type(error).__name__}: {error}") from error


def is_opaque(data: bytes) -> bool:
    """Whether a whole value was stored as an `Opaque`, as `encode` does with what it cannot take. A look at the head."""
    return EXTENSION_HEAD <= data[0] <= 0xD8 and _STAND_IN_HEAD.match(data) is not None


def holds_opaque(data: bytes) -> StandIn | None:
    """The first stand-in inside stored bytes, or None where the value is whole."""
    return next(_stand_ins(data), None)


def unknown_part(data: bytes) -> StandIn | None:
    """The first part of stored bytes that nobody can know any more, or None.

    An `Opaque` is cut, so different values have the same one: equal bytes then do not mean equal values. The token of a
    `Redacted` is of the value, so equal ones do.
    """
    return next((one for one in _stand_ins(data) if not isinstance(one, Redacted)), None)


def _stand_ins(data: bytes) -> Iterator[StandIn]:
    # Nearly every value has no byte that could be an extension's head, or none that a length and a code follow.
    if not any(head in data for head in _EXTENSION_HEADS) or _STAND_IN_HEAD.search(data) is None:
        return
    todo = [decode_any(data)]
    while todo:
        one = todo.pop()
        if isinstance(one, StandIn):
            yield one
        elif isinstance(one, dict):
            todo += [*one.values(), *one]
        elif isinstance(one, list):
            todo += one


_EXTENSION_HEADS: Final = b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8"
# What it begins with is one set of bytes, for which the search is twice as fast.
_STAND_IN_HEAD: Final = re.compile(
    rb"[\xc7-\xc9\xd4-\xd8](?:(?<=[\xd4-\xd8])[\x02-\x04]"
    rb"|(?<=\xc7).[\x02-\x04]|(?<=\xc8)..[\x02-\x04]|(?<=\xc9)....[\x02-\x04])",
    re.DOTALL,
)


def schema(declared: Any) -> dict[str, Any] | None:
    """The JSON schema of a declared type, or None where it has none."""
    try:
        return msgspec.json.schema(declared, schema_hook=lambda custom: {"title": custom.__name__})
    except Exception:  # a type that msgspec stores but cannot describe
        return None


def show_type(declared: Any) -> str:
    """A type as a person writes it."""
    if isinstance(declared, type) and not isinstance(declared, types.GenericAlias):
        return declared.__qualname__
    return str(declared).replace("typing.", "")
