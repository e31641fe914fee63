"""Who may reach what a process listens on: without authentication, this machine only, unless told otherwise."""

from __future__ import annotations

import ipaddress
import socket

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
        CannotListen: another program listens there, or this user may not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotListen(
                f"The server cannot listen on {host} port {port} ({error.strerror}): "
                "stop the program that uses it, or set PORT to another one."
            ) from None
        return int(probe.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, out of reach for others."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
