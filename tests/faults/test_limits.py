"""Limits with worker processes of their own: nothing above the limit, ever, and no slot lost with a killed worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app import TaskRun, TaskRunStatus, TaskService, TriggerRequest
from app.db import Database
from app.service import Triggered
from app.settings import Settings
from tests.faults.definitions import LIMITS
from tests.faults.processes import STOCK, two_workers, worker_process
from tests.workbench import until

SOON = timedelta(seconds=60)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TENANTS = "abcdefg"


@dataclass(frozen=True)
class Attempt:
    """When one attempt held a slot, and under which key."""

    key: str
    started_at: datetime
    finished_at: datetime


def most_at_once(attempts: Iterable[Attempt]) -> dict[str | None, int]:
    """The largest number of attempts at the same time, under each key and, as None, in all."""
    changes = [(moment, change, attempt.key) for attempt in attempts for moment, change in ends(attempt)]
    now, most = Counter[str | None](), Counter[str | None]()
    # At the same moment an end comes before a start.
    for _, change, key in sorted(changes, key=lambda change: change[:2]):
        for counted in (key, None):
            now[counted] += change
            most[counted] = max(most[counted], now[counted])
    return most


def ends(attempt: Attempt) -> tuple[tuple[datetime, int], tuple[datetime, int]]:
    return (attempt.started_at, 1), (attempt.finished_at, -1)


def most_in_window(starts: list[datetime], window: timedelta) -> int:
    """The largest number of starts in any window."""
    return max(sum(first <= other < first + window for other in starts) for first in starts)


def lasting(key: str, start: float, end: float) -> Attempt:
    return Attempt(key, NOON + timedelta(seconds=start), NOON + timedelta(seconds=end))


def test_the_check_reports_what_overlaps_and_nothing_else() -> None:
    assert most_at_once([lasting("a", 0, 2), lasting("a", 1, 3)]) == {"a": 2, None: 2}
    assert most_at_once([lasting("a", 0, 1), lasting("a", 1, 2)]) == {"a": 1, None: 1}
    assert most_at_once([lasting("a", 0, 9), lasting("b", 1, 2), lasting("b", 3, 4)]) == {"a": 1, "b": 1, None: 2}
    starts = [NOON + timedelta(seconds=second) for second in (0, 1, 2, 9)]
    assert (most_in_window(starts, timedelta(seconds=2)), most_in_window(starts, timedelta(seconds=3))) == (2, 3)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database_url, pool_size=2)
    yield database
    await database.close()


async def trigger(tasks: TaskService, definition_id: str, inputs: list[Any]) -> list[UUID]:
    answers = await tasks.trigger_many([TriggerRequest(definition_id=definition_id, input=input) for input in inputs])
    return [answer.run.id for answer in answers if isinstance(answer, Triggered)]


async def all_succeeded(tasks: TaskService, runs: list[UUID]) -> list[TaskRun]:
    ended = await asyncio.gather(*(tasks.wait(run, timeout=SOON) for run in runs))
    assert {run.status for run in ended} == {TaskRunStatus.SUCCEEDED}
    return ended


async def attempts(db: Database) -> list[Attempt]:
    async with db.autocommit() as pipe:
        rows = await pipe.fetch(
            "SELECT r.limit_key AS key, i.started_at, i.finished_at FROM task_iterations i JOIN task_runs r "
            "ON r.id = i.run_id"
        )
    return [Attempt(**row) for row in rows]


def assert_within_limits(found: list[Attempt]) -> None:
    most = most_at_once(found)
    assert max(most.values()) <= (LIMITS.max_concurrency or 0)
    assert {key: number for key, number in most.items() if key and number > (LIMITS.max_concurrency_per_key or 0)} == {}
    assert most[None] == LIMITS.max_concurrency, "the limit was never reached, so that it was not tested"


@pytest.mark.parametrize("redis", ["redis is there", "redis is flushed"])
async def test_two_workers_never_execute_more_at_once_than_the_limits_allow(
    settings: Settings, tasks: TaskService, db: Database, redis: str
) -> None:
    async with two_workers(settings):
        inputs = [{"tenant": TENANTS[n % 7], "pause": 0.01 * (n % 5), "rounds": 1 + n % 3} for n in range(210)]
        runs = await trigger(tasks, "fault-limited", inputs)
        if redis == "redis is flushed":
            await until(lambda: some_ended(tasks, runs))
            async with Redis.from_url(settings.redis_url) as client:
                await client.flushall()
        await all_succeeded(tasks, runs)
    found = await attempts(db)
    assert len(found) == sum(input["rounds"] for input in inputs)
    assert_within_limits(found)


async def some_ended(tasks: TaskService, runs: list[UUID]) -> bool:
    return (await tasks.get(runs[10])).status is TaskRunStatus.SUCCEEDED


async def test_the_slots_of_a_killed_worker_come_back_and_others_go_on(
    settings: Settings, tasks: TaskService, db: Database
) -> None:
    async with worker_process(settings) as first:
        held = await trigger(tasks, "fault-limited", [{"tenant": tenant, "pause": 60} for tenant in "aabbc"])
        waiting = await trigger(tasks, "fault-limited", [{"tenant": tenant} for tenant in "abcdefgh"])
        await until(lambda: all_running(tasks, held))
        async with worker_process(settings):
            await first.kill()
            for run in held[1:]:
                await until(lambda run=run: was_lost(tasks, run))
                await tasks.abort(run, force=True)
            await all_succeeded(tasks, waiting)
            await tasks.abort(held[0], force=True)
            await tasks.wait(held[0], timeout=SOON)
    assert max(most_at_once(await attempts(db)).values()) <= (LIMITS.max_concurrency or 0)


async def all_running(tasks: TaskService, runs: list[UUID]) -> bool:
    return {(await tasks.get(run)).status for run in runs} == {TaskRunStatus.RUNNING}


async def was_lost(tasks: TaskService, run: UUID) -> bool:
    return (await tasks.get(run)).interruptions == 1


async def test_no_more_runs_start_in_any_window_than_the_rate_allows(settings: Settings, tasks: TaskService) -> None:
    async with two_workers(settings):
        runs = await trigger(tasks, "fault-rated", [{} for _ in range(45)])
        ended = await all_succeeded(tasks, runs)
    starts = [run.started_at for run in ended if run.started_at]
    assert most_in_window(starts, timedelta(seconds=1)) == 10


async def test_arqs_stock_command_obeys_as_well(settings: Settings, tasks: TaskService, db: Database) -> None:
    async with worker_process(settings, command=STOCK), worker_process(settings):
        runs = await trigger(tasks, "fault-limited", [{"tenant": TENANTS[n % 7], "rounds": 2} for n in range(42)])
        await all_succeeded(tasks, runs)
    assert_within_limits(await attempts(db))
