"""No list of tasks, no search and no suggestion reads all tasks or all runs, however many there are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.expression import ClauseElement

from app import OrderDirection, PageArgs, TagFilter, TaskRunStatus
from app.auth import Principal
from app.database_clock import DatabaseClock
from app.db import Database
from app.service.saved_reading import SavedTaskReading, TaskQuestion
from app.settings import Settings
from app.task_filters import TaskFilter, TaskOrder
from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter
from tests.bench import filled

RUNS = 30_000
SUMMARIES = """
    INSERT INTO task_summaries (task_id, last_run_id, last_run_at, last_status, verdict, last_failed_at, last_ms,
        usual_ms)
    SELECT DISTINCT ON (task_id) task_id, id, created_at, status, status,
        CASE WHEN status = 'FAILED' THEN finished_at END, 900, 800 + 10000 * (claim_no - 1)
    FROM task_runs WHERE task_id IS NOT NULL ORDER BY task_id, id DESC"""


class Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, with the statement's own parameters."""

    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: Any, **options: Any) -> str:
    return "EXPLAIN " + compiler.process(element.statement, **options)


class Explaining:
    """A database with one session, which keeps the plans of all that is asked."""

    def __init__(self, session: Any, clock: DatabaseClock) -> None:
        self._session = session
        self.clock = clock
        self.plans: list[str] = []

    @asynccontextmanager
    async def read(self, **_: bool) -> AsyncIterator[Any]:
        """The session."""
        yield self

    async def exec(self, statement: Any) -> Any:
        """Keep the plan of a statement, and execute it."""
        if statement.is_select:
            rows = await self._session.exec(Explain(statement))
            self.plans.append("\n".join(row[0] for row in rows))
        return await self._session.exec(statement)


@pytest.fixture(scope="module")
async def database(migrated_database_url: str) -> AsyncIterator[Explaining]:
    """A database that sees 10,000 tasks, which are gone afterwards because nothing is committed."""
    db = Database(migrated_database_url, pool_size=1)
    async with db.read(together=True) as session:
        connection = await session.connection()
        await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        look: Any = (await connection.get_raw_connection()).driver_connection
        await filled.fill_tasks(look)
        await filled.insert_runs(look, RUNS)
        await look.execute(f"{SUMMARIES}; ANALYZE task_runs, task_summaries")
        yield Explaining(session, db.clock)
    await db.close()


def by(**fields: Any) -> TaskQuestion:
    return TaskQuestion(filter=TaskFilter(**fields))


QUESTIONS = {
    "everything": TaskQuestion(),
    "group": by(groups=["Pipeline 7"]),
    "owner": by(owners=["USER:person-7"]),
    "tag": by(tags=TagFilter(any=["tag-7"])),
    "type": by(definition_ids=["filled-3"]),
    "category": by(categories=["Finance"]),
    **{f"health {health}": by(health=[health]) for health in TaskHealth},
    "last status": by(last_run_statuses=[TaskRunStatus.LOST]),
    "last status of most": by(last_run_statuses=[TaskRunStatus.SUCCEEDED]),
    **{f"quick {quick}": TaskQuestion(quick=quick) for quick in TaskQuickFilter},
    "one word": TaskQuestion(search="invoice"),
    "two words": TaskQuestion(search="invoice export"),
    "a beginning": TaskQuestion(search="repo"),
    "a typing error": TaskQuestion(search="invocie"),
    "a rare word": TaskQuestion(search=filled.RARE),
    "no such word": TaskQuestion(search="qwertyuiop"),
    "a short beginning": TaskQuestion(search="zu"),
    "a word and a group": TaskQuestion(filter=TaskFilter(groups=["Pipeline 7"]), search="invoice"),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_list_of_tasks_uses_an_index(database: Explaining, question: TaskQuestion) -> None:
    database.plans.clear()
    reading = SavedTaskReading(cast(Any, database), Settings(), Principal.parse("USER:person-7"))
    await reading.list(question, page=PageArgs(first=50))
    # What asks before whether tasks have a common word reads one after another, but stops at the first that has it.
    plan = database.plans[-1]
    assert "Seq Scan on tasks" not in plan
    assert "Seq Scan on task_runs" not in plan


@pytest.mark.parametrize("question", ["group", "type"])
async def test_tasks_of_a_group_or_a_type_are_read_in_the_order_of_their_names_no_further_than_the_page(
    database: Explaining, question: str
) -> None:
    database.plans.clear()
    reading = SavedTaskReading(cast(Any, database), Settings(), Principal.parse("USER:person-7"))
    await reading.list(QUESTIONS[question], page=PageArgs(first=50))
    assert "Sort" not in database.plans[0]
    assert "Filter" not in database.plans[0]


async def test_suggestions_read_the_tasks_once_and_compare_each_owner_and_each_tag_once(database: Explaining) -> None:
    database.plans.clear()
    reading = SavedTaskReading(cast(Any, database), Settings(), Principal.parse("USER:person-7"))
    assert len(await reading.owner_suggestions("person-1")) == 10
    assert len(await reading.tag_suggestions("TAG-1")) == 10
    for plan in database.plans:
        assert plan.count(" on tasks ") == 1
        assert re.search(r"CTE Scan on each.*\n +Filter: .*lower", plan)


@pytest.mark.parametrize("field", [field for field in TaskOrderField if field is not TaskOrderField.RELEVANCE])
async def test_every_order_of_tasks_is_that_of_an_index(database: Explaining, field: TaskOrderField) -> None:
    database.plans.clear()
    reading = SavedTaskReading(cast(Any, database), Settings(), Principal.parse("USER:person-7"))
    await reading.list(order=TaskOrder(field, OrderDirection.DESC), page=PageArgs(first=50))
    [plan] = database.plans
    assert "Sort" not in plan.replace("Incremental Sort", "")
    assert "Seq Scan on tasks" not in plan
