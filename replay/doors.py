"""The doors by which a step leaves the process past its effects, and what stands in them while a replay runs.

Each asks the guard of the step whose code comes through, and lets everyone else pass. What none of this can see is told by
docs/replay.md.
"""

from __future__ import annotations

import _thread
import builtins
import contextvars
import functools
import io
import logging
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from runtime.interception import Interception, Place
from runtime.oracle import Guard
from runtime.scope import SCOPE, step_scope

Describe = Callable[..., str]
"""What a call does, as in "connect to 10.0.0.7:443"; nothing where it is harmless."""

_SENDS: Final = ("send", "sendall", "sendto", "sendmsg")
_RECEIVES: Final = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into")
_RESOLVES: Final = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
_STARTS: Final = (
    "fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "execv", "execve", "spawnv", "spawnve", "spawnvp", "spawnvpe",
    "startfile",
)  # fmt: skip
_CHANGES: Final = (
    "rename", "replace", "remove", "unlink", "mkdir", "rmdir", "truncate", "link", "symlink", "chmod", "chown", "utime",
    "mkfifo", "mknod",
)  # fmt: skip
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _here() -> tuple[Guard, str] | None:
    scope = step_scope()
    if scope is None:
        return None
    frame = scope.frame
    guard = frame.oracle.guard
    return None if guard is None else (guard, frame.address)


def _watched(raw: Any, describe: Describe, tell: Callable[[Guard, str, str], None]) -> Any:
    @functools.wraps(raw)
    def call(*args: Any, **kwargs: Any) -> Any:
        here = _here()
        if here is not None:
            what = describe(*args, **kwargs)
            if what:
                tell(*here, what)
        return raw(*args, **kwargs)

    return call


def _refuse(guard: Guard, address: str, what: str) -> None:
    raise guard.refuse(address, what)


def _name(guard: Guard, address: str, what: str) -> None:
    guard.writes(address, what)


def _refusing(raw: Any, describe: Describe) -> Any:
    return _watched(raw, describe, _refuse)


def _naming(raw: Any, describe: Describe) -> Any:
    return _watched(raw, describe, _name)


def _let_be(raw: Any) -> Any:
    """Of what is work of the process, though a step happens to ask for it."""

    @functools.wraps(raw)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _here() is None:
            return raw(*args, **kwargs)
        token = SCOPE.set(None)
        try:
            return raw(*args, **kwargs)
        finally:
            SCOPE.reset(token)

    return call


# what calls do


def _address(given: Any) -> str:
    if isinstance(given, tuple) and len(given) >= 2:
        return f"{given[0]}:{given[1]}"
    return repr(given)


def _peer(sock: Any) -> str:
    """Whom a socket talks to; nothing for one end of a pair, which stays inside the process, as a loop's own wakeups do."""
    try:
        peer = sock.getpeername()
    except OSError:
        return "a socket"
    if sock.family == getattr(socket, "AF_UNIX", None):
        return os.fsdecode(peer) if peer else ""
    return _address(peer)


def _connects(_: Any, address: Any, *__: Any) -> str:
    return f"connect to {_address(address)}"


def _sends(sock: Any, *_: Any, **__: Any) -> str:
    peer = _peer(sock)
    return f"send to {peer} on a connection opened before" if peer else ""


def _sends_to(sock: Any, _: Any, *given: Any, **__: Any) -> str:
    return f"send to {_address(given[-1])}" if given else _sends(sock)


def _receives(sock: Any, *_: Any, **__: Any) -> str:
    peer = _peer(sock)
    return f"receive from {peer} on a connection opened before" if peer else ""


def _resolves(name: Any = None, *_: Any, **given: Any) -> str:
    asked = given.get("host", name)
    return f"resolve {_address(asked) if isinstance(asked, tuple) else _text(asked)}"


def _starts(name: str) -> Describe:
    def describe(*args: Any, **_: Any) -> str:
        return f"start a process (os.{name}{f' of {args[0]!r}' if args else ''})"

    return describe


def _popen(_: Any, args: Any = None, *__: Any, **given: Any) -> str:
    command = given.get("args", args)
    first = command if isinstance(command, (str, bytes, os.PathLike)) else next(iter(command), "")
    return f"start a process ({first!r})"


def _sends_file(out: int, *_: Any, **__: Any) -> str:
    return "send a file on a connection opened before" if stat.S_ISSOCK(os.fstat(out).st_mode) else ""


