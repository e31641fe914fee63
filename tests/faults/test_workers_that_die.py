"""Worker processes that are killed, frozen or stopped in the middle of a run."""

from __future__ import annotations

import signal
from datetime import timedelta
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app import TaskService
from app.doorbell import queue_key
from app.models import TaskRun
from app.paging import PageArgs
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import STOCK, WorkerProcess, holder, two_workers, worker_process
from tests.workbench import connected, lines, until, until_status

SOON = timedelta(seconds=30)


async def until_step(tasks: TaskService, run_id: UUID, step: int) -> TaskRun:
    async def reached() -> TaskRun | None:
        run = await tasks.get(run_id)
        return run if (run.state or {"at": 0})["at"] >= step else None

    run = await until(reached)
    assert run is not None
    return run


async def assert_nothing_lost_or_doubled(tasks: TaskService, run: TaskRun, steps: int) -> None:
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, steps)
    assert await lines(tasks, run.id) == [f"step {n}" for n in range(1, steps + 1)]
    assert [line.sequence async for line in tasks.logs(run.id)] == list(range(1, steps + 1))


async def outcomes(tasks: TaskService, run: TaskRun) -> list[str]:
    return [str(row.outcome) for row in (await tasks.iteration_page(run.id, PageArgs())).items]


async def test_after_a_sigkill_another_worker_goes_on_from_the_last_saved_state(
    settings: Settings, tasks: TaskService
) -> None:
    async with two_workers(settings) as workers:
        run = await tasks.trigger("fault-steps", input={"steps": 60})
        run = await until_step(tasks, run.id, 10)
        await holder(run, workers).kill()
        run = await tasks.wait(run.id, timeout=SOON)
    await assert_nothing_lost_or_doubled(tasks, run, 60)
    assert (run.attempt, run.interruptions) == (1, 1)
    assert await outcomes(tasks, run) == ["LOST", "SUCCEEDED"]


@pytest.mark.parametrize("definition_id", ["fault-steps", "fault-silent"])
async def test_a_worker_frozen_for_longer_than_its_lease_cannot_write_any_more(
    settings: Settings, tasks: TaskService, definition_id: str
) -> None:
    async with two_workers(settings) as workers:
        run = await tasks.trigger(definition_id, input={"steps": 60})
        run = await until_step(tasks, run.id, 5)
        frozen = holder(run, workers)
        frozen.send(signal.SIGSTOP)
        run = await tasks.wait(run.id, timeout=SOON)
        frozen.send(signal.SIGCONT)
        # Thawed, it finds out that the run is not its own any more, and is well again: it takes and ends others.
        await until(lambda: ends_a_run(tasks, frozen))
        assert await tasks.get(run.id) == run
        if definition_id == "fault-steps":
            await assert_nothing_lost_or_doubled(tasks, run, 60)
        assert await outcomes(tasks, run) == ["LOST", "SUCCEEDED"]


async def ends_a_run(tasks: TaskService, worker: WorkerProcess) -> bool:
    run = await tasks.trigger("fault-nothing")
    return str((await tasks.wait(run.id, timeout=SOON)).worker).endswith(f":{worker.pid}")


async def test_sigterm_gives_runs_back_at_a_checkpoint_without_using_up_an_attempt(
    settings: Settings, tasks: TaskService
) -> None:
    async with two_workers(settings) as workers:
        run = await tasks.trigger("fault-steps", input={"steps": 60})
        run = await until_step(tasks, run.id, 5)
        stopped = holder(run, workers)
        stopped.send(signal.SIGTERM)
        assert await stopped.ended() == 0
        run = await tasks.wait(run.id, timeout=SOON)
    await assert_nothing_lost_or_doubled(tasks, run, 60)
    assert run.attempt == 1
    assert await outcomes(tasks, run) == ["INTERRUPTED", "SUCCEEDED"]


