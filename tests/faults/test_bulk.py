"""Bulk actions whose worker is killed, or that are aborted in the middle: nothing is done twice or forgotten."""

from __future__ import annotations

from datetime import timedelta

from app import RunFilter, RunSelection, TagFilter, TaskService, TriggerRequest
from app.models import BulkAction, BulkActionStatus
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import holder, two_workers, worker_process
from tests.workbench import until
from workers.tasks import bulk_action

assert bulk_action
MINE = RunFilter(tags=TagFilter(any=["mine"]))


async def waiting_runs(tasks: TaskService, number: int) -> None:
    """Runs with a start time ahead, so that no worker takes them."""
    request = TriggerRequest(definition_id="fault-nothing", tags=["mine"], delay=timedelta(hours=1))
    for _ in range(number // 5000):
        await tasks.trigger_many([request] * 5000)


async def begun(tasks: TaskService, action: BulkAction) -> BulkAction:
    """The action, once a worker has done a part of it."""

    async def is_under_way() -> BulkAction | None:
        found = await tasks.bulk.get(action.id)
        assert found.finished_at is None, "it was done before anybody could be killed"
        return found if found.done else None

    found = await until(is_under_way)
    assert found is not None
    return found


async def test_a_killed_worker_s_successor_goes_on_and_every_run_is_aborted_once(
    settings: Settings, tasks: TaskService
) -> None:
    await waiting_runs(tasks, 30_000)
    tasks.bulk._starting.seconds_at_once = 0.0
    async with two_workers(settings) as workers:
        action = await tasks.bulk.abort_runs(RunSelection(filter=MINE))
        under_way = await begun(tasks, action)
        assert under_way.run_id is not None
        await holder(await tasks.get(under_way.run_id), workers).kill()
        action = await tasks.bulk.wait(action.id, timeout=timedelta(seconds=60))
        assert (await tasks.wait(under_way.run_id, timeout=timedelta(seconds=20))).interruptions == 1
    assert (action.status, action.total, action.done, action.failed) == (BulkActionStatus.COMPLETED, 30_000, 30_000, 0)
    assert await tasks.count(RunFilter(and_=[MINE], statuses=[TaskRunStatus.ABORTED]), 30_000) == 30_000


async def test_the_process_that_began_it_dies_and_a_worker_does_it(settings: Settings, tasks: TaskService) -> None:
    await waiting_runs(tasks, 5000)
    tasks.bulk._starting.seconds_at_once = 0.0
    action = await tasks.bulk.rerun_runs(RunSelection(filter=MINE))
    await tasks.bulk.step(action.id)
    # Half of a step was done by the one who died: triggers were stored, the position was not.
    found = (await tasks.list(MINE)).items
    work = tasks.bulk._works[action.kind]
    await work.act(None, action, [run.id for run in found])  # type: ignore[arg-type]
    async with worker_process(settings):
        action = await tasks.bulk.wait(action.id, timeout=timedelta(seconds=60))
    assert (action.status, action.done) == (BulkActionStatus.COMPLETED, 5000)
    assert await tasks.count(MINE, 20_000) == 10_000


async def test_nothing_is_done_any_more_once_an_abort_in_the_middle_returns(
    settings: Settings, tasks: TaskService
) -> None:
    await waiting_runs(tasks, 30_000)
    tasks.bulk._starting.seconds_at_once = 0.0
    async with worker_process(settings):
        action = await begun(tasks, await tasks.bulk.abort_runs(RunSelection(filter=MINE)))
        ended = await tasks.bulk.abort(action.id)
        left = await tasks.count(RunFilter(and_=[MINE], statuses=[TaskRunStatus.SCHEDULED]), 30_000)
        assert (ended.status, ended.done + left) == (BulkActionStatus.ABORTED, 30_000)
        assert left > 0
        assert action.run_id is not None
        await tasks.wait(action.run_id, timeout=timedelta(seconds=20))
        assert await tasks.count(RunFilter(and_=[MINE], statuses=[TaskRunStatus.SCHEDULED]), 30_000) == left
