"""Value types that the stored format knows by itself: the closed set of MessagePack extensions.

A `Vector` is what an embedding should be: raw little-endian elements, twelve times cheaper to record than a list of
floats and exact. `Opaque`, `Redacted` and `Erased` stand where a value cannot be, must not be, or no longer is.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, Self

Dtype = Literal["float32", "float64", "float16", "int8", "uint8", "int32", "int64"]

DTYPES: Final[dict[Dtype, tuple[int, str]]] = {
    "float32": (1, "f"),
    "float64": (2, "d"),
    "float16": (3, "e"),
    "int8": (4, "b"),
    "uint8": (5, "B"),
    "int32": (6, "i"),
    "int64": (7, "q"),
}
"""Name of an element type -> (its code in the stored format, its `struct` letter)."""

_BY_CODE: Final[dict[int, Dtype]] = {code: name for name, (code, _) in DTYPES.items()}
_MAX_DIMENSIONS: Final = 32


class Vector:
    """An immutable array of numbers: `dtype`, `shape` and the elements' little-endian bytes.

    Args:
        data: the elements in row-major order, little endian; copied if it is mutable.
        dtype: the element type.
        shape: the dimensions; by default one, as long as the data.

    Raises:
        ValueError: the number of bytes does not fit dtype and shape.
    """

    __slots__ = ("_data", "_dtype", "_shape")

    _data: bytes
    _dtype: Dtype
    _shape: tuple[int, ...]

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        dtype: Dtype = "float32",
        shape: Sequence[int] | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"Vector has no dtype {dtype!r}; it knows {', '.join(DTYPES)}")
        raw = data if type(data) is bytes else bytes(data)
        size = struct.calcsize("<" + DTYPES[dtype][1])
        dims = (len(raw) // size,) if shape is None else tuple(shape)
        if len(dims) > _MAX_DIMENSIONS or any(d < 0 for d in dims) or math.prod(dims) * size != len(raw):
            raise ValueError(f"{len(raw)} bytes are not a {dtype} Vector of shape {list(dims)}")
        self._data, self._dtype, self._shape = raw, dtype, dims

    @classmethod
    def of(cls, numbers: Iterable[float], dtype: Dtype = "float32") -> Self:
        """A one-dimensional vector of these numbers, rounded to `dtype`."""
        values = list(numbers)
        return cls(struct.pack(f"<{len(values)}{DTYPES[dtype][1]}", *values), dtype)

    @property
    def data(self) -> bytes:
        """The elements, little endian, row-major."""
        return self._data

    @property
    def dtype(self) -> Dtype:
        """The element type."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        return self._shape

    def tolist(self) -> list[Any]:
        """The elements as Python numbers, nested by dimension."""
        flat: list[Any] = list(struct.unpack(f"<{math.prod(self._shape)}{DTYPES[self._dtype][1]}", self._data))
        for dim in reversed(self._shape[1:]):
            flat = [flat[i : i + dim] for i in range(0, len(flat), dim)] if dim else []
        return flat

    def __len__(self) -> int:
        return self._shape[0] if self._shape else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vector):
            return NotImplemented
        return (self._dtype, self._shape, self._data) == (other._dtype, other._shape, other._data)

    def __hash__(self) -> int:
        return hash((self._dtype, self._shape, self._data))

    def __repr__(self) -> str:
        return f"Vector({self._dtype}, shape={list(self._shape)})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:  # noqa: FBT001 - numpy's protocol
        """The numpy array of this vector (numpy need not be installed until this is asked for)."""
        import numpy as np

        made = np.frombuffer(self._data, dtype=np.dtype(self._dtype).newbyteorder("<")).reshape(self._shape)
        if dtype is not None or copy:
            return made.astype(dtype or made.dtype)
        return made

    def to_ext(self) -> bytes:
        """The body of the stored extension (docs/format.md, section 6)."""
        head = struct.pack(f"<BB{len(self._shape)}I", DTYPES[self._dtype][0], len(self._shape), *self._shape)
        return head + self._data

    @classmethod
    def from_ext(cls, body: bytes) -> Self:
        """The vector of a stored extension's body.

        Raises:
            ValueError: the body is not one.
        """
        try:
            code, dims = struct.unpack_from("<BB", body)
            shape = struct.unpack_from(f"<{dims}I", body, 2)
            dtype = _BY_CODE[code]
        except (struct.error, KeyError) as error:
            raise ValueError(f"not a stored Vector: {error}") from error
        return cls(body[2 + 4 * dims :], dtype, shape)


class StandIn:
    """What stands where a value cannot be, must not be, or no longer is.

    Plain classes: msgspec would encode an attrs class or a dataclass as a map, and a stand-in would pass for a value.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash((type(self), self.parts))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored parts, in order."""
        names: tuple[str, ...] = type(self).__slots__
        return tuple(getattr(self, name) for name in names)


class Opaque(StandIn):
    """What stands in a recording for a value that could not be encoded. A replay stops here, by name.

    Args:
        type: module and qualified name of the value's type.
        text: its repr, at most 2,000 characters.
        reason: why it could not be encoded.
    """

    __slots__ = ("type", "text", "reason")  # noqa: RUF023 - the stored order

    def __init__(self, type: str, text: str, reason: str) -> None:  # noqa: A002 - the stored name
        self.type, self.text, self.reason = type, text, reason


class Redacted(StandIn):
    """What stands for a value that redaction replaced.

    Args:
        kind: of what it was.
        token: the keyed token of the value.
    """

    __slots__ = ("kind", "token")

    def __init__(self, kind: str, token: str) -> None:
        self.kind, self.token = kind, token


class Erased(StandIn):
    """What stands for a value that was erased on request.

    Args:
        date: when.
        request: which request it was.
    """

    __slots__ = ("date", "request")

    def __init__(self, date: str, request: str) -> None:
        self.date, self.request = date, request


def vector_of_array(value: Any) -> Vector:
    """The Vector of a numpy array.

    Raises:
        TypeError: its dtype is none of the stored ones.
    """
    name: Any = str(value.dtype)
    if name not in DTYPES:
        raise TypeError(f"numpy arrays of dtype {name} cannot be stored; convert to one of {', '.join(DTYPES)}")
    dtype: Dtype = name
    little = value if value.dtype.byteorder in "<=|" and sys.byteorder == "little" else value.astype(f"<{value.dtype.str[1:]}")
    return Vector(little.tobytes(), dtype, value.shape)
