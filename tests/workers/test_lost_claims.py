"""Code that is executed under a claim that is over is stopped, though it never comes to a checkpoint."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from app import TaskService
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.service.scheduled import execute
from tests.workbench import until, until_status, working
from workers import TaskContext

# As PostgreSQL may stand after a failover: the last commits, among them the claim, are not known.
QUEUED = """
    UPDATE task_runs SET status = 'QUEUED', lease_owner = NULL, claim_no = 0, due_at = now(),
        status_changed_at = now() - interval '1 hour'"""
HELD_BY_ANOTHER = f"""
    INSERT INTO workers (id, host, pid, queues, definition_ids, capacity, running, is_draining, lease_expires_at)
    VALUES ('{uuid4()}', 'other', 1, '{{}}', '{{}}', 1, 1, false, now() + interval '1 hour');
    UPDATE task_runs SET claim_no = claim_no + 1, lease_owner = (SELECT id FROM workers WHERE host = 'other')"""


class Patient:
    """A definition whose code notes when it begins, and when it is stopped."""

    def __init__(self) -> None:
        self.began = self.stopped = 0
        self.allowed = asyncio.Event()
        self.registry = Registry()
        self.registry.add(Definition(id="patient", function=self.run, title="Patient", input_type=None))

    async def run(self, ctx: TaskContext) -> None:
        self.began += 1
        try:
            await self.allowed.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            # Clean-up that takes its time is not disturbed by the looks that follow.
            await asyncio.sleep(0.2)
            self.stopped += 10
            raise


@pytest.fixture
def patient() -> Patient:
    return Patient()


async def test_a_run_that_another_worker_holds_is_stopped(
    settings: Settings, tasks: TaskService, patient: Patient
) -> None:
    async with working(settings, patient.registry, reap_seconds=0.02) as worker:
        run = await tasks.trigger("patient")
        await until(lambda: patient.began)
        for statement in HELD_BY_ANOTHER.split(";"):
            await execute(settings, statement)
        await until(lambda: not worker.engine.runner.running)
        run = await tasks.get(run.id)
    assert (run.status, run.claim_no, patient.began, patient.stopped) == (TaskRunStatus.RUNNING, 2, 1, 11)


async def test_a_run_that_the_same_worker_claims_again_is_stopped_under_its_older_claim(
    settings: Settings, tasks: TaskService, patient: Patient
) -> None:
    async with working(settings, patient.registry, reap_seconds=3600.0, dispatch_seconds=0.05):
        run = await tasks.trigger("patient")
        await until(lambda: patient.began)
        await execute(settings, QUEUED)
        await until(lambda: patient.began == 2)
        patient.allowed.set()
        await until(lambda: patient.stopped == 11)
        run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert (run.claim_no, patient.began) == (1, 2)
