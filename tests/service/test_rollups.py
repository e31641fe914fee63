"""Each final run is counted once, whatever happens at the same time: two who count, late commits, purges, a crash."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app import TaskService, clock, rollups
from app.db import Database, Pipe
from app.history import History
from app.rollup_reading import Asked, RollupReading, StatisticsDimension
from app.rollup_statements import MERGES, NEXT_RUNS, RUNS, TASKS, count, merge
from app.rollups import Rollups, behind_seconds
from app.service.statistics_reading import Measures, StatisticsQuery
from app.settings import Settings
from tests.service import finished
from tests.service.conftest import SUCCEED, Hand
from tests.service.finished import assert_measured, at_random, count_all, plain
from tests.service.test_housekeeping_plans import Explaining, connection
from tests.workbench import until

__all__ = ["connection"]

DAY = timedelta(days=1)


async def totals(tasks: TaskService) -> Measures:
    """Of the last two days."""
    return (await tasks.statistics.of(StatisticsQuery(since=clock.now() - 2 * DAY))).totals


async def purge(db: Database, run_ids: list[UUID]) -> None:
    async with db.pipe() as pipe:
        history = History(pipe)
        await history.delete([row["id"] for row in await history.lock(run_ids)])


async def test_counting_and_purging_at_once_count_every_run_once(tasks: TaskService, db: Database) -> None:
    now = clock.now()
    runs = at_random(now - DAY, now - timedelta(minutes=1), 1200, 7, finished.some_tasks(3))
    await finished.store(db, runs)
    chance = random.Random(7)
    doomed = [chance.sample([run.id for run in runs], 60) for _ in range(12)]

    async def purges() -> None:
        for ids in doomed:
            await purge(db, ids)

    async def counts() -> None:
        counting = Rollups(db, 40)
        while await behind(db):
            await counting.catch_up()

    await asyncio.gather(purges(), counts(), counts())
    assert_measured(await totals(tasks), runs)
    async with db.pipe() as pipe:
        assert await pipe.fetchval("SELECT count(*) FROM task_runs") == len(
            {run.id for run in runs} - {id for ids in doomed for id in ids}
        )


async def behind(db: Database) -> float:
    async with db.autocommit() as pipe:
        return await behind_seconds(pipe)


async def test_a_purge_waits_for_a_count_under_way_and_counts_nothing_twice(
    tasks: TaskService, db: Database, settings: Settings
) -> None:
    run = plain(clock.now() - timedelta(minutes=1))
    await finished.store(db, [run])
    look = await asyncpg.connect(settings.database_url)
    transaction = look.transaction()
    await transaction.start()
    counting: Pipe = look  # type: ignore[assignment]
    await Rollups(_Same(counting)).catch_up()  # type: ignore[arg-type]
    purging = asyncio.create_task(purge(db, [run.id]))
    await until(lambda: waits_for_a_lock(db))
    await transaction.commit()
    await purging
    await look.close()
    assert_measured(await totals(tasks), [run])


class _Same:
    """A database with one connection, whose transaction somebody else ends."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def pipe(self) -> Any:
        """The connection."""
        return self

    async def __aenter__(self) -> Pipe:
        return self._pipe

    async def __aexit__(self, *_: object) -> None: ...


async def waits_for_a_lock(db: Database) -> bool:
    async with db.autocommit() as pipe:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await pipe.fetchval(waiting))


async def test_a_run_whose_settlement_commits_late_is_not_passed_over(
    tasks: TaskService, db: Database, hand: Hand, settings: Settings
) -> None:
    late, early = [await tasks.trigger("no-input") for _ in range(2)]
    held = {each.id: each for each in await hand.claim(2)}
    look = await asyncpg.connect(settings.database_url)
    transaction = look.transaction()
    await transaction.start()
    settle = """
        UPDATE task_runs SET status = 'SUCCEEDED', finished_at = now(), lease_owner = NULL WHERE id = $1
        RETURNING finished_at"""
    finished_at: datetime = await look.fetchval(settle, late.id)
    await held[early.id].write(move=SUCCEED)
    assert (await tasks.get(early.id)).finished_at > finished_at  # type: ignore[operator]
    await count_all(db)
    assert (await totals(tasks)).runs == 1
    await transaction.commit()
    await look.close()
    await count_all(db)
    assert (await totals(tasks)).runs == 2
    async with db.pipe() as pipe:
        assert await pipe.fetchval("SELECT sum(succeeded) FROM run_rollups WHERE scope = 'ALL' AND minutes = 15") == 2


