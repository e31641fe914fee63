"""Logs and iterations in weekly partitions: how they come about, what they hold, when they are dropped as a whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection

import app.migrations
from app import TaskService, clock
from app.db import Database, plain_url
from app.history import History
from app.ids import first_id, new_id
from app.leases import LOG_COLUMNS, Leases
from app.partitions import LOCK_MILLISECONDS, TABLES, WEEK, WEEKS_AHEAD, Partitions, Span, hold_off_drops
from app.retention import Retention
from app.settings import Settings
from tests.service.conftest import service
from tests.workbench import until
from tests.workers.tasks.test_retention import runs, stored, swept, total, with_details
from workers.partitioner import Partitioner

FOUND = "SELECT tableoid::regclass::text FROM {} WHERE run_id = $1 LIMIT 1"
OPTIONS = "SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)"
SCALE = Path(__file__).parents[2] / "docs" / "scale.md"
DAYS_AGO = 200
RACES = 10


@pytest.fixture
async def own(fresh_database_url: str, redis_url: str) -> Settings:
    """The settings of a database whose partitions a test may change."""
    await app.migrations.upgrade(fresh_database_url)
    return Settings(database_url=fresh_database_url, redis_url=redis_url)


@pytest.fixture
async def db(own: Settings) -> AsyncIterator[Database]:
    database = Database(own.database_url, pool_size=5)
    yield database
    await database.close()


@pytest.fixture
async def tasks(own: Settings, registry: Any) -> AsyncIterator[TaskService]:
    async with service(own, registry) as tasks:
        await tasks.retention.update(keep_last=0)
        yield tasks


@pytest.fixture
async def week(db: Database) -> Span:
    """A week of long ago that has partitions of its own; what the tables held before they were divided gives way."""
    start = clock.now() - timedelta(days=DAYS_AGO)
    span = Span("19990101", first_id(start), first_id(start + WEEK))
    async with db.pipe() as pipe:
        high = (await Partitions(pipe).spans())[0].high
        for table in TABLES:
            await pipe.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_first")
            await pipe.execute(f"CREATE TABLE {table}_{span.suffix} (LIKE {table} INCLUDING ALL)")
            for suffix, low, end in ((span.suffix, span.low, span.high), ("first", span.high, high)):
                bounds = f"FROM ('{low}') TO ('{end}')"
                await pipe.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_{suffix} FOR VALUES {bounds}")
    return span


async def suffixes(db: Database) -> list[str]:
    async with db.pipe() as pipe:
        return [span.suffix for span in await Partitions(pipe).spans()]


async def places(db: Database, run_id: UUID) -> list[str | None]:
    """In which partitions the iterations and the logs of a run are."""
    async with db.autocommit() as pipe:
        return [await pipe.fetchval(FOUND.format(table), run_id) for table in TABLES]


def line(run_id: UUID, sequence: int = 1) -> tuple[Any, ...]:
    return (run_id, sequence, 1, 1, "INFO", "line", None, clock.now())


# How they come about.


async def test_the_migration_takes_over_what_is_there_while_workers_write(fresh_database_url: str) -> None:
    await upgrade(fresh_database_url, "0007")
    connection: Any = await asyncpg.connect(plain_url(fresh_database_url))
    written: list[UUID] = []
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            run_id = new_id()
            await connection.copy_records_to_table("task_logs", records=[line(run_id)], columns=LOG_COLUMNS)
            written.append(run_id)

    writing = asyncio.create_task(write())
    try:
        await until(lambda: writing.done() or len(written) >= 50)
        await app.migrations.upgrade(fresh_database_url)
        there = len(written)
        await until(lambda: writing.done() or len(written) >= there + 50)
    finally:
        done.set()
        await writing
    stored = await connection.fetch("SELECT run_id, tableoid::regclass::text AS place FROM task_logs ORDER BY run_id")
    assert [row["run_id"] for row in stored] == sorted(written)
    assert {row["place"] for row in stored} == {"task_logs_first"}
    for bad in (line(written[0]), line(new_id(), 0)):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.copy_records_to_table("task_logs", records=[bad], columns=LOG_COLUMNS)
    await connection.close()


async def test_weeks_are_made_ahead_by_whoever_comes_first(db: Database) -> None:
    before = await suffixes(db)
    async with db.pipe() as pipe:
        last = (await Partitions(pipe).spans())[-1]
        later = clock.now() + timedelta(weeks=10)
        missing = await Partitions(pipe).missing(later)
    assert len(missing) == WEEKS_AHEAD + 1
    assert missing[0].low >= last.high
    assert await asyncio.gather(*(made(db, span) for span in missing for _ in range(2)))
    assert await suffixes(db) == [*before, *[span.suffix for span in missing]]


async def test_workers_that_make_what_is_missing_together_leave_no_week_out(db: Database) -> None:
    weeks: list[str] = []

    async def all_there() -> bool:
        # The tables may be in use, for one by autovacuum: a worker comes again.
        await Partitioner(db).run_once()
        return (await suffixes(db))[-1] == weeks[-1]

    for _ in range(RACES):
        made = (await suffixes(db))[1:]
        async with db.pipe() as pipe:
            for name in (f"{table}_{suffix}" for table in TABLES for suffix in made):
                await pipe.execute(f"DROP TABLE {name}")
            weeks = [span.suffix for span in await Partitions(pipe).missing(clock.now())]
        await asyncio.gather(*(Partitioner(db).run_once() for _ in range(5)))
        await until(all_there)
        assert await suffixes(db) == ["first", *weeks]


async def test_a_week_that_began_in_the_default_partition_stays_there_and_hurts_nobody(db: Database) -> None:
    later = clock.now() + timedelta(weeks=10)
    early = UUID(int=first_id(later).int + 1)
    async with db.pipe() as pipe:
        await Leases(pipe).append_logs([line(early)])
        span, *_ = await Partitions(pipe).missing(later)
    with pytest.raises(asyncpg.CheckViolationError):
        await made(db, span)
    assert (await places(db, early))[1] == "task_logs_default"
    assert span.suffix not in await suffixes(db)


async def test_what_the_page_on_scale_sets_for_vacuum_holds_for_the_weeks_to_come(db: Database) -> None:
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", SCALE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    async with db.pipe() as pipe:
        await pipe.execute(statements)
        span, *_ = await Partitions(pipe).missing(clock.now() + timedelta(weeks=10))
    assert await made(db, span)
    async with db.pipe() as pipe:
        options = {table: await pipe.fetchval(OPTIONS, f"{table}_{span.suffix}") for table in TABLES}
        runs = await pipe.fetchval(OPTIONS, "task_runs")
    assert options == {
        "task_iterations": None,
        "task_logs": ["autovacuum_vacuum_insert_scale_factor=0", "autovacuum_vacuum_insert_threshold=1000000"],
    }
    assert "autovacuum_vacuum_threshold=100000" in runs


async def made(db: Database, span: Span) -> bool:
    """Make a week, as often as somebody else is at it."""
    while True:
        try:
            async with db.pipe() as pipe:
                if await Partitions(pipe).make(span):
                    return True
        except asyncpg.DuplicateTableError:
            return True
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            pass
        await asyncio.sleep(0)


# How they are read.


async def test_a_log_is_read_and_deleted_without_a_look_at_other_weeks(
    own: Settings, tasks: TaskService, db: Database, week: Span
) -> None:
    [run] = await stored(db, DAYS_AGO - 1)
    assert await places(db, run) == [f"{table}_{week.suffix}" for table in TABLES]
    connection: Any = await asyncpg.connect(plain_url(own.database_url))
    transaction = connection.transaction()
    await transaction.start()
    # A week that is locked cannot be looked at.
    for table in TABLES:
        await connection.execute(f"LOCK TABLE {table}_first, {table}_default IN ACCESS EXCLUSIVE MODE")
    async with asyncio.timeout(10):
        assert len((await tasks.log_page(run)).items) == 3
        assert len([line async for line in tasks.logs(run)]) == 3
        async with db.pipe() as pipe:
            assert await History(pipe).delete_details([run]) == (3, 2)
    await transaction.rollback()
    await connection.close()


# How they are dropped.


async def test_a_week_of_which_nothing_is_to_be_kept_is_dropped_as_a_whole(
    tasks: TaskService, db: Database, week: Span
) -> None:
    await tasks.retention.update(runs_days=None)
    old = [*await stored(db, DAYS_AGO - 1, 5), *await stored(db, DAYS_AGO - 2, 2, status="FAILED")]
    steps = await swept(tasks, limit=4)
    assert total(steps) == {"stripped": 7, "logs": 21, "iterations": 14, "runs": 0}
    assert sum(step.spans for step in steps) == 1
    assert week.suffix not in await suffixes(db)
    assert await runs(db) == set(old)
    assert await with_details(db) == set()


@pytest.mark.parametrize("why", ["pinned", "live", "for ever", "parent of a live run"])
async def test_a_week_with_something_to_keep_stays_and_loses_the_rest(
    tasks: TaskService, db: Database, week: Span, why: str
) -> None:
    await tasks.retention.update(runs_days=None)
    [run] = await stored(db, DAYS_AGO - 1, status="WAITING" if why == "live" else "SUCCEEDED", definition_id="echo")
    if why == "pinned":
        await tasks.retention.pin(run)
    elif why == "for ever":
        await tasks.trigger("echo", delay=3600)
        await tasks.retention.update("echo", succeeded_logs_days=None)
    elif why == "parent of a live run":
        await stored(db, 1, status="WAITING", parent=run)
    await stored(db, DAYS_AGO - 1, 3)
    before = await with_details(db)
    steps = await swept(tasks)
    assert (sum(step.spans for step in steps), total(steps)["stripped"]) == (0, 3)
    assert week.suffix in await suffixes(db)
    assert run in await with_details(db)
    assert len(before - await with_details(db)) == 3


async def test_a_run_that_is_old_and_has_never_started_keeps_its_week(
    tasks: TaskService, db: Database, week: Span
) -> None:
    [run] = await stored(db, DAYS_AGO - 1, status="WAITING")
    async with db.pipe() as pipe:
        await History(pipe).delete_details([run])
    assert sum(step.spans for step in await swept(tasks)) == 0
    assert week.suffix in await suffixes(db)


async def test_a_drop_waits_for_nobody_and_single_runs_are_removed_instead(
    tasks: TaskService, db: Database, week: Span
) -> None:
    await stored(db, DAYS_AGO - 1, 3)
    async with db.pipe() as reader:
        await reader.fetch("SELECT * FROM task_logs LIMIT 1")
        async with asyncio.timeout(LOCK_MILLISECONDS / 1000 + 10):
            steps = await swept(tasks)
    assert (sum(step.spans for step in steps), total(steps)["runs"]) == (0, 3)
    assert sum(step.spans for step in await swept(tasks)) == 1
    assert week.suffix not in await suffixes(db)


async def test_no_week_is_dropped_while_somebody_pins_a_run(tasks: TaskService, db: Database, week: Span) -> None:
    [run] = await stored(db, DAYS_AGO - 1)
    async with db.pipe() as pinning:
        await hold_off_drops(pinning)
        assert sum(step.spans for step in await swept(tasks)) == 0
        await Retention(pinning).pin(run, pinned=True)


async def test_what_is_written_for_a_week_that_is_gone_is_kept_in_the_default_partition(
    tasks: TaskService, db: Database, week: Span
) -> None:
    await swept(tasks)
    assert week.suffix not in await suffixes(db)
    [late] = await stored(db, DAYS_AGO - 1)
    assert await places(db, late) == [f"{table}_default" for table in TABLES]
    await swept(tasks)
    assert await with_details(db) == set()


async def upgrade(database_url: str, version: str) -> None:
    """Bring a database to a version that is not the newest."""

    def run(connection: Connection) -> None:
        command.upgrade(app.migrations._config(connection), version)

    async with app.migrations._connection(database_url) as connection:
        await connection.run_sync(run)
