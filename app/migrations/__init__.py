"""Migrations: the versions of the database's tables, and the Alembic runs that bring a database up to date.

There is no ``alembic.ini``: everything Alembic needs is said here. New versions go into ``versions/`` as
``0001_what_it_does.py``, ``0002_…``; each is a plain Alembic script.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from app.db import engine_of, plain_url

_HERE = Path(__file__).parent
# Any number will do as long as nothing else on the database takes an advisory lock with it.
_LOCK = 7_215_318_664_010
LOCK_SECONDS = 300.0
# A database of that name is there, or is being created by somebody else.
DUPLICATE_DATABASE = ("42P04", "23505")
PARTITION = re.compile(r"(task_logs|task_iterations)_(first|default|\d+)")


async def upgrade(database_url: str) -> str | None:
    """Bring the database to the newest version; two processes that do so at once take turns.

    Args:
        database_url: a ``postgresql://`` URL of an existing database.

    Returns:
        The version the database has now, or None when there are no migrations at all.

    Raises:
        TimeoutError: another process has held the migration lock for more than ``LOCK_SECONDS``.
    """
    async with _connection(database_url) as connection, _alone(connection):
        await connection.run_sync(_upgrade_to_head)
        return await connection.run_sync(_current)


async def create_database(database_url: str) -> bool:
    """Create the database that a URL names, by way of the server's ``postgres`` database.

    Returns:
        Whether it was created; False when it is there already.
    """
    parts = urlsplit(plain_url(database_url))
    server = urlunsplit(parts._replace(path="/postgres"))
    engine = engine_of(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            quoted = connection.dialect.identifier_preparer.quote_identifier(unquote(parts.path[1:]))
            await connection.exec_driver_sql(f"CREATE DATABASE {quoted}")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in DUPLICATE_DATABASE:
            raise
        return False
    finally:
        await engine.dispose()
    return True


async def current(database_url: str) -> str | None:
    """The version the database has, or None when no migration ever ran there."""
    async with _connection(database_url) as connection:
        return await connection.run_sync(_current)


def head() -> str | None:
    """The newest version in the code, or None when there are no migrations yet."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether the models speak of a table by this name: they do not of its partitions. For Alembic's comparisons."""
    return kind != "table" or name is None or not PARTITION.fullmatch(name)


async def draft(database_url: str, message: str) -> None:
    """Write the next version into ``versions/``, as a draft made from what the models have and the database has not.

    Args:
        database_url: a database at the newest version.
        message: what the version does, in a few words; it becomes the file's name.
    """
    async with _connection(database_url) as connection:
        await connection.run_sync(_draft, message)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _upgrade_to_head(connection: Connection) -> None:
    if head() is None:
        return
    command.upgrade(_config(connection), "head")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _draft(connection: Connection, message: str) -> None:
    number = int(head() or "0") + 1
    command.revision(_config(connection), message, autogenerate=True, rev_id=f"{number:04}")


@asynccontextmanager
async def _connection(database_url: str) -> AsyncGenerator[AsyncConnection]:
    engine = engine_of(database_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _alone(connection: AsyncConnection) -> AsyncGenerator[None]:
    """Hold the migration lock; the end of the connection gives it back in any case."""
    async with asyncio.timeout(LOCK_SECONDS):
        await _take_lock(connection)
    yield
    await _ask(connection, "SELECT pg_advisory_unlock(:key)")


async def _take_lock(connection: AsyncConnection) -> None:
    # Asked again and again: a session that waits inside the lock's statement would block CREATE INDEX CONCURRENTLY.
    while True:
        if await _ask(connection, "SELECT pg_try_advisory_lock(:key)"):
            return
        await asyncio.sleep(0.1)


async def _ask(connection: AsyncConnection, statement: str) -> bool:
    answer = await connection.scalar(text(statement), {"key": _LOCK})
    await connection.commit()
    return bool(answer)
