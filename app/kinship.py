"""All SQL that finds what a run's timeline is told from: its attempts, and the chain of its reruns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from app.db import ReadSession
from app.rows import grouped

ATTEMPTS = 100
"""How many attempts of each run are told, the last ones."""
KIN = 50
"""How many runs of a chain of reruns are told to either side."""
LIMIT = 10_000
"""How many reruns are looked at in all."""

_RUNS = """
    SELECT id, status, status_reason, status_changed_at, created_at, created_by, start_at, started_at, finished_at,
        claimed_at, worker, iteration, attempt, failure_policy, abort_requested_at, abort_requested_by, abort_message,
        error, rerun_of
    FROM task_runs WHERE id = ANY(CAST(:ids AS uuid[]))"""
_ATTEMPTS = f"""
    SELECT a.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT run_id, claim_no, number, attempt, worker, started_at, finished_at, outcome, error
        FROM task_iterations WHERE run_id = wanted.id ORDER BY claim_no DESC LIMIT {ATTEMPTS}) AS a
    ORDER BY a.run_id, a.claim_no"""
_KIN_COLUMNS = "k.id, k.status, k.status_reason, k.created_at, k.created_by"
# Each step by the primary key, or by the index of reruns: without OFFSET the planner might read the whole table.
_ORIGINS = f"""
    WITH RECURSIVE chain(root, next, depth) AS (
        SELECT id, rerun_of, 1 FROM task_runs WHERE id = ANY(CAST(:ids AS uuid[])) AND rerun_of IS NOT NULL
        UNION ALL
        SELECT c.root, up.rerun_of, c.depth + 1 FROM chain c CROSS JOIN LATERAL (
            SELECT rerun_of FROM task_runs WHERE id = c.next OFFSET 0) AS up
        WHERE up.rerun_of IS NOT NULL AND c.depth < {KIN})
    SELECT c.root, {_KIN_COLUMNS} FROM chain c CROSS JOIN LATERAL (
        SELECT * FROM task_runs WHERE id = c.next OFFSET 0) AS k
    ORDER BY c.root, c.depth DESC"""
_RERUNS = f"""
    WITH RECURSIVE chain(root, id, depth) AS (
        SELECT id, id, 0 FROM unnest(CAST(:ids AS uuid[])) AS wanted(id)
        UNION ALL
        SELECT c.root, down.id, c.depth + 1 FROM chain c CROSS JOIN LATERAL (
            SELECT id FROM task_runs WHERE rerun_of = c.id ORDER BY id LIMIT {KIN}) AS down
        WHERE c.depth < {KIN})
    SELECT c.root, {_KIN_COLUMNS} FROM (
        SELECT root, id, row_number() OVER (PARTITION BY root ORDER BY id) AS n
        FROM (SELECT * FROM chain LIMIT {LIMIT}) AS found WHERE depth > 0) AS c
    CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE id = c.id OFFSET 0) AS k
    WHERE c.n <= {KIN} ORDER BY c.root, c.id"""


class Kinship:
    """Reads in one session; every method takes the ids of runs."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def stand_still(self) -> None:
        """See everything from now on as of one moment. To be called before anything is read."""
        await self._session.exec(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))

    async def runs(self, ids: Collection[UUID]) -> dict[UUID, Any]:
        """The runs' own rows, of those that exist."""
        return {row.id: row for row in await self._ask(_RUNS, ids)}

    async def attempts(self, ids: Collection[UUID]) -> Mapping[UUID, list[Any]]:
        """The finished attempts of each, in order: the last ``ATTEMPTS``."""
        return grouped(ids, [(row.run_id, row) for row in await self._ask(_ATTEMPTS, ids)])

    async def origins(self, ids: Collection[UUID]) -> Mapping[UUID, list[Any]]:
        """The runs that each goes back to by reruns, the first one first, as far as they are kept."""
        return grouped(ids, [(row.root, row) for row in await self._ask(_ORIGINS, ids)])

    async def reruns(self, ids: Collection[UUID]) -> Mapping[UUID, list[Any]]:
        """The runs that go back to each, by creation: reruns, and reruns of these."""
        return grouped(ids, [(row.root, row) for row in await self._ask(_RERUNS, ids)])

    async def _ask(self, statement: str, ids: Collection[UUID]) -> list[Any]:
        question = text(statement).bindparams(ids=list(ids))
        return list(await self._session.exec(question.columns(error=JSONB) if "error" in statement else question))
