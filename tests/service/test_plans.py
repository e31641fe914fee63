"""No list walks through the whole table: each is looked at on a table that is large enough for the planner to care."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.expression import ClauseElement

from app import DateTimeRange, OrderDirection, RunFilter, RunOrder, RunOrderField, TagFilter, TaskRunStatus, clock
from app.conditions import FloatRange
from app.db import Database
from app.paging import Window
from app.run_filters import conditions
from app.run_search import Bearers, Lookup
from app.runs import list_of_runs

ROWS = 30_000
SEED = """
    INSERT INTO task_runs (id, definition_id, name, status, status_changed_at, input, queue, priority, tags,
        max_iterations, iteration, max_attempts, attempt, created_at, start_at, started_at, finished_at, created_by,
        parent_id, lease_owner, error, error_group, is_named, task_id, group_name, owner, schedule_id, batch_id)
    SELECT id, 'def-' || n % 20, 'Run ' || n, status, at, '{}', CASE WHEN n % 100 = 3 THEN 'mail' ELSE 'default' END,
        CASE WHEN n % 4 = 0 THEN n % 21 - 10 ELSE 0 END,
        CASE WHEN n % 5 = 0 THEN ARRAY['t' || n % 1000] ELSE '{}'::text[] END, 1, 1, 1, 1, at, at,
        CASE WHEN status <> 'QUEUED' THEN at END,
        CASE WHEN status NOT IN ('QUEUED', 'RUNNING') THEN at + (n % 97 = 0)::int * interval '1 minute' END,
        'USER:local-admin', CASE WHEN n % 50 = 0 THEN lag(id, 7) OVER () END,
        CASE WHEN status = 'RUNNING' THEN gen_random_uuid() END,
        CASE WHEN status = 'FAILED' THEN jsonb_build_object('type', 'OSError', 'message', 'disk ' || md5(n::text)) END,
        CASE WHEN status = 'FAILED' THEN 'f' || n % 31 END,
        n % 40 = 0, CASE WHEN n % 3 = 0 THEN lpad(to_hex(n % 600), 32, '0')::uuid END,
        CASE WHEN n % 3 = 0 THEN 'g' || n % 60 END, CASE WHEN n % 3 = 0 THEN 'USER:u' || n % 60 END,
        CASE WHEN n % 9 = 0 THEN lpad(to_hex(n % 90), 32, '0')::uuid END,
        CASE WHEN n % 9 = 1 THEN lpad(to_hex(n % 90), 32, '0')::uuid END
    FROM (
        SELECT n, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid AS id,
            CASE WHEN n > ROWS - 50 THEN 'RUNNING' WHEN n > ROWS - 500 THEN 'QUEUED' WHEN n % 50 = 1 THEN 'FAILED'
            WHEN n % 200 = 2 THEN 'ABORTED' ELSE 'SUCCEEDED' END AS status
        FROM (SELECT n, now() - (ROWS - n) * interval '1 second' AS at FROM generate_series(1, ROWS) n) AS numbered
    ) AS made"""


class Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, with the statement's own parameters."""

    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: Any, **options: Any) -> str:
    return "EXPLAIN " + compiler.process(element.statement, **options)


