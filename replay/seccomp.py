"""A filter in the kernel for a process that only replays: what bypasses Python's own modules is refused there (Linux)."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import Final

import attrs

from runtime.errors import RuntimeMisuse

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCH_AT, _NUMBER_AT, _ARGUMENTS_AT = 4, 0, 16
_AF_UNIX: Final = 1
_CLONE_THREAD: Final = 0x10000
_X32: Final = 0x40000000
_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _ALL_THREADS = 38, 1, 1

Instruction = tuple[int, int, int, int]
"""Code, jump where true, jump where false, operand."""


@attrs.frozen
class _Machine:
    """System call numbers of an architecture."""

    audit: int
    seccomp: int
    socket: int
    sendto: int
    clone: int
    refused: tuple[int, ...]
    """connect, execve, execveat, and where there are such: fork, vfork."""
    absent: tuple[int, ...] = (435, 425)
    """clone3 and io_uring_setup, whose arguments no filter can read. Libraries fall back to what it can."""


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 41, 44, 56, (42, 59, 322, 57, 58)),
    "aarch64": _Machine(0xC00000B7, 277, 198, 206, 220, (203, 221, 281)),
}


def refuse_network_and_processes() -> None:
    """Refuse, from now on and in every thread of this process: sockets but local pairs, connections and new processes.

    The kernel answers such calls with EPERM whoever makes them, C libraries included. It cannot be undone, and it does not
    reach connections that are open already: call it in a worker process, after its imports and before its work.

    Raises:
        RuntimeMisuse: this is not Linux on x86_64 or aarch64, or the kernel takes no filter.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        raise RuntimeMisuse(
            f"the filter of isolated replays is for Linux on x86_64 and aarch64; this is {sys.platform} on {platform.machine()}: "
            "without isolated=True a replay is guarded in Python"
        )
    code = program(machine)
    buffer = ctypes.create_string_buffer(b"".join([struct.pack("HBBI", *one) for one in code]))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    given = Filter(len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    told = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        ctypes.c_long(machine.seccomp), ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(_ALL_THREADS), ctypes.byref(given)
    )
    if told != 0:
        why = errno.errorcode.get(ctypes.get_errno(), "a thread that has another filter")
        raise RuntimeMisuse(f"the kernel refused the filter of isolated replays: {why}; a container may forbid it")


def program(machine: _Machine) -> list[Instruction]:
    """The filter, in the classic BPF of the kernel. Every call it does not name is allowed."""
    refuse, absent = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    allow = (_RETURN, 0, 0, _ALLOW)
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT), (_EQUAL, 1, 0, machine.audit), refuse,
        (_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, _X32), refuse,
    ]  # fmt: skip
    for number in machine.refused:
        code += [(_EQUAL, 0, 1, number), refuse]
    for number in machine.absent:
        code += [(_EQUAL, 0, 1, number), absent]
    code += _where(machine.socket, [(_LOAD, 0, 0, _ARGUMENTS_AT), (_EQUAL, 0, 1, _AF_UNIX), allow, refuse])
    code += _where(machine.clone, [(_LOAD, 0, 0, _ARGUMENTS_AT), (_ANY_BIT, 0, 1, _CLONE_THREAD), allow, refuse])
    address = _ARGUMENTS_AT + 8 * 4  # send() is sendto() without one
    return [
        *code,
        *_where(
            machine.sendto,
            [(_LOAD, 0, 0, address), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, address + 4), (_EQUAL, 0, 1, 0), allow, refuse],
        ),
        allow,
    ]


def _where(number: int, block: list[Instruction]) -> list[Instruction]:
    return [(_EQUAL, 0, len(block), number), *block]
