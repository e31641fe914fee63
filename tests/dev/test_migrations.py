"""Migrations: run by every process that starts, alone or at once with others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import app.migrations
from app import tables
from app.db import Database, engine_of
from app.models import TaskRun
from tests.workbench import until

FILLFACTORS = """
    SELECT i.relname AS name, (SELECT option_value::int FROM pg_options_to_table(i.reloptions)) AS fillfactor
    FROM pg_index JOIN pg_class i ON i.oid = indexrelid WHERE indrelid = 'task_runs'::regclass"""

WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'task_runs'::regclass)"
CHECKS = """
    SELECT c.relname || '.' || conname AS name, pg_get_constraintdef(k.oid) AS says, convalidated AS holds
    FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
    WHERE contype = 'c' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition"""
A_LIST = re.compile(r"ARRAY\[(?:'\w+'::text(?:, )?)+\]|'\{[\w,]+\}'::text\[\]")


async def test_processes_that_migrate_at_once_take_turns(fresh_database_url: str) -> None:
    versions = await asyncio.gather(*(app.migrations.upgrade(fresh_database_url) for _ in range(4)))

    assert versions == [app.migrations.head()] * 4
    assert await app.migrations.current(fresh_database_url) == app.migrations.head()


async def test_the_newest_version_is_the_same_with_alembic_and_without(migrated_database_url: str) -> None:
    assert tables.newest() == app.migrations.head()
    connection: Any = await asyncpg.connect(migrated_database_url)
    assert await tables.current(connection) == app.migrations.head()
    await connection.close()


async def test_nobody_is_kept_waiting_behind_a_migration_that_waits_itself(fresh_database_url: str) -> None:
    await migrate(fresh_database_url, command.upgrade, "0019")
    reader: Any = await asyncpg.connect(fresh_database_url)
    writer: Any = await asyncpg.connect(fresh_database_url)
    async with asyncio.timeout(30):
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM task_runs")
            migrating = asyncio.create_task(migrate(fresh_database_url, command.upgrade, "0020"))
            await until(lambda: writer.fetchval(WAITING))
            await writer.execute("UPDATE task_runs SET priority = 1")
            assert not migrating.done()
        await migrating
    assert await app.migrations.current(fresh_database_url) == "0020"
    for connection in (reader, writer):
        await connection.close()


async def test_checks_that_were_made_short_can_be_made_long_again(fresh_database_url: str) -> None:
    await migrate(fresh_database_url, command.upgrade, "0019")
    before = await checks_in(fresh_database_url)
    await migrate(fresh_database_url, command.upgrade, "0020")
    assert await checks_in(fresh_database_url) != before
    await migrate(fresh_database_url, command.downgrade, "0019")
    after = await checks_in(fresh_database_url)

    assert {name: in_order(says) for name, says in after.items()} == {
        name: in_order(says) for name, says in before.items()
    }


async def migrate(database_url: str, way: Callable[[Config, str], None], target: str) -> None:
    """Bring the database to some version."""

    def go(connection: Connection) -> None:
        way(app.migrations._config(connection), target)

    engine = engine_of(database_url)
    async with engine.connect() as connection:
        await connection.run_sync(go)
    await engine.dispose()


async def test_the_migrations_make_what_the_models_say(migrated_database_url: str) -> None:
    def difference(connection: Connection) -> Any:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"include_name": app.migrations.is_ours}), SQLModel.metadata
        )

    engine = engine_of(migrated_database_url)
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


async def test_tables_refuse_what_the_models_say_they_refuse(
    fresh_database_url: str, migrated_database_url: str
) -> None:
    engine = engine_of(fresh_database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        await connection.run_sync(SQLModel.metadata.create_all)
    await engine.dispose()

    made = await checks_in(migrated_database_url)
    assert {name: in_order(says) for name, says in made.items()} == {
        name: in_order(says) for name, says in (await checks_in(fresh_database_url)).items()
    }
    assert "task_runs.final_means_finished" in made


async def test_no_list_in_the_checks_of_runs_is_parsed_value_by_value(migrated_database_url: str) -> None:
    of_runs = {
        name: says for name, says in (await checks_in(migrated_database_url)).items() if name.startswith("task_runs.")
    }

    assert len(of_runs) >= 9
    assert not [name for name, says in of_runs.items() if "ARRAY[" in says]


async def checks_in(database_url: str) -> dict[str, str]:
    """What the tables check, by table and name; each of it held by all rows."""
    connection: Any = await asyncpg.connect(database_url)
    rows = await connection.fetch(CHECKS)
    await connection.close()
    assert all(row["holds"] for row in rows)
    return {row["name"]: row["says"] for row in rows}


def in_order(says: str) -> str:
    """A condition with its lists in the order of the alphabet, however they are written."""
    return A_LIST.sub(lambda found: str(sorted({*re.findall(r"\w+", found[0])} - {"ARRAY", "text"})), says)


async def test_every_test_begins_with_empty_tables(database_url: str) -> None:
    connection: Any = await asyncpg.connect(database_url)
    for table in SQLModel.metadata.sorted_tables:
        assert await connection.fetchval(f'SELECT count(*) FROM "{table.name}"') == 0
    await connection.close()


async def test_a_url_may_say_what_libpq_s_urls_do(fresh_database_url: str) -> None:
    url = f"{fresh_database_url}&sslmode=prefer&application_name=by%20url"
    assert await app.migrations.upgrade(url) == app.migrations.head()
    db = Database(url)
    async with db.read() as session, db.autocommit() as pipe, db.autocommit(by_keys=True) as hot:
        names = [(await session.exec(text("SHOW application_name"))).scalar()]
        names += [await connection.fetchval("SHOW application_name") for connection in (pipe, hot)]
    await db.close()
    assert names == ["by url"] * 3


async def test_transactions_see_what_was_committed_before_each_statement_whatever_the_database_has_by_default(
    fresh_database_url: str,
) -> None:
    connection: Any = await asyncpg.connect(fresh_database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
    await connection.close()
    db = Database(fresh_database_url)
    async with db.read() as session, db.pipe() as pipe, db.pipe(by_keys=True) as hot:
        levels = [(await session.exec(text("SHOW transaction_isolation"))).scalar()]
        levels += [await connection.fetchval("SHOW transaction_isolation") for connection in (pipe, hot)]
    await db.close()
    assert levels == ["read committed"] * 3
