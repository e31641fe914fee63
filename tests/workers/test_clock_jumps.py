"""PostgreSQL's clock is put forward or back: no live worker loses a run, every dead one does, and history stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app import TaskRun, TaskService, clock, doctor
from app.diagnosis import Health
from app.leases import Claimant
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.test_workers_that_die import outcomes
from tests.service.scheduled import execute
from tests.workbench import connected, lines, until, until_status, working
from workers import TaskContext
from workers.connections import Connections
from workers.tasks import purge_history

assert purge_history

TWO_HOURS, TEN_DAYS = 7200, 10 * 86400
JUST_SEEN = """
    SELECT last_seen_at > now() - interval '0.3 s' FROM workers WHERE id = (SELECT lease_owner FROM task_runs)"""
QUICK = {"lease_seconds": 3.0, "heartbeat_seconds": 1.0, "reap_seconds": 0.05, "dispatch_seconds": 0.05}
SHORT = {"lease_seconds": 0.3, "heartbeat_seconds": 0.1}
# Found before those of pg_catalog by every statement that says now().
CLOCK = """
    CREATE SCHEMA jumping;
    CREATE TABLE jumping.clock AS SELECT 0::float8 AS seconds;
    CREATE FUNCTION jumping.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + make_interval(secs => seconds) FROM jumping.clock';
    CREATE FUNCTION jumping.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM jumping.clock';
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, jumping, pg_catalog', current_database());
    END $$"""
AS_BEFORE = """
    DROP SCHEMA jumping CASCADE;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET search_path', current_database()); END $$"""
Jump = Callable[[int], Awaitable[object]]


@pytest.fixture
async def jump(settings: Settings) -> AsyncIterator[Jump]:
    """Puts the clock of the test's database off by so many seconds."""
    async with connected(settings) as connection:
        await connection.execute(CLOCK)
        yield lambda seconds: connection.execute("UPDATE jumping.clock SET seconds = $1", float(seconds))
        await connection.execute(AS_BEFORE)


async def test_a_clock_put_forward_takes_no_run_from_a_live_worker_and_ends_none_by_its_timeout(
    settings: Settings, jump: Jump, tasks: TaskService
) -> None:
    allowed, registry = patient()
    async with working(settings, registry, **QUICK), working(settings, registry, **QUICK):
        run = await tasks.trigger("patient")
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        await until(lambda: said(settings, JUST_SEEN))
        await jump(TWO_HOURS)
        # One that knows nothing of the jump, and looks before the others renew their leases.
        async with working(settings, registry, **QUICK):
            await until(lambda: said(settings, "SELECT deadline_at > now() + interval '30 s' FROM task_runs"))
            await until(lambda: said(settings, "SELECT bool_and(lease_expires_at > now()) FROM workers"))
        allowed.set()
        run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert (run.claim_no, run.attempt, run.interruptions) == (1, 1, 0)


async def test_a_clock_put_back_is_told_by_doctor_and_keeps_no_run_of_a_dead_worker_for_as_much_longer(
    settings: Settings, jump: Jump, tasks: TaskService
) -> None:
    allowed, registry = patient()
    allowed.set()
    connections = Connections.open(settings, pool_size=1)
    async with working(settings, registry, **QUICK):
        pass
    run = await tasks.trigger("patient")
    nobody = connections.lifecycle(
        settings.model_copy(update=SHORT), Claimant(uuid4(), "nowhere:1", ("default",), ("patient",))
    )
    await nobody.beat("nowhere", 1, 1, 0, draining=False)
    assert await nobody.claim_rung([f"{run.id}:0"])
    await jump(-TWO_HOURS)
    [clock] = [finding for finding in await doctor.examine(settings) if finding.check == "clock"]
    async with working(settings, registry, **QUICK):
        run = await tasks.wait(run.id, timeout=timedelta(seconds=20))
    await connections.close()
    assert (clock.health, clock.finding[:27]) == (Health.ILL, "the database's was put back")
    assert await outcomes(tasks, run) == ["LOST", "SUCCEEDED"]


async def test_a_clock_put_forward_by_ten_days_lets_a_worker_from_before_purge_no_young_history(
    settings: Settings, jump: Jump, tasks: TaskService
) -> None:
    async with working(settings, **QUICK) as worker:
        young = await purged(tasks, dry_run=True)
        await tasks.retention.update(keep_last=0)
        await jump(TEN_DAYS)
        await until(lambda: worker.engine.clockwork.now() > clock.now() + timedelta(days=9))
        for input in ({}, {"older_than": "P1D"}):
            purge = await purged(tasks, **input)
            assert [purge.output[name] for name in ("runs", "stripped", "logs")] == [0, 0, 0]
            assert "clock is 10 days ahead" in (await lines(tasks, purge.id))[0]
    assert await lines(tasks, young.id)


async def purged(tasks: TaskService, **input: Any) -> TaskRun:
    """A purge, once it is final."""
    return await tasks.wait((await tasks.trigger("purge-history", input=input)).id, timeout=timedelta(seconds=20))


def patient() -> tuple[asyncio.Event, Registry]:
    """A task with a timeout that goes on until it is allowed to end, and what allows it."""
    allowed = asyncio.Event()

    async def wait(ctx: TaskContext) -> None:
        await allowed.wait()

    registry = Registry()
    registry.add(Definition(id="patient", function=wait, title="Patient", input_type=None, timeout=60.0))
    return allowed, registry


async def said(settings: Settings, question: str) -> bool:
    return (await execute(settings, question))[0][0]
