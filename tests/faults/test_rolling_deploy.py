"""A deploy under load: workers are replaced, each is told to stop as soon as the one in its place is ready."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg

from app import TaskService
from app.db import plain_url
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import OURS, WorkerProcess, started, worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled
from tests.workbench import until

SOON = timedelta(seconds=60)
WORKERS = 4
DEPLOYS = 5
CLIENTS = 5
STEPS = 20
DRAIN_SECONDS = 0.5
STOPPED = {"TASKLOOM_DRAIN_SECONDS": "0.1", "TASKLOOM_LEASE_SECONDS": "60"}
"""A lease that outlives the test, so that no other worker makes good for what is left behind."""

WAITS = """
    SELECT run_id, claim_no, extract(epoch FROM started_at - lag(finished_at, 1, created_at)
        OVER (PARTITION BY run_id ORDER BY claim_no))::float8 AS seconds
    FROM task_iterations JOIN (SELECT id AS run_id, created_at FROM task_runs) AS runs USING (run_id)
    ORDER BY seconds DESC"""
"""For how long each claim of each run was waited for, from the trigger or from when the run was given back."""


async def test_twenty_sigterms_over_four_workers_fail_no_run_use_up_no_attempt_and_keep_nobody_waiting(
    settings: Settings, tasks: TaskService
) -> None:
    deployed = asyncio.Event()
    async with AsyncExitStack() as stack:

        async def start() -> WorkerProcess:
            return await stack.enter_async_context(worker_process(settings, TASKLOOM_DRAIN_SECONDS=str(DRAIN_SECONDS)))

        async def replaced(worker: WorkerProcess) -> None:
            for _ in range(DEPLOYS):
                new = await start()
                worker.send(signal.SIGTERM)
                assert await worker.ended() == 0
                worker = new

        workers = await asyncio.gather(*(start() for _ in range(WORKERS)))
        clients = [asyncio.create_task(trigger_until(deployed, tasks)) for _ in range(CLIENTS)]
        await asyncio.gather(*map(replaced, workers))
        deployed.set()
        runs = [run for ended in await asyncio.gather(*clients) for run in ended]
    assert sum(run.interruptions for run in runs) >= WORKERS, "hardly a run was under way when its worker was stopped"
    assert {(run.status, run.attempt, run.error) for run in runs} == {(TaskRunStatus.SUCCEEDED, 1, None)}
    for run in runs:
        if run.definition_id == "fault-steps":
            await assert_nothing_lost_or_doubled(tasks, run, STEPS)
    [longest, *_] = await waits(settings)
    assert longest["seconds"] <= DRAIN_SECONDS + 5, dict(longest)


async def trigger_until(done: asyncio.Event, tasks: TaskService) -> list[TaskRun]:
    """One run with checkpoints and one without, and so on, as long as the deploy takes; each as it ended."""
    runs: list[TaskRun] = []
    while not done.is_set():
        pair = (
            await tasks.trigger("fault-steps", input={"steps": STEPS, "pause": 0.05}),
            await tasks.trigger("fault-deaf", input={"steps": 1, "pause": 1}),
        )
        runs += [await tasks.wait(run.id, timeout=SOON) for run in pair]
    return runs


async def waits(settings: Settings) -> list[Any]:
    """What the history says, the longest wait first."""
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    try:
        return await connection.fetch(WAITS)
    finally:
        await connection.close()


async def test_a_second_sigterm_gives_runs_back_at_once(settings: Settings, tasks: TaskService) -> None:
    async with worker_process(settings, TASKLOOM_DRAIN_SECONDS="600") as worker:
        run = await tasks.trigger("fault-deaf", input={"steps": 1, "pause": 600})
        await until(lambda: is_running(tasks, run))
        worker.send(signal.SIGTERM)
        await until(lambda: is_draining(tasks))
        assert (await tasks.get(run.id)).status == TaskRunStatus.RUNNING
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    run = await tasks.get(run.id)
    assert (run.status, run.attempt, run.interruptions) == (TaskRunStatus.QUEUED, 1, 1)


async def is_running(tasks: TaskService, run: TaskRun) -> bool:
    return (await tasks.get(run.id)).status == TaskRunStatus.RUNNING


async def is_draining(tasks: TaskService) -> bool:
    return any(worker.is_draining for worker in await tasks.workers())


async def test_a_worker_that_is_told_to_stop_while_it_starts_ends_and_holds_nothing(
    settings: Settings, tasks: TaskService
) -> None:
    """At any moment of its start: by the signal where nothing was set up yet, cleanly where something was."""
    runs = [await tasks.trigger("fault-deaf", input={"steps": 1, "pause": 600}) for _ in range(3)]
    at_any_time = (stopped_after(settings, 0.5 * n) for n in range(8))
    with_a_lease = (stopped_with_its_lease(settings) for _ in range(2))
    codes = set(await asyncio.gather(*at_any_time, *with_a_lease))
    assert codes <= {0, -signal.SIGTERM}
    assert await tasks.workers() == []
    for run in runs:
        run = await tasks.get(run.id)
        assert (run.status, run.attempt) == (TaskRunStatus.QUEUED, 1)


async def stopped_after(settings: Settings, seconds: float) -> int:
    """The exit code of a worker that gets SIGTERM so many seconds after it was begun."""
    process = await started(settings, OURS, **STOPPED)
    try:
        await asyncio.sleep(seconds)
        process.terminate()
        return await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()


async def stopped_with_its_lease(settings: Settings) -> int:
    """The exit code of a worker that gets SIGTERM as soon as it has its lease, before it is ready."""
    async with worker_process(settings, command=OURS, **STOPPED) as worker:
        worker.send(signal.SIGTERM)
        return await worker.ended()