async def test_an_orphan_whose_abort_was_acknowledged_is_never_started_again(
    settings: Settings, tasks: TaskService
) -> None:
    async with two_workers(settings) as workers:
        run = await tasks.trigger("fault-block", input={"steps": 1, "pause": 60})
        await until(lambda: blocking(tasks, run.id))
        run = await tasks.abort(run.id)
        assert run.status == TaskRunStatus.ABORTING
        await holder(run, workers).kill()
        run = await tasks.wait(run.id, timeout=SOON)
    assert run.status == TaskRunStatus.ABORTED
    assert await outcomes(tasks, run) == ["LOST"]


async def blocking(tasks: TaskService, run_id: UUID) -> bool:
    return (await tasks.get(run_id)).state is not None


async def test_a_run_that_blocks_the_event_loop_keeps_its_lease_and_takes_no_time_from_the_others(
    settings: Settings, tasks: TaskService
) -> None:
    async with worker_process(settings), connected(settings) as database:
        beside = await tasks.trigger("fault-deaf", input={"steps": 1, "pause": 1}, timeout=1.5)
        await until_status(tasks, beside.id, TaskRunStatus.RUNNING)
        run = await tasks.trigger("fault-block", input={"steps": 1, "pause": 4})

        async def is_put_off() -> bool:
            # Where a reaper looks, which is in other workers too.
            query = "SELECT deadline_at - claimed_at > interval '3 seconds' FROM task_runs WHERE id = $1"
            return await database.fetchval(query, beside.id) and (await tasks.get(run.id)).status == "RUNNING"

        await until(is_put_off)
        run, beside = await tasks.wait(run.id, timeout=SOON), await tasks.wait(beside.id, timeout=SOON)
    assert (run.status, run.interruptions) == (TaskRunStatus.SUCCEEDED, 0)
    assert (beside.status, beside.attempt, beside.output) == (TaskRunStatus.SUCCEEDED, 1, "slept")


async def test_iterations_go_on_when_their_worker_is_killed_between_and_within_them(
    settings: Settings, tasks: TaskService
) -> None:
    async with two_workers(settings) as workers:
        run = await tasks.trigger("fault-iterations", input={"steps": 80, "pause": 0.002})
        await until_step(tasks, run.id, 20)
        await workers[0].kill()
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, 80)
    assert run.log_count >= 80


@pytest.mark.parametrize("queue", ["default", "special"])
async def test_the_stock_arq_command_executes_runs_too(settings: Settings, tasks: TaskService, queue: str) -> None:
    async with worker_process(settings, command=STOCK, TASKLOOM_QUEUES=queue) as stock:
        runs = [await tasks.trigger("fault-steps", input={"steps": 3}, queue=queue) for _ in range(5)]
        retried = await tasks.trigger("fault-retry", queue=queue)
        for run in runs:
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 3)
        assert (await tasks.wait(retried.id, timeout=SOON)).output == 2
        long = await tasks.trigger("fault-steps", input={"steps": 10_000}, queue=queue)
        await until_step(tasks, long.id, 3)
        async with Redis.from_url(settings.redis_url) as redis:
            await until(lambda: is_gone(redis, queue_key(queue), f"arq:in-progress:{long.id}:0"))
        stock.send(signal.SIGTERM)
        await stock.ended()
    long = await tasks.get(long.id)
    assert (long.status, long.attempt, long.interruptions) == (TaskRunStatus.QUEUED, 1, 1)


async def is_gone(redis: Redis, *keys: str) -> bool:
    return await redis.exists(*keys) == 0


async def test_a_drained_worker_leaves_no_job_of_a_ring_that_it_took(settings: Settings, tasks: TaskService) -> None:
    # With one slot, no call follows that would clear away the job of the ring that woke it.
    async with worker_process(settings, TASKLOOM_CONCURRENCY="1") as worker:
        run = await tasks.trigger("fault-steps", input={"steps": 10_000})
        await until_step(tasks, run.id, 3)
        worker.send(signal.SIGTERM)
        await worker.ended()
    async with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
        assert await redis.keys("arq:job:*") == [f"arq:job:{run.id}:1"], "given back, it is rung for again"
