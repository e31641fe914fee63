"""Workers whose clocks are two hours wrong, one ahead and one behind: leases, due times and log times are right."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled

SOON = timedelta(seconds=30)
SLACK = timedelta(seconds=1)
TWO_HOURS = 7200
STEPS = 60
EACH = 3


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


def wrong_by(settings: Settings, seconds: int):
    """A worker process whose clock is wrong."""
    command = (sys.executable, "-m", "tests.faults.shifted", str(seconds), "workers")
    return worker_process(settings, command=command, TASKLOOM_CONCURRENCY=str(EACH))


async def assert_times_are_right(tasks: TaskService, run: TaskRun) -> None:
    assert run.started_at is not None
    assert run.finished_at is not None
    first, last = run.started_at - SLACK, run.finished_at + SLACK
    times = [line.created_at async for line in tasks.logs(run.id)]
    assert times
    assert all(first <= time <= last for time in times), (first, times, last)
    assert run.progress is not None
    assert first <= datetime.fromisoformat(run.progress["updated_at"]) <= last
