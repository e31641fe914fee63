"""Shutdown: runs are given back at a checkpoint or by cancellation, and it costs them no attempt."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app import TaskService
from app.paging import PageArgs
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.workbench import until_status, working
from tests.workers.definitions import reached


@pytest.mark.parametrize("definition_id", ["test-checkpoints", "test-deaf"])
@pytest.mark.parametrize("round", range(3))
async def test_a_run_is_given_back_and_uses_up_no_attempt(
    settings: Settings, tasks: TaskService, definition_id: str, round: int
) -> None:
    name = str(uuid4())
    async with working(settings, drain_seconds=0.0 if definition_id == "test-deaf" else 5.0):
        run = await tasks.trigger(definition_id, input={"name": name}, name=name)
        await reached[name].wait()
    run = await tasks.get(run.id)
    assert (run.status, run.status_reason) == (TaskRunStatus.QUEUED, TaskRunStatusReason.SHUTDOWN)
    assert (run.attempt, run.interruptions) == (1, 1)


async def test_another_worker_goes_on_from_the_saved_state(settings: Settings, tasks: TaskService) -> None:
    name = str(uuid4())
    async with working(settings, drain_seconds=5.0):
        run = await tasks.trigger("test-checkpoints", input={"name": name}, name=name)
        await reached[name].wait()
    saved = (await tasks.get(run.id)).state["step"]
    reached[name].clear()
    async with working(settings):
        await reached[name].wait()
        await tasks.abort(run.id)
        await until_status(tasks, run.id, TaskRunStatus.ABORTED)
    steps = [int(line.message.removeprefix("step ")) async for line in tasks.logs(run.id)]
    assert steps[steps.index(saved + 1) - 1] in (saved, saved - 1)
    page = await tasks.iteration_page(run.id, PageArgs())
    assert [(row.attempt, row.outcome) for row in page.items] == [(1, "INTERRUPTED"), (1, "ABORTED")]


async def test_many_aborts_by_force_in_the_middle_of_checkpoints_leave_no_run_unsettled(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings):
        runs = []
        for _ in range(30):
            name = str(uuid4())
            runs.append(await tasks.trigger("test-checkpoints", input={"name": name}, name=name))
        for run in runs:
            await until_status(tasks, run.id, TaskRunStatus.RUNNING)
            await tasks.abort(run.id, force=True)
        for run in runs:
            await until_status(tasks, run.id, TaskRunStatus.ABORTED)
