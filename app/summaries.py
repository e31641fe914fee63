"""All SQL that keeps the summaries of saved tasks: what lists filter by, worked out anew for tasks whose runs changed.

A summary is never counted up: it is made from the latest runs, so that doing it twice, or late, does no harm.
"""

from __future__ import annotations

from uuid import UUID

from app.db import Database, Pipe
from app.models import statuses
from app.states import VERDICTS, TaskRunStatus

LATEST = 30
CHUNK = 500
# Any number will do as long as nothing else on the database takes an advisory lock with it.
_LOCK = 7_215_318_664_027
_TELLING = statuses(frozenset(VERDICTS))
_FAILED = statuses(frozenset(VERDICTS) - {TaskRunStatus.SUCCEEDED})

# A change is seen once its transaction has ended, and carries the time at which that began. So everything before the
# oldest transaction that is open now is there to be seen; one that is frozen holds this back a minute at the most.
_HORIZON = """
    SELECT GREATEST(LEAST(now(), min(xact_start)), now() - interval '1 minute') FROM pg_stat_activity
    WHERE datname = current_database()"""
_MARK = "SELECT COALESCE(max(seen_until), 'epoch') FROM task_summary_mark"
_SET_MARK = """
    INSERT INTO task_summary_mark (id, seen_until) VALUES (1, $1)
    ON CONFLICT (id) DO UPDATE SET seen_until = excluded.seen_until"""
# Between two times: of all that is later than one the planner takes a third of the table for it, until it is analysed.
CHANGED = """
    SELECT DISTINCT task_id FROM task_runs WHERE task_id IS NOT NULL AND status_changed_at BETWEEN $1 AND 'infinity'
    ORDER BY task_id"""
_SUMMARISE = f"""
    INSERT INTO task_summaries
        (task_id, last_run_id, last_run_at, last_status, verdict, last_failed_at, last_ms, usual_ms)
    SELECT t.id, s.last_run_id, s.last_run_at, s.last_status, s.verdict, s.last_failed_at, s.took[1],
        (SELECT avg(ms) FROM unnest(s.took[2:21]) AS ms)
    FROM unnest($1::uuid[]) AS t(id) CROSS JOIN LATERAL (
        SELECT (array_agg(r.id ORDER BY r.id DESC))[1] AS last_run_id,
            (array_agg(r.created_at ORDER BY r.id DESC))[1] AS last_run_at,
            (array_agg(r.status ORDER BY r.id DESC))[1] AS last_status,
            (array_agg(r.status ORDER BY r.finished_at DESC) FILTER (WHERE r.status IN {_TELLING}))[1] AS verdict,
            max(r.finished_at) FILTER (WHERE r.status IN {_FAILED}) AS last_failed_at,
            array_agg((extract(epoch FROM r.finished_at - r.started_at) * 1000)::float8 ORDER BY r.finished_at DESC)
                FILTER (WHERE r.status = 'SUCCEEDED' AND r.started_at IS NOT NULL) AS took
        FROM (
            SELECT id, created_at, status, started_at, finished_at FROM task_runs
            WHERE task_id = t.id ORDER BY id DESC LIMIT {LATEST}
        ) AS r) AS s
    WHERE s.last_run_id IS NOT NULL
    ON CONFLICT (task_id) DO UPDATE SET
        last_run_id = excluded.last_run_id, last_run_at = excluded.last_run_at, last_status = excluded.last_status,
        verdict = COALESCE(excluded.verdict, task_summaries.verdict),
        last_failed_at = GREATEST(excluded.last_failed_at, task_summaries.last_failed_at),
        last_ms = excluded.last_ms, usual_ms = excluded.usual_ms"""


class Summaries:
    """Keeps the summaries of saved tasks up to date. Any number may do it: one at a time does."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def catch_up(self) -> int:
        """Take in what became of runs since the last time; returns how many tasks were summarised."""
        async with self._db.pipe() as pipe:
            if not await pipe.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return 0
            # Read before the changes, whose statement sees what was committed up to then and more.
            horizon = await pipe.fetchval(_HORIZON)
            rows = await pipe.fetch(CHANGED, await pipe.fetchval(_MARK))
            await _summarise(pipe, [row["task_id"] for row in rows])
            await pipe.execute(_SET_MARK, horizon)
            return len(rows)


async def _summarise(pipe: Pipe, task_ids: list[UUID]) -> None:
    for start in range(0, len(task_ids), CHUNK):
        await pipe.execute(_SUMMARISE, task_ids[start : start + CHUNK])
