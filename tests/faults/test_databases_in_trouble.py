"""A PostgreSQL that answers and cannot write: a full disk, a disk that fails, a standby in place of the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import app.migrations
from app import TaskService
from app.dev.postgres import EmbeddedPostgres
from app.errors import ServiceUnavailable
from app.settings import Settings
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled, until_step
from tests.operations.outages import as_role
from tests.workbench import connected, until, working
from workers.forks import servers_of

SOON = timedelta(seconds=40)
TROUBLE = {"disk full": "53100", "out of memory": "53200", "disk fails": "58030", "read-only": "25006"}
# A sequence counts what a transaction that is rolled back did; for each row, because the dispatcher updates none at all
# all the time.
REFUSE = """
    CREATE SEQUENCE refused;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('refused');
        RAISE EXCEPTION 'in trouble' USING ERRCODE = '{code}';
    END $$;"""
REFUSED = "CREATE TRIGGER trouble BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"


@asynccontextmanager
async def trouble(
    connection: Any, code: str, *tables: str, event: str = "INSERT"
) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    """Writes into these tables are refused meanwhile; gives what returns once as many have been."""

    async def refused(times: int) -> object:
        return await until(partial(has_refused, connection, times))

    await connection.execute(REFUSE.format(code=code))
    for table in tables:
        await connection.execute(REFUSED.format(event=event, table=table))
    try:
        yield refused
    finally:
        await connection.execute("DROP FUNCTION refuse() CASCADE; DROP SEQUENCE refused")


async def has_refused(connection: Any, times: int) -> bool:
    return await connection.fetchval("SELECT is_called AND last_value >= $1 FROM refused", times)


@pytest.mark.parametrize("code", TROUBLE.values(), ids=TROUBLE.keys())
async def test_what_a_run_wrote_is_kept_until_the_database_can_write_again(
    settings: Settings, tasks: TaskService, code: str
) -> None:
    async with connected(settings) as connection, worker_process(settings, TASKLOOM_LEASE_SECONDS="30"):
        run = await tasks.trigger("fault-steps", input={"steps": 20})
        await until_step(tasks, run.id, 5)
        async with trouble(connection, code, "task_logs") as refused:
            await refused(3)
        run = await tasks.wait(run.id, timeout=SOON)
    await assert_nothing_lost_or_doubled(tasks, run, 20)
    assert (run.attempt, run.interruptions) == (1, 0)


async def test_runs_that_could_not_be_claimed_are_claimed_when_the_database_can_write_again(
    settings: Settings, tasks: TaskService
) -> None:
    async with connected(settings) as connection, worker_process(settings, TASKLOOM_LEASE_SECONDS="30"):
        async with trouble(connection, TROUBLE["disk full"], "task_runs", event="UPDATE") as refused:
            runs = [await tasks.trigger("fault-steps", input={"steps": 1}) for _ in range(3)]
            await refused(2)
        for run in runs:
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 1)


async def test_a_trigger_that_finds_the_disk_full_is_refused_and_stores_nothing(
    settings: Settings, tasks: TaskService
) -> None:
    async with connected(settings) as connection:
        async with trouble(connection, TROUBLE["disk full"], "task_runs"):
            with pytest.raises(ServiceUnavailable, match="nothing was stored"):
                await tasks.trigger("fault-nothing")
        assert await tasks.count() == 0
        assert (await tasks.trigger("fault-nothing")).definition_id == "fault-nothing"


async def test_a_worker_waits_for_the_rights_that_its_role_lacks_and_says_which(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    poor = settings.model_copy(update={"database_url": as_role(settings.database_url, "poor", "any")})

    async def grant() -> None:
        await until(lambda: "permission denied for table alembic_version. Waiting for it." in caplog.text)
        await owner.execute("GRANT pg_read_all_data, pg_write_all_data TO poor")

    async with connected(settings) as owner:
        await owner.execute("CREATE ROLE poor LOGIN")
        granting = asyncio.create_task(grant())
        async with working(poor) as worker:
            assert worker.engine.keeper.is_held
        await granting
        await owner.execute("DROP ROLE poor")


async def test_a_worker_takes_of_several_hosts_the_one_that_is_there(
    settings: Settings, tasks: TaskService, embedded_postgres: EmbeddedPostgres
) -> None:
    several = settings.database_url.replace("host=", "host=/nowhere,").replace("port=", "port=1,")
    run = await tasks.trigger("fault-nothing")
    async with working(settings.model_copy(update={"database_url": several})):
        assert (await tasks.wait(run.id, timeout=SOON)).claim_no == 1


@pytest.mark.parametrize(
    ("url", "known_by"),
    [
        ("postgresql://me:a,1@one:5433,two,three:7/db", {5433, 5432, 7}),
        ("postgresql://me@/db?host=/a,/b&port=1,2", {1, 2, *(f"/{d}/.s.PGSQL.{n}" for d in "ab" for n in (1, 2))}),
        ("unix:///run/valkey.sock", {"/run/valkey.sock"}),
    ],
)
def test_a_forked_process_knows_all_servers_of_a_url(url: str, known_by: set[object]) -> None:
    assert servers_of(url, 5432) == known_by


@pytest.fixture
async def own_postgres(server_home: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that this test may make a standby."""
    server = EmbeddedPostgres(server_home / "failing-over", durable=False)
    await server.start()
    yield server
    await server.stop()


async def test_a_standby_counts_as_away_until_it_is_promoted(
    settings: Settings, own_postgres: EmbeddedPostgres
) -> None:
    await app.migrations.upgrade(own_postgres.url)
    own = settings.model_copy(update={"database_url": own_postgres.url})
    async with TaskService.connect(settings=own) as tasks, worker_process(own, TASKLOOM_LEASE_SECONDS="30"):
        run = await tasks.trigger("fault-steps", input={"steps": 60})
        await until_step(tasks, run.id, 5)
        await own_postgres.stop()
        (own_postgres.home / "data" / "standby.signal").touch()
        await own_postgres.start()
        for ask in (tasks.get(run.id), tasks.trigger("fault-nothing")):
            with pytest.raises(ServiceUnavailable):
                await ask
        standby: Any = await asyncpg.connect(own_postgres.url)
        assert await standby.fetchval("SELECT pg_promote()")
        await standby.close()
        run = await tasks.wait(run.id, timeout=SOON)
        await assert_nothing_lost_or_doubled(tasks, run, 60)
        assert (run.attempt, run.interruptions) == (1, 0)
