"""What workers ask every second never reads the whole table, however long the history, analysed lately or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app import clock, error_grouping, states, summaries
from app.db import plain_url
from app.ids import first_id
from app.leases import Claimant, Leases
from app.parents import Parents
from app.retention import DEFAULT, FIRST, Retention, Rule, Rules
from app.states import Reason
from tests.service.test_plans import ROWS, SEED

CLAIMANT = Claimant(uuid4(), "host:1", ("default",), tuple(f"def-{n}" for n in range(20)))
NOW = clock.now()
LATE = states.RunError("Timeout", "too late")
ASKED = {
    "make due": lambda pipe: Leases(pipe).make_due(states.become_due(), 1000),
    "make parents due": lambda pipe: Parents(pipe).make_due(states.become_due(), 1000),
    "make these parents due": lambda pipe: Parents(pipe).make_due(states.become_due(), 1000, [uuid4()]),
    "fail parents": lambda pipe: Parents(pipe).failing(1000),
    "fail these parents": lambda pipe: Parents(pipe).failing(1000, [uuid4()]),
    "expire": lambda pipe: Leases(pipe).expire_unstarted(states.expire(), 1000),
    "ring again": lambda pipe: Leases(pipe).longest_due(CLAIMANT, "default", 2.0, 1000),
    "claim next": lambda pipe: Leases(pipe).claim_next(CLAIMANT, "default", 100),
    "aborting": lambda pipe: Leases(pipe).aborting(CLAIMANT.owner),
    "reap leases": lambda pipe: Leases(pipe).reap_expired_leases(CLAIMANT, states.expire_lease(), 3, NOW),
    "overruns": lambda pipe: Leases(pipe).overruns(CLAIMANT, NOW),
    "reap overruns": lambda pipe: Leases(pipe).reap_overruns(
        CLAIMANT, [(uuid4(), 1) for _ in range(1000)], states.fail(LATE, Reason.TIMEOUT), NOW
    ),
    "reap aborts": lambda pipe: Leases(pipe).reap_aborts(
        CLAIMANT, states.force_abort(), NOW, grace=30.0, forced_grace=5.0
    ),
    "changed runs of tasks": lambda pipe: pipe.fetch(summaries.CHANGED, NOW),
    "failures without a group": lambda pipe: pipe.fetch(error_grouping.WAITING),
    "failures to group": lambda pipe: pipe.fetch(error_grouping.TAKE, error_grouping.BATCH),
    "disown": lambda pipe: Leases(pipe).reap_disowned(CLAIMANT, states.expire_lease(), 3, [uuid4()], 60.0),
}


LATER = clock.now() + timedelta(days=100)
RULES = Rules([Rule()])
JUDGED = {
    "details": lambda retention: retention.judge_details(RULES, LATER, FIRST, 1000),
    "details of a week": lambda retention: retention.judge_details(RULES, LATER, FIRST, 1000, first_id(LATER)),
    "runs": lambda retention: retention.judge_runs(RULES, LATER, DEFAULT, FIRST, 1000),
    "runs of a definition": lambda retention: retention.judge_runs(RULES, LATER, "def-3", FIRST, 1000),
    "next definition": lambda retention: retention.next_definition("def-3"),
}


FORGET = """
    DELETE FROM pg_statistic WHERE starelid IN (
        SELECT oid FROM pg_class WHERE relname IN ('task_runs', 'run_rollups', 'task_rollups')
        UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (
            'task_runs'::regclass, 'run_rollups'::regclass, 'task_rollups'::regclass))"""
"""What ANALYZE, or autovacuum, found in the rows of earlier tests."""


class Explaining:
    """A connection that explains what it is asked instead of doing it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plan = ""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Explain a statement with its arguments."""
        rows = await self._connection.fetch("EXPLAIN " + query, *arguments)
        self.plan = "\n".join(row[0] for row in rows)
        return []

    fetchval = fetch


@pytest.fixture(scope="module", params=["analysed", "not analysed"])
async def connection(request: pytest.FixtureRequest, migrated_database_url: str) -> AsyncIterator[Any]:
    """A connection that sees a large table, which is gone afterwards because nothing is committed."""
    connection = await asyncpg.connect(plain_url(migrated_database_url))
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    # Dead rows and wide pages that earlier tests have left behind would count in the costs, and statistics stay.
    await connection.execute("TRUNCATE task_runs, run_rollups, task_rollups")
    await connection.execute(FORGET)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SET LOCAL lock_timeout = '10s'")
    await connection.execute(SEED.replace("ROWS", str(ROWS)))
    if request.param == "analysed":
        await connection.execute("ANALYZE task_runs")
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_housekeeping_finds_what_it_looks_for_by_an_index(connection: Any, asked: Any) -> None:
    explaining = Explaining(connection)
    await asked(explaining)
    assert "task_runs" in explaining.plan
    assert "Seq Scan on task_runs" not in explaining.plan


@pytest.mark.parametrize("judged", JUDGED.values(), ids=JUDGED)
async def test_retention_looks_at_a_bounded_part_of_the_history(connection: Any, judged: Any) -> None:
    explaining = Explaining(connection)
    await judged(Retention(explaining))
    assert "task_runs" in explaining.plan
    assert "Seq Scan on task_runs" not in explaining.plan