def _wrapped(transport: Any, *_: Any, **__: Any) -> str:
    sock = transport.get_extra_info("socket")
    return "" if sock is None else _sends(sock)


def _reads_stream(reader: Any, *_: Any, **__: Any) -> str:
    """Of what a loop reads into a buffer, whoever waits for it. Pipes have no socket."""
    transport = getattr(reader, "_transport", None)
    sock = None if transport is None else transport.get_extra_info("socket")
    return "" if sock is None else _receives(sock)


def _writes_stream(writer: Any, *_: Any, **__: Any) -> str:
    transport = getattr(writer, "_transport", None)
    sock = None if transport is None else transport.get_extra_info("socket")
    return "" if sock is None else _sends(sock)


def _loop_socket(describe: Describe) -> Describe:
    return lambda _, sock, *args, **given: describe(sock, *args, **given)


def _trio_socket(describe: Describe) -> Describe:
    return lambda sock, *args, **given: describe(sock._sock, *args, **given)


def _opens(file: Any, mode: Any = "r", *_: Any, **__: Any) -> str:
    if isinstance(file, int) or not isinstance(mode, str) or not set(mode) & set("wax+"):
        return ""
    return _writes("write", file)


def _opens_flags(path: Any, flags: int, *_: Any, **__: Any) -> str:
    return _writes("write", path) if flags & _WRITING else ""


def _changes(name: str) -> Describe:
    return lambda path=None, *_, **given: _writes(f"call os.{name} on", given.get("src", given.get("path", path)))


def _opens_database(database: Any = "", *_: Any, **__: Any) -> str:
    text = _text(database)
    return "" if text in {"", ":memory:"} else f"open the database {text}"


def _writes(verb: str, path: Any) -> str:
    text = _text(path)
    return "" if text == os.devnull else f"{verb} {text}"


def _text(path: Any) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else repr(path)


# where they are made


def _doors() -> Iterator[Place]:
    yield from _made_once()
    yield from _if_loaded()


@functools.cache
def _made_once() -> Iterable[Place]:
    return (
        *_methods(socket.socket),
        *_methods(ssl.SSLSocket),
        *[Place(socket, name, _refusing(getattr(socket, name), _resolves)) for name in _RESOLVES],
        *[Place(os, name, _refusing(getattr(os, name), _starts(name))) for name in _STARTS if hasattr(os, name)],
        Place(os, "sendfile", _refusing(os.sendfile, _sends_file)),
        Place(subprocess.Popen, "__init__", _refusing(subprocess.Popen.__init__, _popen), imported=False),
        Place(sys.modules["_posixsubprocess"], "fork_exec", _refusing(_fork_exec(), lambda *_: "start a process")),
        *[
            Place(_thread, name, _carrying(getattr(_thread, name)), imported=False)
            for name in ("start_new_thread", "start_new")
            if hasattr(_thread, name)
        ],
        Place(logging.Handler, "handle", _let_be(logging.Handler.handle), imported=False),
        *[Place(module, "open", _OPEN) for module in (builtins, io)],
        Place(os, "open", _naming(os.open, _opens_flags)),
        *[Place(os, name, _naming(getattr(os, name), _changes(name))) for name in _CHANGES if hasattr(os, name)],
    )


def _fork_exec() -> Any:
    import _posixsubprocess  # noqa: PLC0415 - where subprocess and multiprocessing take it from

    return _posixsubprocess.fork_exec


def _methods(kind: type[socket.socket]) -> Iterator[Place]:
    """Those of a class of sockets; a class that has none of its own inherits the guarded one."""
    described: dict[str, Describe] = dict.fromkeys(("connect", "connect_ex"), _connects)
    described |= dict.fromkeys(_SENDS, _sends) | {"sendto": _sends_to} | dict.fromkeys(_RECEIVES, _receives)
    described |= {"write": _sends, "read": _receives}
    for name, describe in described.items():
        if name in vars(kind) if kind is not socket.socket else hasattr(kind, name):
            yield Place(kind, name, _refusing(getattr(kind, name), describe), imported=False)


def _if_loaded() -> Iterator[Place]:
    """Of modules that not every process loads. The private classes are pinned by tests/test_guard.py."""
    if "asyncio.selector_events" in sys.modules:
        yield from _asyncio_doors()
    if "uvloop" in sys.modules:
        yield from _uvloop_doors()
    if "trio" in sys.modules:
        yield from _trio_doors()
    if "sqlite3" in sys.modules:
        yield from _sqlite_doors()
    if "concurrent.futures.process" in sys.modules:
        yield from _pool_doors()


