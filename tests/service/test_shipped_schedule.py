"""The schedule that is shipped: made once, and never again once somebody has deleted it."""

from __future__ import annotations

import app.migrations
from app import ScheduleStatus, TaskService
from app.schedules import timing_of
from app.settings import Settings


async def test_a_new_database_has_the_nightly_purge_and_keeps_it_deleted(
    fresh_database_url: str, redis_url: str
) -> None:
    await app.migrations.upgrade(fresh_database_url)
    settings = Settings(database_url=fresh_database_url, redis_url=redis_url)
    async with TaskService.connect(settings=settings) as tasks:
        [shipped] = (await tasks.schedules.list()).items
        assert (shipped.cron, shipped.status, shipped.owner) == ("17 3 * * *", ScheduleStatus.ACTIVE, "SYSTEM:taskloom")
        assert [shipped.next_tick_at] == await tasks.schedules.preview(timing_of(shipped), 1)
        assert (await tasks.saved.get(shipped.task_id)).definition_id == "purge-history"
        await tasks.schedules.delete(shipped.id)
        await app.migrations.upgrade(fresh_database_url)
        assert (await tasks.schedules.list()).items == []
