"""A deploy under load: workers are told to stop, one after the other, and replaced."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import timedelta

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled

SOON = timedelta(seconds=40)
WORKERS = 4
SIGTERMS = 6
STEPS = 20
CLIENTS = 5


async def test_six_sigterms_over_four_workers_fail_no_run_and_use_up_no_attempt(
    settings: Settings, tasks: TaskService
) -> None:
    deployed = asyncio.Event()
    async with AsyncExitStack() as stack:

        async def start():
            return await stack.enter_async_context(worker_process(settings))

        workers = list(await asyncio.gather(*(start() for _ in range(WORKERS))))
        clients = [asyncio.create_task(trigger_until(deployed, tasks)) for _ in range(CLIENTS)]
        for _ in range(SIGTERMS):
            old = workers.pop(0)
            replacement = asyncio.create_task(start())
            old.send(signal.SIGTERM)
            assert await old.ended() == 0
            workers.append(await replacement)
        deployed.set()
        runs = [run for ended in await asyncio.gather(*clients) for run in ended]
    assert len(runs) >= CLIENTS
    assert sum(run.interruptions for run in runs) > 0, "no run was under way when its worker was stopped"
    for run in runs:
        assert (run.status, run.attempt) == (TaskRunStatus.SUCCEEDED, 1)
        await assert_nothing_lost_or_doubled(tasks, run, STEPS)


async def trigger_until(done: asyncio.Event, tasks: TaskService) -> list[TaskRun]:
    """One run after the other, as long as the deploy takes; each as it ended."""
    runs: list[TaskRun] = []
    while not done.is_set():
        run = await tasks.trigger("fault-steps", input={"steps": STEPS, "pause": 0.05})
        runs.append(await tasks.wait(run.id, timeout=SOON))
    return runs
