"""What checks an input may raise or block: that refuses its tick, and costs no worker its lease or its scheduler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from app import Schedule, TaskService
from app.models import ScheduleTick, TickOutcome, TickReason
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.poison import RAISED
from tests.faults.processes import WorkerProcess, worker_process
from tests.service.scheduled import HOURLY, execute, history, make_due, runs_of, saved_task
from tests.workbench import until, until_status

CHECKS = {"TASKLOOM_TASKS": "tests.faults.definitions,tests.faults.checks", "TASKLOOM_HOOK_SECONDS": "0.5"}
OUTLIVED = "SELECT FROM workers WHERE lease_expires_at > $1::timestamptz + interval '3 seconds'"
"""Two leases of these workers."""


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    async with worker_process(settings, **CHECKS) as process:
        yield process


async def due(settings: Settings, tasks: TaskService, definition_id: str, name: str) -> Schedule:
    """A schedule that is due, whose task has this name for its input."""
    task_id = await saved_task(settings, definition_id, orjson.dumps({"name": name}).decode())
    schedule = await tasks.schedules.create(task_id, HOURLY)
    await make_due(settings, schedule)
    return schedule


async def decided(tasks: TaskService, schedule: Schedule) -> ScheduleTick:
    """What became of its tick, as soon as that is decided."""
    return (await until(lambda: history(tasks, schedule)))[0]


@pytest.mark.parametrize("definition_id", ["checks-validator", "checks-hook", "checks-hook-plain"])
async def test_whatever_the_checks_of_a_definition_raise_refuses_its_tick_and_nothing_else(
    settings: Settings, tasks: TaskService, worker: WorkerProcess, definition_id: str
) -> None:
    for name in RAISED:
        line = await decided(tasks, await due(settings, tasks, definition_id, name))
        assert (line.outcome, line.reason) == (TickOutcome.SKIPPED, TickReason.REFUSED), name
        assert f"failed with {name}" in str(line.message)
    good = await due(settings, tasks, definition_id, "good")
    assert (await decided(tasks, good)).outcome == TickOutcome.RAN
    [run] = await runs_of(settings, good)
    run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert str(run.worker).endswith(f":{worker.pid}")


@pytest.mark.parametrize("definition_id", ["checks-validator", "checks-hook", "checks-hook-plain"])
async def test_a_check_that_blocks_stops_no_heartbeat_and_refuses_its_tick_when_its_time_is_over(
    settings: Settings, tasks: TaskService, worker: WorkerProcess, definition_id: str, tmp_path: Path
) -> None:
    bystander = await tasks.trigger("fault-steps", input={"steps": 1_000_000})
    await until_status(tasks, bystander.id, TaskRunStatus.RUNNING)
    schedule = await due(settings, tasks, definition_id, str(tmp_path))
    await until(lambda: (tmp_path / "begun").exists())
    [began] = await execute(settings, "SELECT now()")
    line = await decided(tasks, schedule)
    assert (line.outcome, line.reason) == (TickOutcome.SKIPPED, TickReason.REFUSED)
    assert "TASKLOOM_HOOK_SECONDS" in str(line.message)
    await until(lambda: execute(settings, OUTLIVED, began[0]))
    (tmp_path / "go on").touch()
    await tasks.abort(bystander.id)
    bystander = await until_status(tasks, bystander.id, TaskRunStatus.ABORTED)
    assert (bystander.claim_no, bystander.interruptions) == (1, 0)
