"""A process that task code forks off a worker is no worker: it takes no part in its signals, connections and runs.

A forked process shares everything that is open: a SIGTERM for it would arrive at the worker as well, through the pipe
by which Python tells its event loop of signals, and one byte on a connection would break it for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from app.settings import Settings

EXIT_CODE = 70
STOPPING = (signal.SIGTERM, signal.SIGINT)
_COMPLAINT = b"A process that task code forked came back into its worker's code, where it has no business; it ends.\n"
_PORT = re.compile(r":(\d+)$")
_EPOLL = "anon_inode:[eventpoll]"

_is_guarded = False
_is_stranger = False
_servers: set[object] = set()
_loop: asyncio.AbstractEventLoop | None = None
_loop_thread = 0
_thread = threading.local()


def guard(settings: Settings) -> None:
    """From now on, cut every forked process off from this worker; call it on the event loop."""
    global _is_guarded, _loop, _loop_thread
    _loop, _loop_thread = asyncio.get_running_loop(), threading.get_ident()
    _servers.update(servers_of(settings.database_url, 5432) | servers_of(settings.redis_url, 6379))
    if not _is_guarded:
        os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals_go, after_in_child=_become_a_stranger)
        _is_guarded = True


def end_if_forked() -> None:
    """End a forked process that comes back from task code: it must not settle its worker's run."""
    if _is_stranger:
        with contextlib.suppress(OSError):
            os.write(2, _COMPLAINT)
        os._exit(EXIT_CODE)


def _hold_signals() -> None:
    """A signal must not find the forked process with its worker's handlers, however early it comes."""
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def _let_signals_go() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)


def _become_a_stranger() -> None:
    """In the forked process, before any of its code."""
    global _is_stranger
    _is_stranger = True
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _let_signals_go()
    for fd in _open_files():
        with contextlib.suppress(OSError):
            _cut_off(fd)
    if _loop is not None and threading.get_ident() == _loop_thread:
        # It stands in the middle of the event loop. Should it get back there, this is the end.
        _loop.call_soon(end_if_forked)


def _cut_off(fd: int) -> None:
    """Put something harmless in the place of a connection to our servers, or of what the event loop waits on."""
    if _leads_to_our_servers(fd):
        with open(os.devnull, "r+b", buffering=0) as nothing:
            os.dup2(nothing.fileno(), fd, inheritable=False)
    elif hasattr(select, "epoll") and os.readlink(f"/proc/self/fd/{fd}") == _EPOLL:
        with select.epoll() as empty:
            os.dup2(empty.fileno(), fd, inheritable=False)


def _open_files() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/dev/fd") if int(name) > 2)


def _leads_to_our_servers(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    connection = socket.socket(fileno=fd)
    try:
        peer = connection.getpeername()
    except OSError:
        return False
    finally:
        connection.detach()
    # A path, or the port of an address: a connection of theirs to the same server is of no use in two processes either.
    return (peer[1] if isinstance(peer, tuple) else peer) in _servers


def servers_of(url: str, port: int) -> set[object]:
    """What connections to the servers of a URL are known by: the paths of their sockets, and their ports.

    PostgreSQL's may name several hosts, as in ``a:1,b`` or ``?host=/c,/d&port=1,2``; ``port`` is that of those without.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return {parts.path}
    asked = {name: values[0].split(",") for name, values in parse_qs(parts.query).items()}
    hosts = parts.netloc.rpartition("@")[2].split(",")
    ports = asked.get("port") or [found[1] if (found := _PORT.search(host)) else port for host in hosts]
    numbers = {int(number or port) for number in ports}
    directories = [host for host in asked.get("host", ()) if host.startswith("/")]
    return {*numbers, *(f"{directory}/.s.PGSQL.{number}" for directory in directories for number in numbers)}
