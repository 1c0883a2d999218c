"""The service's socket: a port, or a Unix socket for a proxy on the same machine.

It is bound at once, so that an address that cannot be had is said before the bundle is loaded. Nobody can connect until
the server listens on it, which :mod:`service.process.server` does once the bundle is loaded and warmed up.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcdr.errors import InputError
from service.settings import Settings

BACKLOG = 2048
"""Connections that may wait to be accepted."""
NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte of TCP flags
    (0x45, 0, 1, 0x02),  # is SYN set?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else let it through
)
"""In the kernel's packet filter language (Linux, networking/filter): code, jumps if true and if false, operand."""
SO_ATTACH_FILTER = 26


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The bound socket that ``settings`` ask for, until the block ends. A Unix socket's file is removed afterwards.

    Raises:
        InputError: the address is taken, not ours, or not allowed.
    """
    if settings.uds is None:
        with bind(settings.host, settings.port) as listener:
            yield listener
        return
    with bind_file(settings.uds, mode=int(settings.uds_mode, 8)) as listener:
        made = _identity(settings.uds)
        try:
            yield listener
        finally:
            # Another service may have put its own there meanwhile.
            if _identity(settings.uds) == made:
                settings.uds.unlink(missing_ok=True)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet.

    Raises:
        InputError: the address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _port_refused(host, port, error) from error
    listener.set_inheritable(True)
    return listener


def bind_file(path: Path, *, mode: int) -> socket.socket:
    """A Unix socket bound to ``path``, which has never more permissions than ``mode``; for a process without threads.

    It does not listen yet. What a service that was killed left there is removed.

    Raises:
        InputError: something else is there, another process answers there, or it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        _remove_what_is_left(path)
        listener.bind(str(path))
        path.chmod(mode)
    except OSError as error:
        listener.close()
        raise _file_refused(path, error) from error
    except InputError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.set_inheritable(True)
    return listener


def refused(listener: socket.socket, error: OSError) -> InputError:
    """What to raise where ``listener`` was bound but cannot listen: another process began to meanwhile."""
    if listener.family == socket.AF_UNIX:
        return _file_refused(Path(listener.getsockname()), error)
    host, port = listener.getsockname()[:2]
    return _port_refused(host, port, error)


def _port_refused(host: str, port: int, error: OSError) -> InputError:
    return InputError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port or --host")


def _file_refused(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"cannot listen on the socket {path}: {reason}; choose another --uds")


def _remove_what_is_left(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise InputError(f"{path} exists and is not a socket, so it is not replaced; choose another --uds")
    # A probe of the other kind: one of the same would not tell a service that still loads from one that was killed.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
    raise InputError(f"another process listens on the socket {path}; stop it, or choose another --uds")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def turn_away(listener: socket.socket) -> None:
    """Let nobody else connect; those who have can still be accepted. Whoever tries is refused once it is closed.

    A socket that listens cannot be told so, but a filter can keep the packets that begin a connection from it (Linux;
    elsewhere, who connects between the last accept and the close is cut off). A Unix socket's file is removed.
    """
    if listener.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            Path(listener.getsockname()).unlink(missing_ok=True)
        return
    if not sys.platform.startswith("linux"):
        return
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_NEW_CONNECTIONS)
    held = ctypes.create_string_buffer(program)
    described = struct.pack("HP", len(NO_NEW_CONNECTIONS), ctypes.addressof(held))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)


def shown(listener: socket.socket) -> str:
    """The address to show to people."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
