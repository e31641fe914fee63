"""Statistics hold each run once, also when those who count are killed, and when workers that execute are."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from app import TaskRunStatus, TaskService, clock
from app.db import Database
from app.service.statistics_reading import StatisticsQuery
from app.settings import Settings
from tests.faults.processes import ROOT, two_workers
from tests.service import finished
from tests.service.finished import assert_measured, at_random, count_all
from tests.workbench import until

DAY = timedelta(days=1)


async def test_processes_that_are_killed_while_they_count_count_every_run_once(
    settings: Settings, tasks: TaskService
) -> None:
    db = Database(settings.database_url, pool_size=2)
    now = clock.now()
    runs = at_random(now - DAY, now - timedelta(minutes=1), 3000, 5, finished.some_tasks(5))
    await finished.store(db, runs)
    command = (sys.executable, "-m", "tests.faults.count_runs", settings.database_url)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    async def counted() -> int:
        async with db.autocommit() as pipe:
            number = "SELECT COALESCE(sum(succeeded + failed + aborted + lost + expired), 0) FROM run_rollups"
            return await pipe.fetchval(f"{number} WHERE scope = 'ALL' AND minutes = 15")

    for goal in (300, 900, 1800):
        both = [await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT) for _ in range(2)]

        async def reached(goal: int = goal) -> bool:
            return await counted() >= goal

        await until(reached)
        for process in both:
            process.kill()
            await process.wait()
    assert await counted() < len(runs)
    await count_all(db)
    query = StatisticsQuery(since=now - 2 * DAY)
    assert_measured((await tasks.statistics.of(query)).totals, runs)
    await db.close()


async def test_runs_of_workers_that_die_are_counted_once_as_they_ended(settings: Settings, tasks: TaskService) -> None:
    db = Database(settings.database_url, pool_size=2)
    requests = [await tasks.trigger("fault-steps", input={"steps": 3, "pause": 0.01}) for _ in range(60)]

    async def finals() -> int:
        async with db.autocommit() as pipe:
            return await pipe.fetchval("SELECT count(*) FROM task_runs WHERE finished_at IS NOT NULL")

    async def some() -> bool:
        return await finals() >= 10

    async def all_of_them() -> bool:
        await count_all(db)
        return await finals() == len(requests)

    async with two_workers(settings) as (first, _):
        await until(some)
        await first.kill()
        await until(all_of_them)
    await count_all(db)
    found = (await tasks.statistics.of(StatisticsQuery(since=clock.now() - DAY))).totals
    runs = await tasks.find([run.id for run in requests])
    assert found.runs == len(requests)
    assert found.succeeded == sum(run.status is TaskRunStatus.SUCCEEDED for run in runs.values())
    await db.close()