@functools.cache
def _asyncio_doors() -> Iterable[Place]:
    # A transport catches what its socket raises, logs it and closes: refused before, the connection is left as it was.
    from asyncio import selector_events, sslproto, streams  # noqa: PLC0415 - loaded already

    backend = sys.modules.get("anyio._backends._asyncio")
    return (
        tuple(
            Place(kind, name, _refusing(getattr(kind, name), _wrapped), imported=False)
            for kind, names in (
                (vars(selector_events)["_SelectorSocketTransport"], ("write", "writelines")),
                (vars(selector_events)["_SelectorDatagramTransport"], ("sendto",)),
                (vars(sslproto)["_SSLProtocolTransport"], ("write", "writelines")),
            )
            for name in names
        )
        + tuple(
            Place(kind, name, _refusing(getattr(kind, name), _reads_stream), imported=False)
            for kind, names in (
                (streams.StreamReader, ("read", "readline", "readexactly", "readuntil")),
                *([(vars(backend)["SocketStream"], ("receive",))] if backend is not None else []),
            )
            for name in names
        )
        + tuple(
            # Above the transports of uvloop, which are C.
            Place(kind, name, _refusing(getattr(kind, name), _writes_stream), imported=False)
            for kind, names in (
                (streams.StreamWriter, ("write", "writelines")),
                *([(vars(backend)["SocketStream"], ("send",))] if backend is not None else []),
            )
            for name in names
        )
    )


@functools.cache
def _uvloop_doors() -> Iterable[Place]:
    kind = vars(sys.modules["uvloop"])["Loop"]
    described: dict[str, Describe] = {
        "create_connection": lambda _, __=None, host=None, port=None, **___: f"connect to {_address((host, port))}",
        "create_unix_connection": lambda _, __=None, path=None, **___: f"connect to {path!r}",
        "create_datagram_endpoint": lambda _, *__, **given: f"open datagrams to {given.get('remote_addr')}",
        "getaddrinfo": lambda _, host=None, *__, **given: _resolves(host, **given),
        "getnameinfo": lambda _, address=None, *__, **___: _resolves(address),
        "sock_connect": _loop_socket(_connects),
        "sock_sendall": _loop_socket(_sends),
        "sock_recv": _loop_socket(_receives),
        "sock_recv_into": _loop_socket(_receives),
        "subprocess_exec": lambda _, __, *args, **___: _popen(None, args),
        "subprocess_shell": lambda _, __, command="", **___: _popen(None, command),
    }
    return tuple(Place(kind, name, _refusing(getattr(kind, name), what), imported=False) for name, what in described.items())


@functools.cache
def _trio_doors() -> Iterable[Place]:
    kind = vars(sys.modules["trio._socket"])["_SocketType"]
    described = {**dict.fromkeys(("send", "sendmsg"), _sends), "sendto": _sends_to, **dict.fromkeys(_RECEIVES, _receives)}
    return tuple(
        Place(kind, name, _refusing(getattr(kind, name), _trio_socket(describe)), imported=False)
        for name, describe in described.items()
        if hasattr(kind, name)
    )


@functools.cache
def _sqlite_doors() -> Iterable[Place]:
    module = sys.modules["sqlite3"]
    return (Place(module, "connect", _naming(module.connect, _opens_database)),)


@functools.cache
def _pool_doors() -> Iterable[Place]:
    kind = vars(sys.modules["concurrent.futures.process"])["ProcessPoolExecutor"]
    return (Place(kind, "submit", _refusing(kind.submit, lambda *_, **__: "hand work to another process"), imported=False),)


def _carrying(raw: Any) -> Any:
    """Of the lowest way to start a thread: the step's context goes along, as `threading` sees to for its own."""

    @functools.wraps(raw)
    def call(function: Any, args: Any = (), kwargs: Any = None, /) -> Any:
        here = _here()
        if here is None:
            return raw(function, args, *(() if kwargs is None else (kwargs,)))
        context, release = contextvars.copy_context(), here[0].hold()

        def run(*given: Any, **named: Any) -> None:
            try:
                context.run(function, *given, **named)
            finally:
                release()

        return raw(run, args, {} if kwargs is None else kwargs)

    return call


_OPEN: Final = _naming(builtins.open, _opens)
DOORS: Final = Interception(_doors)
"""Held while a replay runs, and while a thread or task of one lives."""
