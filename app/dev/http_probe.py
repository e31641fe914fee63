"""Asking the machine about HTTP: is the port free, does the server answer."""

from __future__ import annotations

import asyncio
from contextlib import closing

from app import hosts
from app.dev.errors import DevError

PROBE_SECONDS = 5.0


def free_port(host: str, port: int) -> int:
    """The port, once it is known that a server can listen there; some free one when it is 0.

    Raises:
        DevError: another program listens there, or this user may not.
    """
    try:
        return hosts.free_port(host, port)
    except hosts.CannotListen as error:
        raise DevError(str(error)) from None


def reachable_host(host: str) -> str:
    """The address to reach a server at that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


async def until_healthy(host: str, port: int, seconds: float) -> None:
    """Return once ``GET /healthz`` is answered with 200.

    Raises:
        DevError: that did not happen within so many seconds.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await is_healthy(host, port):  # noqa: ASYNC110 (another process cannot set an event)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DevError(f"The server did not answer on /healthz within {seconds:.0f} s: see its lines above.") from None


async def is_healthy(host: str, port: int) -> bool:
    """Whether ``GET /healthz`` is answered with 200 within ``PROBE_SECONDS``."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(reachable_host(host), port)
            with closing(writer):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False
