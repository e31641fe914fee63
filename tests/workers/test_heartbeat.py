"""The heartbeat waits for nobody: not for a connection that a chore holds, not for a table that somebody has locked."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from app import TaskService
from app.db import plain_url
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.service.scheduled import HOURLY, execute, saved_task
from tests.workbench import until, until_status, working
from workers import TaskContext
from workers.lease import HOUSEKEEPING_CONNECTIONS

LEASE_SECONDS = 1.0
# Whoever only reads passes; dispatcher, reaper, summariser and the runs of two ticks do not.
LOCK = "LOCK TABLE task_runs, task_summary_mark IN EXCLUSIVE MODE"
# By one statement, because a scheduler that has found one of them looks for no other.
BOTH_DUE = """
    UPDATE schedules SET next_tick_at = date_trunc('hour', now()), next_due_at = date_trunc('hour', now()),
        active_since = date_trunc('hour', now())"""
STUCK = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OUTLIVED = "SELECT bool_and(lease_expires_at > $1::timestamptz + make_interval(secs => 2 * $2)) FROM workers"


async def test_a_lease_outlives_its_length_while_every_chore_is_stuck_and_the_run_finishes(
    settings: Settings, tasks: TaskService
) -> None:
    allowed = asyncio.Event()

    async def patient(ctx: TaskContext) -> None:
        await allowed.wait()

    registry = Registry()
    registry.add(Definition(id="patient", function=patient, title="Patient", input_type=None))
    quick = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1, "dispatch_seconds": 0.05, "reap_seconds": 0.05}
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    async with working(settings, registry, **quick):
        run = await tasks.trigger("patient")
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        for _ in range(2):
            await tasks.schedules.create(await saved_task(settings, "patient", "{}"), HOURLY)
        async with connection.transaction():
            await connection.execute(LOCK)
            began = await connection.fetchval("SELECT clock_timestamp()")
            await execute(settings, BOTH_DUE)

            async def all_stuck() -> bool:
                # Not within the transaction, which sees others as they were when it first looked.
                return (await execute(settings, STUCK))[0][0] >= HOUSEKEEPING_CONNECTIONS

            await until(all_stuck, patience=20)
            await until(lambda: connection.fetchval(OUTLIVED, began, LEASE_SECONDS), patience=20)
        allowed.set()
        ended = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    await connection.close()
    assert (ended.attempt, ended.interruptions, ended.claim_no) == (1, 0, 1)
