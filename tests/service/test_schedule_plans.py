"""What schedulers ask every second reads no more than what is due, however many runs and schedules there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app import due_schedules
from app.db import plain_url
from tests.service.test_plans import ROWS, SEED

SCHEDULES = """
    INSERT INTO schedules (id, task_id, cron, time_zone, overlap, catch_up, owner, status, next_tick_at, next_due_at,
        created_by, updated_by)
    SELECT gen_random_uuid(), gen_random_uuid(), '@daily', 'UTC', 'SKIP', 'LAST', 'USER:a', 'ACTIVE', at, at, 'a', 'a'
    FROM (SELECT now() + (n - 3) * interval '1 minute' AS at FROM generate_series(1, 10000) n) AS planned"""
TICKS = """
    INSERT INTO schedule_ticks (schedule_id, tick_at, last_tick_at, outcome, reason)
    SELECT s.id, now() - n * interval '1 day', now(), CASE WHEN n = 1 AND s.next_due_at < now() THEN 'WAITING'
        ELSE 'SKIPPED' END, 'OVERLAP' FROM schedules s, generate_series(1, 5) n"""
RUNS = "UPDATE task_runs r SET schedule_id = (SELECT id FROM schedules LIMIT 1) WHERE status = 'SUCCEEDED'"


@pytest.fixture(scope="module")
async def connection(migrated_database_url: str) -> AsyncIterator[Any]:
    """A connection that sees large tables, which are gone afterwards because nothing is committed."""
    connection = await asyncpg.connect(plain_url(migrated_database_url))
    transaction = connection.transaction()
    await transaction.start()
    for statement in (SEED.replace("ROWS", str(ROWS)), SCHEDULES, TICKS, RUNS):
        await connection.execute(statement)
    for table in ("task_runs", "schedules", "schedule_ticks"):
        await connection.execute(f"ANALYZE {table}")
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.mark.parametrize("statement", ["_DUE", "_WAITING"])
async def test_no_table_of_runs_schedules_or_ticks_is_read_as_a_whole(connection: Any, statement: str) -> None:
    rows = await connection.fetch("EXPLAIN " + getattr(due_schedules, statement), 100)
    plan = "\n".join(row[0] for row in rows)
    for table in ("task_runs", "schedules", "schedule_ticks"):
        assert f"Seq Scan on {table}" not in plan, plan


async def test_purging_begins_at_the_oldest_lines(connection: Any) -> None:
    rows = await connection.fetch("EXPLAIN " + due_schedules._PURGE, 86400.0, 1000)
    assert "schedule_ticks_by_time" in "\n".join(row[0] for row in rows)
