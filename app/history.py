"""All SQL that deletes history: final runs with their logs and iterations, a bounded batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from app.db import Pipe, Row, rows_of
from app.models import statuses
from app.rollups import count_before_deletion
from app.states import FINAL, LIVE

MAX_LINES = 50_000
"""Log lines in one batch, so that its transaction stays short; a single run with more is a batch of its own."""

BEGINNING = (datetime.min.replace(year=2, tzinfo=UTC), UUID(int=0))
"""A position before every run; not NULL, so that the index is entered at the position in any case."""

REMOVABLE = f"r.status IN {statuses(FINAL)} AND NOT r.is_pinned"
"""Which runs ``r`` may be deleted at all, whoever asks; ``History.lock`` checks it before every deletion."""
# What a live run may still look at stays: its children, its parent, and the runs that it waits for.
NEEDED = f"""
    EXISTS (SELECT FROM task_runs c WHERE c.parent_id = r.id AND c.status IN {statuses(LIVE)})
    OR EXISTS (SELECT FROM task_runs p WHERE p.id = r.parent_id AND p.status IN {statuses(LIVE)})
    OR r.id IN (SELECT unnest(w.wait_for) FROM task_runs w WHERE w.status = 'WAITING' AND w.wait_for IS NOT NULL)"""
# The batch is bounded by the runs that are looked at, not by those that fit: a statement never searches for long.
_LOOK = f"""
    WITH near AS MATERIALIZED (
        SELECT id, definition_id, status, parent_id, log_count, finished_at, is_pinned FROM task_runs
        WHERE finished_at < $1 AND (finished_at, id) > ($2, $3)
        ORDER BY finished_at, id LIMIT $4
    ), summed AS (
        SELECT *, sum(log_count) OVER (ORDER BY finished_at, id) - log_count AS lines_before FROM near)
    SELECT r.id, r.finished_at, r.log_count,
        ($5::text[] IS NULL OR r.definition_id = ANY($5)) AND ($6::text[] IS NULL OR r.status = ANY($6))
        AND NOT ({NEEDED}) AND NOT r.is_pinned AS fits
    FROM summed r WHERE r.lines_before < {MAX_LINES} ORDER BY r.finished_at, r.id"""
# The last one of a choice that was cut off by its log lines says so; the next choice begins behind it.
_CHOOSE = f"""
    WITH near AS MATERIALIZED (
        SELECT id, parent_id, log_count FROM task_runs r WHERE r.id = ANY($1::uuid[]) AND {REMOVABLE} ORDER BY id
    ), summed AS (SELECT *, sum(log_count) OVER (ORDER BY id) - log_count AS lines_before FROM near)
    SELECT r.id, ({NEEDED}) AS is_needed, EXISTS (SELECT FROM summed s WHERE s.lines_before >= {MAX_LINES}) AS is_cut
    FROM summed r WHERE r.lines_before < {MAX_LINES} ORDER BY r.id"""
_LOCK = f"""
    SELECT r.id, r.finished_at FROM task_runs r WHERE r.id = ANY($1::uuid[]) AND {REMOVABLE}
    ORDER BY r.id FOR UPDATE SKIP LOCKED"""
# The bounds let the planner leave out the partitions of other weeks.
_COUNT = """
    SELECT count(*) FROM unnest($1::uuid[]) AS gone(id) JOIN {table} t ON t.run_id = gone.id
    WHERE t.run_id BETWEEN $2 AND $3"""
_DELETE = (
    "DELETE FROM {table} t USING unnest($1::uuid[]) AS gone(id) WHERE t.run_id = gone.id AND t.run_id BETWEEN $2 AND $3"
)


class History:
    """Looks through old runs and deletes them, in one transaction."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def look(
        self,
        before: datetime,
        after: tuple[datetime, UUID] | None,
        limit: int,
        definition_ids: Sequence[str] | None,
        final_statuses: Sequence[str] | None,
    ) -> list[Row]:
        """The next runs that finished before a time, ``id, finished_at, log_count, fits``, the oldest first.

        ``fits`` says whether the run is one of those asked for and is needed by no live one.
        """
        return await self._pipe.fetch(_LOOK, before, *(after or BEGINNING), limit, definition_ids, final_statuses)

    async def choose(self, run_ids: Sequence[UUID]) -> list[Row]:
        """Those of the runs that may be deleted, by id, up to the bound of log lines: ``id, is_needed, is_cut``.

        ``is_needed`` says whether a live run may still look at it, ``is_cut`` whether there are more.
        """
        return await self._pipe.fetch(_CHOOSE, run_ids)

    async def lock(self, run_ids: Sequence[UUID]) -> list[Row]:
        """Lock those of the runs that may be deleted and nobody else has locked; returns ``id, finished_at``."""
        return await self._pipe.fetch(_LOCK, run_ids)

    async def count(self, table: str, run_ids: Sequence[UUID]) -> int:
        """How many rows of ``task_logs`` or ``task_iterations`` runs have."""
        return await self._pipe.fetchval(_COUNT.format(table=table), run_ids, min(run_ids), max(run_ids))

    async def count_details(self, run_ids: Sequence[UUID]) -> tuple[int, int]:
        """How many log lines and iterations runs have."""
        if not run_ids:
            return 0, 0
        return await self.count("task_logs", run_ids), await self.count("task_iterations", run_ids)

    async def delete(self, run_ids: Sequence[UUID]) -> tuple[int, int]:
        """Delete runs, which are locked, and all that belongs to them, when they are counted for statistics.

        Returns how many log lines and iterations went with them.
        """
        await count_before_deletion(self._pipe, run_ids)
        gone = await self.delete_details(run_ids)
        await self._pipe.execute("DELETE FROM task_runs WHERE id = ANY($1::uuid[])", run_ids)
        return gone

    async def delete_details(self, run_ids: Sequence[UUID]) -> tuple[int, int]:
        """Delete the log lines and iterations of runs, and say how many they were; the runs themselves stay."""
        if not run_ids:
            return 0, 0
        arguments = (run_ids, min(run_ids), max(run_ids))
        lines = await self._pipe.execute(_DELETE.format(table="task_logs"), *arguments)
        iterations = await self._pipe.execute(_DELETE.format(table="task_iterations"), *arguments)
        return rows_of(lines), rows_of(iterations)
