"""Processes whose clocks are two hours wrong, ahead or behind: leases, due times, times and what is shown are right."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import said_elsewhere, shifted, triggered_elsewhere, worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled
from tests.service.scheduled import execute, saved_task

SOON = timedelta(seconds=30)
FAILED_JUST_NOW = """
    INSERT INTO task_summaries (task_id, last_run_id, last_run_at, last_status, last_failed_at)
    VALUES ($1, gen_random_uuid(), now(), 'FAILED', now())"""
SLACK = timedelta(seconds=1)
TWO_HOURS = 7200
STEPS = 60
EACH = 3
DELAY, TTL = timedelta(seconds=1), timedelta(seconds=10)
LATER = {"delay": DELAY.total_seconds(), "ttl": TTL.total_seconds()}
ahead_and_behind = pytest.mark.parametrize("seconds", [TWO_HOURS, -TWO_HOURS], ids=["ahead", "behind"])


async def test_workers_two_hours_ahead_and_behind_keep_leases_due_times_and_log_times(
    settings: Settings, tasks: TaskService
) -> None:
    async with AsyncExitStack() as stack:
        workers = await asyncio.gather(
            *(stack.enter_async_context(wrong_by(settings, seconds)) for seconds in (TWO_HOURS, -TWO_HOURS))
        )
        triggered = datetime.now(UTC)
        # Longer than the lease; as many as both workers can hold, so that each holds some.
        runs = [await tasks.trigger("fault-steps", input={"steps": STEPS, "pause": 0.03}) for _ in range(2 * EACH)]
        later = await tasks.trigger("fault-steps", input={"steps": 1}, start_at=triggered + timedelta(seconds=3))
        retried = await tasks.trigger("fault-retry")
        runs = [await tasks.wait(run.id, timeout=SOON) for run in runs]
        later = await tasks.wait(later.id, timeout=SOON)
        retried = await tasks.wait(retried.id, timeout=SOON)
    assert {str(run.worker).rpartition(":")[2] for run in runs} == {str(worker.pid) for worker in workers}
    for run in runs:
        await assert_nothing_lost_or_doubled(tasks, run, STEPS)
        assert (run.attempt, run.interruptions) == (1, 0)
        await assert_times_are_right(tasks, run)
    assert later.started_at is not None
    assert later.start_at <= later.started_at <= later.start_at + timedelta(seconds=10)
    await assert_times_are_right(tasks, later)
    assert (retried.status, retried.output) == (TaskRunStatus.SUCCEEDED, 2)


@ahead_and_behind
async def test_a_worker_two_hours_ahead_or_behind_triggers_children_that_start_after_their_delay_within_their_ttl(
    settings: Settings, tasks: TaskService, seconds: int
) -> None:
    async with wrong_by(settings, seconds):
        parent = await tasks.trigger("fault-triggers", input=LATER)
        parent = await tasks.wait(parent.id, timeout=SOON)
        assert isinstance(parent.output, str)
        child = await tasks.wait(parent.output, timeout=SOON)
    assert_executed_in_time(child)
    assert parent.started_at is not None
    assert parent.finished_at is not None
    assert parent.started_at - SLACK <= child.created_at <= parent.finished_at + SLACK


@ahead_and_behind
async def test_a_server_two_hours_ahead_or_behind_triggers_runs_that_start_after_their_delay_within_their_ttl(
    settings: Settings, tasks: TaskService, seconds: int
) -> None:
    async with worker_process(settings):
        before = datetime.now(UTC)
        async with triggered_elsewhere(settings, seconds, **LATER) as run_id:
            after = datetime.now(UTC)
            run = await tasks.wait(run_id, timeout=SOON)
    assert_executed_in_time(run)
    assert before - SLACK <= run.created_at <= after + SLACK


@ahead_and_behind
async def test_runs_are_executed_in_the_order_of_their_triggers_though_the_clock_of_a_server_is_two_hours_wrong(
    settings: Settings, tasks: TaskService, seconds: int
) -> None:
    first = await tasks.trigger("fault-steps", input={"steps": 1})
    async with triggered_elsewhere(settings, seconds) as second:
        last = await tasks.trigger("fault-steps", input={"steps": 1})
        async with worker_process(settings, TASKLOOM_CONCURRENCY="1"):
            runs = [await tasks.wait(run_id, timeout=SOON) for run_id in (first.id, second, last.id)]
    assert [run.id for run in sorted(runs, key=lambda run: str(run.started_at))] == [first.id, second, last.id]
    assert [run.id for run in (await tasks.list()).items] == [last.id, second, first.id]


@ahead_and_behind
async def test_a_server_two_hours_ahead_or_behind_tells_of_every_change_while_redis_is_away(
    settings: Settings, tasks: TaskService, seconds: int
) -> None:
    alone = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with said_elsewhere(alone, seconds, "tests.faults.follow_and_stay") as said, asyncio.timeout(30):
        first = asyncio.ensure_future(said.readline())
        while not first.done():
            # What is triggered before it follows is not its business, so that one trigger might not do.
            run = await tasks.trigger("fault-nothing")
            await asyncio.wait({first}, timeout=0.2)
        await tasks.abort(run.id)
        while (await said.readline()).decode() != f"{run.id} ABORTED\n":
            pass


@ahead_and_behind
async def test_a_server_two_hours_ahead_or_behind_shows_what_finished_up_to_now_and_failed_today(
    settings: Settings, tasks: TaskService, seconds: int
) -> None:
    await tasks.abort((await tasks.trigger("fault-nothing")).id)
    task_id = await saved_task(settings, "fault-nothing", "{}")
    await execute(settings, FAILED_JUST_NOW, task_id)
    shown = await printed(settings, seconds, "stats", "--interval", "QUARTER_HOUR")
    failed = await printed(settings, seconds, "tasks", "list", "-q", "FAILED_TODAY", "-z", where_it_is_22_oclock())
    assert shown["totals"]["aborted"] == 1
    assert [task["id"] for task in failed["nodes"]] == [str(task_id)]


async def printed(settings: Settings, seconds: int, *command: str) -> Any:
    """What a command of the command line prints as JSON, in a process whose clock is wrong."""
    async with said_elsewhere(settings, seconds, "app.cli", *command, "--json") as said, asyncio.timeout(30):
        return json.loads(await said.read())


def where_it_is_22_oclock() -> str:
    """A time zone in which two hours more make another day, and a moment more does not."""
    # Their signs are the other way round than elsewhere.
    return f"Etc/GMT{(datetime.now(UTC).hour - 22 + 12) % 24 - 12:+d}"


def assert_executed_in_time(run: TaskRun) -> None:
    assert run.status == TaskRunStatus.SUCCEEDED
    assert run.start_at - run.created_at == DELAY
    assert run.expires_at == run.start_at + TTL
    assert run.started_at is not None
    assert run.start_at <= run.started_at < run.start_at + TTL
    assert abs(told_by(run.id) - run.created_at) < SLACK


def told_by(id: UUID) -> datetime:
    """The time in a UUIDv7."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)


def wrong_by(settings: Settings, seconds: int):
    """A worker process whose clock is wrong."""
    return worker_process(settings, command=shifted(seconds, "workers"), TASKLOOM_CONCURRENCY=str(EACH))


async def assert_times_are_right(tasks: TaskService, run: TaskRun) -> None:
    assert run.started_at is not None
    assert run.finished_at is not None
    first, last = run.started_at - SLACK, run.finished_at + SLACK
    times = [line.created_at async for line in tasks.logs(run.id)]
    assert times
    assert all(first <= time <= last for time in times), (first, times, last)
    assert run.progress is not None
    assert first <= datetime.fromisoformat(run.progress["updated_at"]) <= last
