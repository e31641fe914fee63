"""Aborts: at the next checkpoint, by force, after the grace time, and down to the children."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from app import TaskService
from app.errors import TaskRunNotAbortable
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.workbench import until, until_status, working
from tests.workers.definitions import allowed, calls, reached, thread_allowed
from workers.worker import TaskloomWorker

SOON = timedelta(seconds=15)
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("definition_id", ["test-checkpoints", "test-checkpoints-plain"])
async def test_a_run_stops_at_its_next_checkpoint(tasks: TaskService, definition_id: str) -> None:
    name = str(uuid4())
    run = await tasks.trigger(definition_id, input={"name": name}, name=name)
    await until_status(tasks, run.id, TaskRunStatus.RUNNING)
    await tasks.abort(run.id, message="superseded")
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_REQUESTED)
    assert (run.abort_message, run.abort_requested_by) == ("superseded", "USER:local-admin")
    logged = [line.sequence async for line in tasks.logs(run.id)]
    assert logged == list(range(1, len(logged) + 1))


@pytest.mark.usefixtures("worker")
async def test_the_hook_hears_of_an_abort(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-checkpoints", input={"name": name}, name=name)
    await reached[name].wait()
    await tasks.abort(run.id)
    await tasks.wait(run.id, timeout=SOON)
    assert calls[name] == ["on_abort"]


@pytest.mark.usefixtures("worker")
async def test_a_run_that_has_not_heard_of_its_abort_yet_stops_where_it_triggers_a_child(
    settings: Settings, tasks: TaskService
) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-late-child", input={"name": name})
    await reached[name].wait()
    # Without Redis the worker is not told; it would look by itself within a second.
    async with TaskService.connect(settings=settings.model_copy(update={"redis_url": NOWHERE})) as mute:
        await mute.abort(run.id)
    allowed[name].set()
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.error) == (TaskRunStatus.ABORTED, None)
    assert await tasks.children(run.id) == []


async def test_a_run_that_nobody_holds_is_aborted_at_once(tasks: TaskService) -> None:
    for delay in (None, timedelta(hours=1)):
        run = await tasks.trigger("test-nothing", delay=delay)
        assert (await tasks.abort(run.id)).status == TaskRunStatus.ABORTED
        with pytest.raises(TaskRunNotAbortable):
            await tasks.abort(run.id)


@pytest.mark.usefixtures("worker")
async def test_a_run_that_returns_before_it_sees_the_abort_is_recorded_as_what_it_was(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-deaf", input={"name": name})
    await reached[name].wait()
    assert (await tasks.abort(run.id)).status == TaskRunStatus.ABORTING
    allowed[name].set()
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.SUCCEEDED, TaskRunStatusReason.FINISHED_BEFORE_ABORT)
    assert run.output == "returned"


@pytest.mark.usefixtures("worker")
async def test_an_abort_by_force_does_not_wait_for_a_checkpoint(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-deaf", input={"name": name})
    await reached[name].wait()
    await tasks.abort(run.id, force=True)
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_FORCED)


async def test_an_abort_is_enforced_after_the_grace_time(settings: Settings, tasks: TaskService) -> None:
    async with working(settings, abort_grace_seconds=0.1):
        name = str(uuid4())
        run = await tasks.trigger("test-deaf", input={"name": name})
        await reached[name].wait()
        await tasks.abort(run.id)
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_FORCED)


@pytest.mark.usefixtures("worker")
async def test_code_that_swallows_its_cancellation_is_recorded_by_how_it_ends(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-stubborn", input={"name": name})
    await reached[name].wait()
    await tasks.abort(run.id, force=True)
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.SUCCEEDED, TaskRunStatusReason.FINISHED_BEFORE_ABORT)


@pytest.mark.usefixtures("worker")
async def test_a_thread_past_its_timeout_is_given_up_and_can_write_no_more(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-deaf-plain", input={"name": name})
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.TIMEOUT)
    thread_allowed[name].set()
    await until(lambda: calls[name])
    assert [line async for line in tasks.logs(run.id)] == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("cascade", [True, False])
async def test_an_abort_reaches_the_children_unless_told_not_to(tasks: TaskService, cascade: bool) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-family", input={"name": name})
    await reached[name].wait()
    await until_status(tasks, run.id, TaskRunStatus.WAITING)
    assert (await tasks.abort(run.id, cascade=cascade)).status == TaskRunStatus.ABORTED
    [child] = await tasks.children(run.id)
    if cascade:
        assert (await tasks.wait(child.id, timeout=SOON)).status == TaskRunStatus.ABORTED
    else:
        assert child.status == TaskRunStatus.RUNNING
        await tasks.abort(child.id)
        await tasks.wait(child.id, timeout=SOON)


@pytest.mark.usefixtures("worker")
async def test_a_parent_goes_on_when_the_child_it_waits_for_is_aborted(tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-family", input={"name": name})
    await reached[name].wait()
    [child] = await tasks.children(run.id)
    await tasks.abort(child.id)
    assert (await tasks.wait(run.id, timeout=SOON)).output == "ABORTED"


async def test_an_abort_whose_message_is_lost_is_noticed_all_the_same(
    tasks: TaskService, worker: TaskloomWorker
) -> None:
    name = str(uuid4())
    run = await tasks.trigger("test-checkpoints", input={"name": name}, name=name)
    await reached[name].wait()
    # The database alone is told, as when Redis loses the message.
    async with worker.engine._connections.db.autocommit() as pipe:
        await pipe.execute("UPDATE task_runs SET status = 'ABORTING', abort_requested_at = now() WHERE id = $1", run.id)
    assert (await tasks.wait(run.id, timeout=SOON)).status == TaskRunStatus.ABORTED
