"""The recorded request of a nested step as the arguments of a call."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from replay.unknown import UnknownInput, opaque, take
from runtime.declaration import StepInfo
from storage import codec

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""By position and by name."""


def arguments(request: bytes, callee: StepInfo, runs: StepInfo) -> Arguments:
    """What a nested step was given.

    Args:
        request: as it was recorded.
        callee: the step that was asked for: how it takes each argument.
        runs: the step that runs instead of it, or the same: of which type it takes each argument.

    Raises:
        UnknownInput: it is not known.
    """
    if codec.is_opaque(request):
        raise UnknownInput(opaque("its request", codec.decode_any(request)))
    given = msgspec.msgpack.decode(request, type=dict[str, msgspec.Raw])
    kinds = {parameter.name: parameter.kind for parameter in callee.parameters}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, raw in given.items():
        decode = runs.input_codec(name).decode
        match kinds.get(name):
            case inspect.Parameter.VAR_POSITIONAL:
                args += [take(decode, bytes(one)) for one in msgspec.msgpack.decode(raw, type=list[msgspec.Raw])]
            case inspect.Parameter.VAR_KEYWORD:
                more = msgspec.msgpack.decode(raw, type=dict[str, msgspec.Raw])
                kwargs.update({key: take(decode, bytes(one)) for key, one in more.items()})
            case inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = take(decode, bytes(raw))
            case _:
                args.append(take(decode, bytes(raw)))
    return tuple(args), kwargs
