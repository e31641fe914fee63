"""Schedulers that freeze, die or have wrong clocks, and a database that is away: one run for each tick."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from app import CatchUpPolicy, OverlapPolicy, Schedule, TaskService, Timing
from app.dev.postgres import EmbeddedPostgres
from app.settings import Settings
from tests.faults.processes import shifted, two_workers, worker_process
from tests.service.scheduled import history, runs_of, saved_task
from tests.workbench import until

SECONDLY = Timing(every=timedelta(seconds=1))
TWO_HOURS = 7200


@pytest.fixture
async def schedule(settings: Settings, tasks: TaskService) -> Schedule:
    """A schedule that ticks every second, whatever its earlier runs do, and misses nothing."""
    task_id = await saved_task(settings, "fault-nothing", "{}")
    return await tasks.schedules.create(task_id, SECONDLY, overlap=OverlapPolicy.ALLOW_ALL, catch_up=CatchUpPolicy.ALL)


async def ticked(settings: Settings, schedule: Schedule, number: int) -> None:
    """Wait until so many runs are there."""

    async def enough() -> bool:
        return len(await runs_of(settings, schedule)) >= number

    await until(enough, 40)


async def assert_each_tick_made_one_run(settings: Settings, tasks: TaskService, schedule: Schedule) -> None:
    await tasks.schedules.pause(schedule.id)
    runs, lines = await runs_of(settings, schedule), await history(tasks, schedule)
    ticks = [run.tick_at for run in runs]
    assert ticks == [line.tick_at for line in lines]
    assert [run.id for run in runs] == [line.run_id for line in lines]
    first = schedule.next_tick_at
    assert first is not None
    assert ticks == [first + n * timedelta(seconds=1) for n in range(len(ticks))]


async def test_two_schedulers_of_which_one_is_frozen_and_then_killed_make_one_run_of_each_tick(
    settings: Settings, tasks: TaskService, schedule: Schedule
) -> None:
    async with two_workers(settings) as (first, second):
        await ticked(settings, schedule, 2)
        for _ in range(3):
            first.send(signal.SIGSTOP)
            await ticked(settings, schedule, len(await runs_of(settings, schedule)) + 2)
            first.send(signal.SIGCONT)
            await ticked(settings, schedule, len(await runs_of(settings, schedule)) + 1)
        await second.kill()
        await ticked(settings, schedule, len(await runs_of(settings, schedule)) + 2)
    await assert_each_tick_made_one_run(settings, tasks, schedule)


async def test_schedulers_two_hours_ahead_and_behind_tick_by_the_database_s_clock(
    settings: Settings, tasks: TaskService, schedule: Schedule
) -> None:
    async with AsyncExitStack() as stack:
        for seconds in (TWO_HOURS, -TWO_HOURS):
            await stack.enter_async_context(worker_process(settings, command=shifted(seconds, "workers")))
        await ticked(settings, schedule, 5)
    await assert_each_tick_made_one_run(settings, tasks, schedule)
    for run in await runs_of(settings, schedule):
        assert run.tick_at is not None
        assert abs(run.created_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert run.start_at - run.tick_at < timedelta(minutes=5)


async def test_ticks_while_every_worker_was_dead_are_caught_up_each_once(
    settings: Settings, tasks: TaskService, schedule: Schedule
) -> None:
    async with worker_process(settings) as worker:
        await ticked(settings, schedule, 1)
        await worker.kill()
    before = len(await runs_of(settings, schedule))
    await asyncio.sleep(2)
    async with worker_process(settings):
        await ticked(settings, schedule, before + 3)
    await assert_each_tick_made_one_run(settings, tasks, schedule)


async def test_ticks_while_the_database_was_away_are_caught_up_each_once(
    settings: Settings, tasks: TaskService, schedule: Schedule, embedded_postgres: EmbeddedPostgres
) -> None:
    async with worker_process(settings, TASKLOOM_LEASE_SECONDS="30"):
        await ticked(settings, schedule, 1)
        await embedded_postgres.kill()
        await asyncio.sleep(2)
        await embedded_postgres.start()
        await ticked(settings, schedule, 5)
    await assert_each_tick_made_one_run(settings, tasks, schedule)
