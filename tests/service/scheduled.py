"""Saved tasks and schedules for tests, and schedulers whose every look the test takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson

from app import TaskService
from app.auth import may_act
from app.db import Database, plain_url
from app.doorbell import Doorbell
from app.events import Events
from app.models import Schedule, ScheduleTick, TaskRun
from app.registry import Registry
from app.rows import detached
from app.run_filters import TABLE
from app.service.backpressure import Backpressure
from app.service.known import KnownDefinitions
from app.service.preparing import Preparing
from app.service.ticking import Ticking
from app.settings import Settings
from app.ticks import Timing

HOURLY = Timing(cron="@hourly")


async def execute(settings: Settings, statement: str, *arguments: Any) -> list[Any]:
    """Send one statement to the test's database."""
    connection = await asyncpg.connect(plain_url(settings.database_url))
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def saved_task(settings: Settings, definition_id: str = "echo", input: str = '{"text": "from the task"}') -> UUID:
    """A saved task, as it lies in its table."""
    id = uuid4()
    await execute(
        settings,
        """INSERT INTO tasks (id, name, definition_id, input, tags, group_name, owner, created_by, updated_by)
        VALUES ($1, $2, $3, $4::jsonb, '{nightly}', 'pipeline', 'USER:ada', 'USER:ada',
            'USER:ada')""",
        id, f"Task {id}", definition_id, input,
    )  # fmt: skip
    return id


async def make_due(settings: Settings, schedule: Schedule, ago: timedelta = timedelta(0)) -> datetime:
    """Put a schedule back, so that the last tick before ``ago`` is its next one; returns that tick."""
    now = (await execute(settings, "SELECT now()"))[0][0]
    timing = Timing(
        cron=schedule.cron,
        every=None if schedule.every_seconds is None else timedelta(seconds=schedule.every_seconds),
        anchor=schedule.anchor_at,
    )
    tick = timing.last(now - ago)
    assert tick is not None
    await execute(
        settings,
        "UPDATE schedules SET next_tick_at = $2, next_due_at = $2, active_since = $2 WHERE id = $1",
        schedule.id,
        tick,
    )
    return tick


async def history(tasks: TaskService, schedule: Schedule) -> list[ScheduleTick]:
    """What became of a schedule's ticks, the earliest first."""
    page = (await tasks.schedules.tick_pages([schedule.id]))[schedule.id]
    return page.items[::-1]


async def runs_of(settings: Settings, schedule: Schedule) -> list[TaskRun]:
    """The runs of a schedule, in order of their ticks."""
    names = ", ".join(column.name for column in TABLE.c)
    rows = await execute(
        settings, f"SELECT {names} FROM task_runs WHERE schedule_id = $1 ORDER BY tick_at, id", schedule.id
    )
    return [detached(TaskRun, {**dict(row), "input": orjson.loads(row["input"])}) for row in rows]


async def finish(settings: Settings, run: TaskRun, status: str = "SUCCEEDED") -> None:
    """End a run as a worker would have."""
    await execute(
        settings, "UPDATE task_runs SET status = $2, finished_at = now(), due_at = NULL WHERE id = $1", run.id, status
    )


@asynccontextmanager
async def scheduler(
    settings: Settings, registry: Registry, allowed: Callable[[str], str | None] = may_act
) -> AsyncIterator[Ticking]:
    """A scheduler with connections of its own."""
    db, doorbell, events = (
        Database(settings.database_url, pool_size=3),
        Doorbell(settings.redis_url),
        Events(settings.redis_url),
    )
    preparing = Preparing(db, settings, KnownDefinitions(db, registry))
    yield Ticking(db, doorbell, events, preparing, Backpressure(db, settings), allowed)
    await events.close()
    await doorbell.close()
    await db.close()
