"""Runs whose worker is gone: found in bounded time, given up after a bounded number of losses, and nobody else's."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from app import TaskService
from app.leases import Claimant
from app.lifecycle import Lifecycle
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.faults import poison
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled, outcomes
from workers.connections import Connections

assert poison
SOON = timedelta(seconds=30)
FEW_SECONDS = timedelta(seconds=5)
"""Reap and dispatch take 0.5 s with these settings; the rest is patience with a busy machine."""


@asynccontextmanager
async def lifecycle(settings: Settings, queue: str, definition_id: str) -> AsyncIterator[Lifecycle]:
    """The engine of a worker that claims, and then is never heard of: not even its row is left."""
    connections = Connections.open(settings, pool_size=2)
    yield connections.lifecycle(settings, Claimant(uuid4(), "nowhere:1", (queue,), (definition_id,)))
    await connections.close()


async def claimed_and_forgotten(settings: Settings, run: TaskRun) -> None:
    async with lifecycle(settings, run.queue, run.definition_id) as nobody:
        await nobody.beat("nowhere", 1, 1, 0, draining=False)
        [row] = await nobody.claim_rung([f"{run.id}:0"])
        await nobody.leave()
        assert row["id"] == run.id


async def test_a_run_whose_worker_has_no_row_is_found_in_seconds(settings: Settings, tasks: TaskService) -> None:
    run = await tasks.trigger("fault-steps", input={"steps": 3})
    await claimed_and_forgotten(settings, run)
    async with worker_process(settings):
        [worker] = await tasks.workers()
        run = await tasks.wait(run.id, timeout=SOON)
    await assert_nothing_lost_or_doubled(tasks, run, 3)
    assert await outcomes(tasks, run) == ["LOST", "SUCCEEDED"]
    assert run.finished_at
    assert run.finished_at - worker.started_at < FEW_SECONDS


async def test_a_run_that_kills_every_worker_it_meets_is_lost_after_as_many_as_are_allowed(
    settings: Settings, tasks: TaskService
) -> None:
    run = await tasks.trigger("fault-kill")
    for _ in range(2):
        async with worker_process(settings, TASKLOOM_MAX_INTERRUPTIONS="1") as worker:
            assert await worker.ended() == -signal.SIGKILL
    async with worker_process(settings, TASKLOOM_MAX_INTERRUPTIONS="1") as worker:
        run = await tasks.wait(run.id, timeout=SOON)
        after = await tasks.wait((await tasks.trigger("fault-nothing")).id, timeout=SOON)
        assert str(after.worker).endswith(f":{worker.pid}")
    assert (run.status, run.status_reason) == (TaskRunStatus.LOST, TaskRunStatusReason.WORKER_LOST)
    assert (run.claim_no, run.attempt, run.interruptions) == (2, 1, 2)
    assert await outcomes(tasks, run) == ["LOST", "LOST"]


async def test_runs_of_queues_and_definitions_that_a_worker_does_not_serve_are_left_alone(
    settings: Settings, tasks: TaskService
) -> None:
    foreign = [
        await tasks.trigger("fault-steps", input={"steps": 1}, queue="foreign"),
        await tasks.trigger("poison-sleep", input={"name": "0"}),
    ]
    own = await tasks.trigger("fault-steps", input={"steps": 1})
    for run in (*foreign, own):
        await claimed_and_forgotten(settings, run)
    async with worker_process(settings):
        # Once its own orphan is through, the reaper has looked at all there are.
        await tasks.wait(own.id, timeout=SOON)
        for run in foreign:
            run = await tasks.get(run.id)
            assert (run.status, run.claim_no, run.worker) == (TaskRunStatus.RUNNING, 1, "nowhere:1")