@pytest.fixture(scope="module")
async def planner(migrated_database_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Explains lists on a large table, which is gone afterwards because nothing is committed."""
    db = Database(migrated_database_url, pool_size=1)
    async with db.read(together=True) as session:
        connection = await session.connection()
        await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        await connection.execute(text(SEED.replace("ROWS", str(ROWS))))
        await connection.execute(text("ANALYZE task_runs"))

        async def explain(filter: RunFilter, order: RunOrder, window: Window) -> str:
            rows = await connection.execute(Explain(list_of_runs(conditions(filter, LOOKUPS), order, window)))
            return "\n".join(row[0] for row in rows)

        yield explain
    await db.close()


SOMEONE = UUID("0199c0de-0000-7000-8000-000000000000")
LOOKUPS = {
    ("search", "59960"): Lookup({"59960": Bearers()}),
    ("search", "something"): Lookup({"something": Bearers(["def-7"])}),
    ("search", "anything"): Lookup({"anything": Bearers((), [UUID(int=3)])}),
    ("search", "59960 un"): Lookup({"59960": Bearers(), "un": Bearers()}),
    ("search", "few"): Lookup({}, [SOMEONE] * 2000),
    ("errorText", "few"): Lookup({}, [SOMEONE] * 2000),
}
FIRST = Window(size=50, backward=False, after=None, before=None)
HOUR_AGO = DateTimeRange(gte=clock.now() - timedelta(hours=2), lt=clock.now() - timedelta(hours=1))
FILTERS = {
    "everything": RunFilter(),
    "ids": RunFilter(ids=[SOMEONE]),
    "definition": RunFilter(definition_ids=["def-3"]),
    "unused definition": RunFilter(definition_ids=["nobody"]),
    "definitions": RunFilter(definition_ids=["def-3", "def-4"]),
    "failed": RunFilter(statuses=[TaskRunStatus.FAILED]),
    "running": RunFilter(statuses=[TaskRunStatus.RUNNING]),
    "lost, and there is none": RunFilter(statuses=[TaskRunStatus.LOST]),
    "default queue": RunFilter(queues=["default"]),
    "other queue": RunFilter(queues=["mail"]),
    "unused queues": RunFilter(queues=["nobody", "no-one"]),
    "parent": RunFilter(parent_id=SOMEONE),
    "any tag": RunFilter(tags=TagFilter(any=["t5", "t10"])),
    "all tags": RunFilter(tags=TagFilter(all=["t5"])),
    "saved task": RunFilter(task_ids=[UUID(int=3)]),
    "groups": RunFilter(groups=["g3", "g6"]),
    "owner": RunFilter(owners=["USER:u3"]),
    "schedule": RunFilter(schedule_ids=[UUID(int=9)]),
    "batch": RunFilter(batch_ids=[UUID(int=10)]),
    "slow": RunFilter(duration_ms=FloatRange(gte=50_000)),
    "a word that few hold": RunFilter(search="59960"),
    "a word of a definition": RunFilter(search="something"),
    "a word of a task": RunFilter(search="anything"),
    "words that few runs hold": RunFilter(search="few"),
    "two words, one of them short": RunFilter(search="59960 un"),
    "text of an error": RunFilter(error_text="a1b2c3"),
    "text that few errors hold": RunFilter(error_text="few"),
    "error group": RunFilter(error_group="f7"),
    "created": RunFilter(created_at=HOUR_AGO),
    "started": RunFilter(started_at=HOUR_AGO),
    "finished": RunFilter(finished_at=HOUR_AGO),
}


@pytest.mark.parametrize("field", list(RunOrderField))
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
async def test_a_list_with_one_filter_uses_an_index_in_every_order(
    planner: Callable[..., Any], filter: RunFilter, field: RunOrderField
) -> None:
    plan = await planner(filter, RunOrder(field), FIRST)
    assert "Seq Scan" not in plan
    assert "Index" in plan


async def test_words_are_looked_up_together_in_the_indexes_of_all_places_where_they_may_be(
    planner: Callable[..., Any],
) -> None:
    plan = await planner(RunFilter(search="59960"), RunOrder(), FIRST)
    for index in ("task_runs_by_own_name", "task_runs_live_named", "task_runs_by_tag"):
        assert f"Bitmap Index Scan on {index}" in plan
    assert "task_runs_slow" in await planner(RunFilter(duration_ms=FloatRange(gte=3_600_000)), RunOrder(), FIRST)


@pytest.mark.parametrize("direction", list(OrderDirection))
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("field", list(RunOrderField))
async def test_a_page_in_the_middle_begins_at_its_cursor_and_is_not_sorted(
    planner: Callable[..., Any], field: RunOrderField, direction: OrderDirection, backward: bool
) -> None:
    order = RunOrder(field, direction)
    values = {"id": SOMEONE, "started_at": clock.now(), "finished_at": clock.now(), "priority": 3}
    place = tuple(values[key] for key in order.keys)
    plan = await planner(RunFilter(), order, Window(50, backward, None if backward else place, place))
    assert "Index Cond" in plan
    # A page of a part may be sorted in with the other's.
    assert not re.search(r"Sort  \(.*\n.*Sort Key.*\n +->  (?!Limit)", plan)


@pytest.mark.parametrize("direction", list(OrderDirection))
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("priority", [-3, 0, 3])
async def test_a_page_by_priority_never_walks_through_the_runs_of_no_special_priority(
    planner: Callable[..., Any], priority: int, direction: OrderDirection, backward: bool
) -> None:
    place = (priority, SOMEONE)
    order = RunOrder(RunOrderField.PRIORITY, direction)
    window = Window(50, backward, None if backward else place, place if backward else None)
    plan = await planner(RunFilter(), order, window)
    # They are bounded by their ids, or all of them fit and the page is full at once, or none can and nothing is read.
    assert not re.search(r"Filter: .*ROW\(", plan)
