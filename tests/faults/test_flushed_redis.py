"""FLUSHALL at random times, under the load of ``make chaos``: nothing is lost, and nothing done twice."""

from __future__ import annotations

import asyncio
import random

from redis.asyncio import Redis

import app.migrations
from app import TaskService
from app.doorbell import queue_key
from app.settings import Settings
from tests.chaos import history
from tests.chaos.checker import check
from tests.chaos.load import Load, live_runs
from tests.faults.processes import two_workers
from tests.workbench import until

SEED = 1
FLUSHES = 30
PAUSE_SECONDS = (0.0, 0.2)
CHAOS = {"TASKLOOM_TASKS": "tests.chaos.definitions", "TASKLOOM_CONCURRENCY": "20"}
"""Few enough slots that rings wait in Redis when it is flushed."""


async def test_flushall_at_random_times_under_load_loses_and_doubles_nothing(
    fresh_database_url: str, redis_url: str
) -> None:
    await app.migrations.upgrade(fresh_database_url)
    await history.install(fresh_database_url)
    settings = Settings(database_url=fresh_database_url, redis_url=redis_url, tasks=("tests.chaos.definitions",))
    async with two_workers(settings, **CHAOS), TaskService.connect(settings=settings) as tasks:
        load = Load(tasks, SEED)
        loading = asyncio.create_task(load.go_on())
        async with Redis.from_url(redis_url) as redis:
            lost = [await flushed(redis) async for _ in now_and_then()]
        load.stop()
        await loading
        await until(lambda: none_is_live(tasks))
    runs = await history.load(fresh_database_url)
    assert check(runs, load.told, settings.max_interruptions) == []
    assert {run.row["interruptions"] for run in runs.values()} == {0}
    assert sum(number > 0 for number in lost) >= 3, f"there was hardly a ring to lose: {lost}"


async def now_and_then():
    """Comes by at random times."""
    chance = random.Random(SEED)
    for _ in range(FLUSHES):
        await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
        yield


async def flushed(redis: Redis) -> int:
    """FLUSHALL; how many rings were waiting in Redis."""
    rings, _ = await redis.pipeline().zcard(queue_key("default")).flushall().execute()
    return rings


async def none_is_live(tasks: TaskService) -> bool:
    return await live_runs(tasks) == 0
