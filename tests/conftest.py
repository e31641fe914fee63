"""Servers for the tests: started once a session, on the first wish, with a database that is empty for every test.

``TASKLOOM_TEST_DATABASE_URL`` and ``TASKLOOM_TEST_REDIS_URL`` name servers to use instead of the embedded ones. On
that PostgreSQL a database of the session's own is made and dropped; that Redis is flushed before every test. The
developer's ``DATABASE_URL`` and ``REDIS_URL`` are never touched.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlmodel import SQLModel

import app.migrations
import app.models
from app.db import plain_url
from app.dev.account import server_account
from app.dev.places import temporary_root
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.settings import Settings

app.models.load_all()

# A shell that starts the suite in the background has SIGINT ignored, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """A directory with a short path for the session's servers, removed at the end."""
    root = temporary_root(server_account(Path("/nonexistent")))
    home = Path(tempfile.mkdtemp(prefix="taskloom-test-", dir=root))
    # Root hands the servers to another user, who must get through to the private directories inside.
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
async def embedded_postgres(server_home: Path) -> AsyncIterator[EmbeddedPostgres]:
    """The session's PostgreSQL server; a test that kills it starts it again."""
    if os.environ.get("TASKLOOM_TEST_DATABASE_URL"):
        pytest.skip("TASKLOOM_TEST_DATABASE_URL is set: there is no embedded PostgreSQL to stop and start")
    server = EmbeddedPostgres(server_home / "postgres", durable=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def embedded_valkey(server_home: Path) -> AsyncIterator[EmbeddedValkey]:
    """The session's Valkey server; a test that kills it starts it again."""
    if os.environ.get("TASKLOOM_TEST_REDIS_URL"):
        pytest.skip("TASKLOOM_TEST_REDIS_URL is set: there is no embedded Valkey to stop and start")
    server = EmbeddedValkey(server_home / "valkey", durable=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def postgres_server_url(request: pytest.FixtureRequest) -> str:
    """The URL of some database on the session's PostgreSQL server."""
    return os.environ.get("TASKLOOM_TEST_DATABASE_URL") or request.getfixturevalue("embedded_postgres").url


@asynccontextmanager
async def new_database(server_url: str) -> AsyncGenerator[str]:
    """The URL of an empty database on a server, dropped when the block ends."""
    name = f"taskloom_test_{secrets.token_hex(6)}"
    await _execute(server_url, f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def fresh_database_url(postgres_server_url: str) -> AsyncIterator[str]:
    """The URL of a database of the test's own, without any tables."""
    async with new_database(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="session")
async def migrated_database_url(postgres_server_url: str) -> AsyncIterator[str]:
    """The URL of a database made for this session, with all migrations applied."""
    async with new_database(postgres_server_url) as url:
        await app.migrations.upgrade(url)
        yield url


class Sweeper:
    """Empties all tables over one connection: a new one looks up what each of them is, ten times the work."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    async def sweep(self) -> None:
        """Leave no row, also after a test that has cut connections or killed the server."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await _connect(self._url)
        # Not TRUNCATE, which takes forty times as long on small tables.
        tables = reversed(SQLModel.metadata.sorted_tables)
        await self._connection.execute("; ".join(f'DELETE FROM "{table.name}"' for table in tables))

    async def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            await self._connection.close()


@pytest.fixture(scope="session")
async def sweeper(migrated_database_url: str) -> AsyncIterator[Sweeper]:
    """What empties the session's database."""
    sweeper = Sweeper(migrated_database_url)
    yield sweeper
    await sweeper.close()


@pytest.fixture
async def database_url(migrated_database_url: str, sweeper: Sweeper) -> str:
    """The URL of a PostgreSQL database with the tables of the newest version, all of them empty."""
    await sweeper.sweep()
    return migrated_database_url


@pytest.fixture(scope="session")
def redis_server_url(request: pytest.FixtureRequest) -> str:
    """The URL of the session's Redis server, in whatever state the last test left it."""
    return os.environ.get("TASKLOOM_TEST_REDIS_URL") or request.getfixturevalue("embedded_valkey").url


@pytest.fixture
async def redis_url(redis_server_url: str) -> str:
    """The URL of an empty Redis server."""
    async with Redis.from_url(redis_server_url) as redis:
        await redis.flushall()
    return redis_server_url


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    """Settings with the test's servers, and the default of everything else that the environment does not set."""
    return Settings(database_url=database_url, redis_url=redis_url)


async def _execute(url: str, statement: str) -> None:
    connection = await _connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _connect(url: str) -> Any:
    connection: Any = await asyncpg.connect(plain_url(url))
    await connection.execute("SET lock_timeout = '10s'")
    return connection
