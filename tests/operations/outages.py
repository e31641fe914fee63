"""PostgreSQL that is there and does not answer, or answers to other passwords only."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.dev.postgres import EmbeddedPostgres


@asynccontextmanager
async def frozen(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """Every process of a PostgreSQL is stopped, as on a host that hangs; they go on when the block ends."""
    assert server.pid is not None
    stopped = [server.pid]
    # First the one that makes others, so that none is made meanwhile.
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for pid in await children(server.pid):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


async def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    process = await asyncio.create_subprocess_exec("pgrep", "-P", str(pid), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return [int(line) for line in out.split()]


@asynccontextmanager
async def role_with_password(server: EmbeddedPostgres, name: str, password: str) -> AsyncIterator[Any]:
    """A superuser that has to give a password, and a connection to change it by."""
    rules = server.home / "data" / "pg_hba.conf"
    before = rules.read_text()
    connection: Any = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
    rules.write_text(f"local all {name} scram-sha-256\n{before}")
    await connection.execute("SELECT pg_reload_conf()")
    try:
        yield connection
    finally:
        rules.write_text(before)
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(f"DROP ROLE {name}")
        await connection.close()


def as_role(url: str, name: str, password: str) -> str:
    """The same database for another role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
