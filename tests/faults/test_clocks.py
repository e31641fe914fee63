"""Processes whose clocks are two hours wrong, ahead or behind: leases, due times, times of runs and logs are right."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import shifted, triggered_elsewhere, worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled

SOON = timedelta(seconds=30)
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
