"""Who may reach what a process listens on: without authentication, this machine only, unless told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import socket
from urllib.parse import parse_qs, urlsplit

from app.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")
"""The names to which a process on loopback answers, so that no web page gets in under a name that it points here."""


class CannotListen(Exception):
    """A process cannot, or must not, listen where its settings say."""


class UnsafeHost(CannotListen):
    """The process would let everybody in from other machines, and nobody has said that this is meant."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Taskloom has no authentication yet, so it listens on loopback (127.0.0.1) only, not on '{host}'. "
            "Set TASKLOOM_ALLOW_ANONYMOUS=1 to let everybody in who can reach that address."
        )


def check_host(settings: Settings) -> None:
    """Raise ``UnsafeHost`` when a process would listen beyond loopback without having been told that it may."""
    if not settings.allow_anonymous and not is_loopback(settings.host):
        raise UnsafeHost(settings.host)


def free_port(host: str, port: int) -> int:
    """The port, once it is known that a process can listen there; some free one when it is 0.

    Raises:
        CannotListen: another program listens there, this user may not, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            is_taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            cure = (
                "stop the program that uses it, or set PORT to another one"
                if is_taken
                else "set TASKLOOM_HOST to an address of this machine, as in 127.0.0.1"
            )
            raise CannotListen(f"The server cannot listen on {host} port {port} ({error.strerror}): {cure}.") from None
        return int(probe.getsockname()[1])


def place(url: str) -> str:
    """Where the server of a URL is: its hosts with their ports, or the path of its socket; never the password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    if directory := parse_qs(parts.query).get("host"):
        return directory[0]
    return parts.netloc.rpartition("@")[2] or "localhost"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, out of reach for others."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
