"""A process that is frozen inside a transaction does not keep its row locks for ever."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from app import TaskService
from app.db import Database, is_disconnect
from app.settings import Settings
from tests.workbench import until


async def test_a_transaction_that_stands_still_is_ended_and_lets_go_of_its_locks(
    settings: Settings, tasks: TaskService
) -> None:
    run = await tasks.trigger("echo")
    frozen = Database(settings.database_url, idle_seconds=0.2)
    look = await asyncpg.connect(settings.database_url)
    try:
        assert is_disconnect(await stand_still(frozen, look, run.id))
    finally:
        await look.close()
        await frozen.close()


async def test_a_transaction_that_is_called_off_as_it_begins_is_no_error(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    db = Database(settings.database_url)
    for attempt in range(200):
        beginning = asyncio.create_task(begin(db))
        for _ in range(attempt % 20):
            await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.wait({beginning})
    await begin(db)
    await db.close()
    assert [record.getMessage() for record in caplog.records] == []


async def begin(db: Database) -> None:
    """A transaction that does nothing."""
    async with db.pipe():
        pass


async def stand_still(db: Database, look: asyncpg.Connection, run_id: UUID) -> BaseException:
    """Lock a run and do nothing until somebody else can lock it; returns what the owner hears when it goes on."""
    lock = "SELECT id FROM task_runs WHERE id = $1 FOR UPDATE SKIP LOCKED"
    try:
        async with db.pipe() as pipe:
            assert await pipe.fetchval(lock, run_id)
            assert await look.fetchval(lock, run_id) is None
            await until(lambda: look.fetchval(lock, run_id))
            await pipe.fetchval("SELECT 1")
    except Exception as error:
        return error
    raise AssertionError("the transaction went on as if nothing had happened")