async def test_a_transaction_that_only_looks_for_long_does_not_hold_back_statistics(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = await asyncpg.connect(settings.database_url)
    transaction = look.transaction()
    await transaction.start()
    await look.fetchval("SELECT count(*) FROM task_runs")
    await finished.store(db, [plain(clock.now())])
    await count_all(db)
    assert await behind(db) > 0
    monkeypatch.setattr(rollups, "PATIENCE", timedelta(0))
    await until(lambda: _caught_up(db))
    await transaction.rollback()
    await look.close()


async def _caught_up(db: Database) -> bool:
    await count_all(db)
    return not await behind(db)


async def test_a_run_that_finishes_now_is_in_the_answer_before_it_is_counted(
    tasks: TaskService, db: Database, hand: Hand
) -> None:
    await tasks.trigger("no-input")
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    assert not await Rollups(db).catch_up()
    assert await behind(db) > 0
    assert (await totals(tasks)).succeeded == 1


async def test_hours_and_days_are_made_once_they_are_over_and_hold_what_their_quarters_do(
    tasks: TaskService, db: Database
) -> None:
    now = clock.now()
    runs = at_random(now - 3 * DAY, now, 500, 9, finished.some_tasks(4))
    await finished.store(db, runs)
    await count_all(db, batch=90)
    sums = """
        SELECT scope, key, minutes, sum(succeeded + failed + aborted + lost + expired) AS runs, sum(duration_ms) AS ms,
            (SELECT sum(n) FROM run_rollups r, unnest(duration_counts) AS n WHERE r.scope = o.scope AND r.key = o.key
                AND r.minutes = o.minutes AND r.starts_at < date_trunc('day', now(), 'UTC')) AS started
        FROM run_rollups o WHERE starts_at < date_trunc('day', now(), 'UTC') GROUP BY scope, key, minutes"""
    async with db.pipe() as pipe:
        rows = await pipe.fetch(sums)
        of_tasks = await pipe.fetch(
            "SELECT minutes, sum(succeeded + failed + aborted + lost + expired) AS runs FROM task_rollups "
            "WHERE starts_at < date_trunc('day', now(), 'UTC') GROUP BY minutes"
        )
    over = [run for run in runs if run.finished < now.replace(hour=0, minute=0, second=0, microsecond=0)]
    by_key: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for row in rows:
        by_key.setdefault((row["scope"], row["key"]), set()).add((row["runs"], row["started"]))
    assert by_key["ALL", ""] == {(len(over), sum(run.started is not None for run in over))}
    assert all(len(values) == 1 for values in by_key.values())
    assert {scope for scope, _ in by_key} == {"ALL", "DEFINITION", "GROUP", "OWNER"}
    assert {row["runs"] for row in of_tasks} == {sum(run.task is not None for run in over)}
    assert {row["minutes"] for row in of_tasks} == {15, 1440}


# Plans.

ASKED = {
    "everything": Asked(),
    "a definition": Asked({StatisticsDimension.DEFINITION: ["def-3"]}),
    "a task": Asked({StatisticsDimension.TASK: [UUID(int=3)]}),
    "a group": Asked({StatisticsDimension.GROUP: ["g3"]}),
    "an owner": Asked({StatisticsDimension.OWNER: ["o3"]}),
    "by task": Asked(by=StatisticsDimension.TASK),
}
FILL = (
    """
    INSERT INTO run_rollups (scope, key, minutes, starts_at, succeeded)
    SELECT scope, scope || n % 20, minutes, at, 1 FROM (
        SELECT n, minutes,
            date_bin(minutes * interval '1 minute', now(), 'epoch') - n / 20 * minutes * interval '1 minute' AS at
        FROM generate_series(0, 9999) AS n, unnest(ARRAY[15, 60, 1440]) AS minutes) AS made,
        unnest(ARRAY['ALL', 'DEFINITION', 'GROUP', 'OWNER']) AS scope""",
    """
    INSERT INTO task_rollups (task_id, definition_id, group_name, owner, minutes, starts_at, succeeded)
    SELECT lpad(to_hex(n % 500), 32, '0')::uuid, 'd' || n % 7, 'g' || n % 50, 'o' || n % 99, minutes,
        date_bin(minutes * interval '1 minute', now(), 'epoch') - n / 100 * minutes * interval '1 minute', 1
    FROM generate_series(0, 49999) AS n, unnest(ARRAY[15, 1440]) AS minutes""",
)


class _Session:
    """A session that explains what it is asked."""

    def __init__(self, explaining: Explaining) -> None:
        self._explaining = explaining

    async def connection(self) -> Any:
        """Itself."""
        return self

    async def exec_driver_sql(self, query: str, arguments: tuple[Any, ...]) -> Any:
        """Explain."""
        await self._explaining.fetch(query, *arguments)
        return self

    def mappings(self) -> Any:
        """Itself."""
        return self

    def all(self) -> list[Any]:
        """Nothing."""
        return []


async def test_counting_walks_along_the_index_from_where_it_stopped(connection: Any) -> None:
    place = await connection.fetchrow(
        "SELECT finished_at, id FROM task_runs WHERE finished_at IS NOT NULL OFFSET 15000 LIMIT 1"
    )
    settings = connection.transaction()
    await settings.start()
    await connection.execute(rollups.ALONG_THE_INDEX)
    for table in (RUNS, TASKS):
        explaining = Explaining(connection)
        await explaining.fetch(count(table, NEXT_RUNS), *place, clock.now(), 1000)
        assert "Index Scan using task_runs_by_finish" in explaining.plan
    await settings.rollback()


async def test_answers_read_no_table_as_a_whole(connection: Any) -> None:
    for statement in FILL:
        await connection.execute(statement)
    await connection.execute("ANALYZE run_rollups, task_rollups")
    place = await connection.fetchrow("SELECT max(finished_at), gen_random_uuid() FROM task_runs")
    now = clock.now()
    for asked in ASKED.values():
        explaining = Explaining(connection)
        reading = RollupReading(_Session(explaining))  # type: ignore[arg-type]
        reading.known = type(reading.known)(tuple(place), now)
        await reading.ranked(asked, (now - DAY, now), "RUNS", 10) if asked.by else await reading.figures(
            asked, [(now - DAY, now)]
        )  # type: ignore[arg-type]
        assert "Seq Scan" not in explaining.plan, explaining.plan
    for each in MERGES:
        explaining = Explaining(connection)
        await explaining.fetch(merge(each), now - DAY, now)
        assert "Seq Scan" not in explaining.plan
