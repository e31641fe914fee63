"""Migrations: run by every process that starts, alone or at once with others."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

import app.migrations
from app.db import with_driver
from app.models import TaskRun

FILLFACTORS = """
    SELECT i.relname AS name, (SELECT option_value::int FROM pg_options_to_table(i.reloptions)) AS fillfactor
    FROM pg_index JOIN pg_class i ON i.oid = indexrelid WHERE indrelid = 'task_runs'::regclass"""


async def test_processes_that_migrate_at_once_take_turns(fresh_database_url: str) -> None:
    versions = await asyncio.gather(*(app.migrations.upgrade(fresh_database_url) for _ in range(4)))

    assert versions == [app.migrations.head()] * 4
    assert await app.migrations.current(fresh_database_url) == app.migrations.head()


async def test_the_migrations_make_what_the_models_say(migrated_database_url: str) -> None:
    def difference(connection: Connection) -> Any:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"include_name": app.migrations.is_ours}), SQLModel.metadata
        )

    engine = create_async_engine(with_driver(migrated_database_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []
    await engine.dispose()


async def test_indexes_have_the_room_for_versions_that_the_models_say(migrated_database_url: str) -> None:
    said = {
        index.name: index.dialect_options["postgresql"]["with"].get("fillfactor") for index in TaskRun.__table__.indexes
    }
    connection: Any = await asyncpg.connect(migrated_database_url)
    rows = await connection.fetch(FILLFACTORS)
    await connection.close()
    made = {row["name"]: row["fillfactor"] for row in rows}

    assert made == {**said, "task_runs_pkey": 50}
    assert made["task_runs_by_definition"] == 50
    assert made["task_runs_by_finish"] is None


async def test_every_test_begins_with_empty_tables(database_url: str) -> None:
    connection: Any = await asyncpg.connect(database_url)
    for table in SQLModel.metadata.sorted_tables:
        assert await connection.fetchval(f'SELECT count(*) FROM "{table.name}"') == 0
    await connection.close()
