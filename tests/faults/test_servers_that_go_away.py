"""PostgreSQL and Valkey that restart, forget everything or cut connections while runs are under way."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
import redis
from redis.asyncio import Redis

from app import TaskService, clock
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.doorbell import Doorbell, Ring, queue_key
from app.errors import ServiceUnavailable
from app.ids import new_id
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled, until_step
from tests.operations.outages import as_role, role_with_password
from tests.workbench import until, working

SOON = timedelta(seconds=40)
CUTS = 80


async def test_a_flushed_redis_loses_no_run(settings: Settings, tasks: TaskService) -> None:
    runs = [await tasks.trigger("fault-steps", input={"steps": 2, "pause": 0}) for _ in range(20)]
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.flushall()
    async with worker_process(settings):
        for run in runs:
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 2)


async def test_a_redis_that_is_flushed_all_the_time_loses_and_doubles_no_run(
    settings: Settings, tasks: TaskService
) -> None:
    async with worker_process(settings), Redis.from_url(settings.redis_url) as redis:
        flushing = asyncio.create_task(flush_all_the_time(redis))
        runs = [await tasks.trigger("fault-iterations", input={"steps": 2, "pause": 0}) for _ in range(20)]
        runs = [await tasks.wait(run.id, timeout=SOON) for run in runs]
        flushing.cancel()
    for run in runs:
        await assert_nothing_lost_or_doubled(tasks, run, 2)
        assert run.claim_no == 2


async def flush_all_the_time(redis: Redis) -> None:
    while True:
        await redis.flushall()


async def test_runs_are_triggered_and_executed_while_redis_is_away_and_after_it_is_back(
    settings: Settings, tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    async with worker_process(settings):
        await embedded_valkey.kill()
        try:
            run = await tasks.trigger("fault-steps", input={"steps": 3})
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 3)
            aborted = await tasks.trigger("fault-steps", input={"steps": 10_000})
            await until_step(tasks, aborted.id, 2)
            await tasks.abort(aborted.id)
            assert (await tasks.wait(aborted.id, timeout=SOON)).status == TaskRunStatus.ABORTED
        finally:
            await embedded_valkey.start()
        run = await tasks.trigger("fault-steps", input={"steps": 3})
        await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 3)


async def test_runs_are_executed_while_redis_is_full(settings: Settings, tasks: TaskService) -> None:
    async with worker_process(settings), Redis.from_url(settings.redis_url) as redis:
        await redis.config_set("maxmemory", 1)
        try:
            runs = [await tasks.trigger("fault-iterations", input={"steps": 2, "pause": 0}) for _ in range(3)]
            for run in runs:
                await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 2)
            assert await redis.zcard(queue_key("default")) == 0, "no ring was taken"
        finally:
            await redis.config_set("maxmemory", 0)


async def test_a_redis_that_refuses_to_be_listened_to_is_away_until_it_does_not_and_told_once(
    settings: Settings, tasks: TaskService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "taskloom.worker")
    async with Redis.from_url(settings.redis_url) as redis, working(settings):
        await redis.execute_command("ACL", "SETUSER", "default", "-bzpopmin")
        try:
            await until(lambda: told(caplog, "Redis is away") == 1)
            for _ in range(5):
                run = await tasks.trigger("fault-iterations", input={"steps": 1, "pause": 0})
                assert (await tasks.wait(run.id, timeout=SOON)).status == TaskRunStatus.SUCCEEDED
        finally:
            await redis.execute_command("ACL", "SETUSER", "default", "+@all")
        await until(lambda: told(caplog, "Redis is back") == 1)
    assert told(caplog, "Redis is away") == 1


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in message for message in caplog.messages)


async def test_runs_are_executed_though_somebody_takes_all_rings_away(settings: Settings, tasks: TaskService) -> None:
    """As workers do in a deploy that have not the code of a new definition yet."""
    async with worker_process(settings), Redis.from_url(settings.redis_url) as redis:
        taking = [asyncio.create_task(take_rings_away(redis)) for _ in range(40)]
        try:
            runs = [await tasks.trigger("fault-iterations", input={"steps": 2, "pause": 0}) for _ in range(3)]
            for run in runs:
                await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 2)
        finally:
            for task in taking:
                task.cancel()


async def take_rings_away(redis: Redis) -> None:
    while True:
        await redis.bzpopmin([queue_key("default")], timeout=0)


async def test_the_first_ring_after_a_restart_of_redis_is_heard(
    settings: Settings, embedded_valkey: EmbeddedValkey
) -> None:
    doorbell = Doorbell(settings.redis_url)
    before, after = (Ring(new_id(), 0, "default", 0, clock.now()) for _ in range(2))
    assert await doorbell.ring([before])
    await embedded_valkey.kill()
    await embedded_valkey.start()
    assert await doorbell.ring([after])
    assert await doorbell.missing([after]) == []
    await doorbell.close()


async def test_a_ring_after_the_doorbell_was_closed_opens_no_connection(settings: Settings) -> None:
    doorbell = Doorbell(settings.redis_url)
    ring = Ring(new_id(), 0, "default", 0, clock.now())
    assert await doorbell.ring([ring])
    await doorbell.close()
    assert not await doorbell.ring([ring])


async def test_a_ring_goes_out_before_other_tasks_that_are_ready(settings: Settings) -> None:
    doorbell = Doorbell(settings.redis_url)
    first, second = (Ring(new_id(), 0, "default", 0, clock.now()) for _ in range(2))
    await doorbell.ring([first])
    ringing = asyncio.create_task(doorbell.ring([second]))
    blocking = asyncio.create_task(heard_while_nothing_else_is_done(settings, second))
    assert await blocking
    assert await ringing
    await doorbell.close()


async def heard_while_nothing_else_is_done(settings: Settings, ring: Ring) -> bool:
    """Whether Redis hears of a ring while this task keeps the event loop to itself, for some seconds at the most."""
    with redis.Redis.from_url(settings.redis_url) as here:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if here.zscore(queue_key(ring.queue), ring.job_id) is not None:
                return True
    return False


async def test_a_run_outlives_a_restart_of_postgresql(
    settings: Settings, tasks: TaskService, embedded_postgres: EmbeddedPostgres
) -> None:
    async with worker_process(settings, TASKLOOM_LEASE_SECONDS="30"):
        run = await tasks.trigger("fault-steps", input={"steps": 60})
        await until_step(tasks, run.id, 5)
        await embedded_postgres.restart()
        run = await until(lambda: outlives(tasks, run.id), 40)
    await assert_nothing_lost_or_doubled(tasks, run, 60)
    assert run.interruptions == 0


async def outlives(tasks: TaskService, run_id: UUID) -> TaskRun | None:
    try:
        return await tasks.wait(run_id, timeout=timedelta(seconds=1))
    except (ServiceUnavailable, TimeoutError):
        return None


async def test_a_killed_postgresql_costs_at_most_the_time_until_it_is_back(
    settings: Settings, tasks: TaskService, embedded_postgres: EmbeddedPostgres
) -> None:
    async with worker_process(settings, TASKLOOM_LEASE_SECONDS="30"):
        # Without a pause, so that a trigger is under way when PostgreSQL is killed.
        brood = await tasks.trigger("fault-brood", input={"steps": 200, "pause": 0})
        run = await tasks.trigger("fault-steps", input={"steps": 60})
        await until_step(tasks, run.id, 5)
        await embedded_postgres.kill()
        with pytest.raises(ServiceUnavailable):
            await tasks.trigger("fault-nothing")
        await embedded_postgres.start()
        run = await until(lambda: outlives(tasks, run.id), 40)
        brood = await until(lambda: outlives(tasks, brood.id), 40)
    await assert_nothing_lost_or_doubled(tasks, run, 60)
    assert (brood.output, brood.attempt, brood.interruptions) == ([200, 200], 1, 0)


async def test_a_run_outlives_a_password_that_its_worker_does_not_know_for_a_while(
    settings: Settings, tasks: TaskService, embedded_postgres: EmbeddedPostgres
) -> None:
    async with role_with_password(embedded_postgres, "grace", "sesame") as owner:
        url = as_role(settings.database_url, "grace", "sesame")
        with_password = settings.model_copy(update={"database_url": url})
        async with worker_process(with_password, TASKLOOM_LEASE_SECONDS="30"):
            run = await tasks.trigger("fault-steps", input={"steps": 60})
            await until_step(tasks, run.id, 5)
            await owner.execute("ALTER ROLE grace PASSWORD 'other'")
            await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'grace'")
            await until(lambda: turned_away(embedded_postgres, "grace") > 10)
            await owner.execute("ALTER ROLE grace PASSWORD 'sesame'")
            run = await until(lambda: outlives(tasks, run.id), 40)
    await assert_nothing_lost_or_doubled(tasks, run, 60)
    assert run.interruptions == 0


def turned_away(server: EmbeddedPostgres, role: str) -> int:
    """How often PostgreSQL has refused a role."""
    return (server.home / "log").read_text().count(f'password authentication failed for user "{role}"')


async def test_connections_cut_every_50_ms_lose_and_double_nothing(settings: Settings, tasks: TaskService) -> None:
    async with worker_process(settings):
        cutting = asyncio.create_task(cut_connections(settings.database_url))
        runs = [await patiently(tasks) for _ in range(5)]
        ended = [await until(lambda run_id=run_id: outlives(tasks, run_id), 50) for run_id in runs]
        await cutting
        for run in ended:
            await until(lambda run=run: undamaged(tasks, run))


async def patiently(tasks: TaskService) -> UUID:
    async def triggered():
        try:
            return (await tasks.trigger("fault-steps", input={"steps": 15})).id
        except ServiceUnavailable:
            return None

    return await until(triggered)


async def undamaged(tasks: TaskService, run: TaskRun) -> bool:
    try:
        await assert_nothing_lost_or_doubled(tasks, run, 15)
    except ServiceUnavailable:
        return False
    return True


async def cut_connections(url: str) -> None:
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("SELECT current_database()")
    for _ in range(CUTS):
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )
        await asyncio.sleep(0.05)
    await connection.close()
