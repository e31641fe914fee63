"""All SQL on batches: runs that were triggered together, and what is triggered once when all of them are final."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson
from sqlalchemy import func, select

from app.db import Pipe, ReadSession, Row, json_text
from app.models import TaskRun
from app.rows import objects
from app.states import FINAL, TaskRunStatus

if TYPE_CHECKING:
    from app.models import Batch

RUNS = TaskRun.metadata.tables["task_runs"]
FORGOTTEN_MINUTES = 5
"""A batch that is not sealed after this time was left by a process that died while it triggered the runs."""

_INSERT = """
    INSERT INTO batches (id, name, complete_definition_id, complete_input, created_by)
    VALUES ($1, $2, $3, $4::jsonb, $5)"""
# Where nothing was triggered, there is no last run whose end could trigger anything.
_SEAL = """
    UPDATE batches SET sealed_at = now(), total = $2, completed_at = CASE WHEN $2 = 0 THEN now() END
    WHERE id = $1 AND sealed_at IS NULL"""
_ABORT = """
    UPDATE batches SET aborted_at = now(), aborted_by = $2
    WHERE id = $1 AND completed_at IS NULL AND aborted_at IS NULL RETURNING id"""
_ABORT_OPEN = """
    UPDATE batches SET aborted_at = now(), aborted_by = $1
    WHERE complete_definition_id IS NOT NULL AND completed_at IS NULL AND aborted_at IS NULL"""
# A batch is entered at the lowest run that was not final when it was last looked at, so that each run is passed once.
_OPEN = f"""
    SELECT b.*, live.id AS live_id, EXISTS (SELECT FROM task_runs r WHERE r.batch_id = b.id) AS has_runs
    FROM batches b LEFT JOIN LATERAL (
        SELECT r.id FROM task_runs r
        WHERE r.batch_id = b.id AND r.finished_at IS NULL AND r.id >= COALESCE(b.first_live, '{UUID(int=0)}')
        ORDER BY r.id LIMIT 1) live ON true
    WHERE b.complete_definition_id IS NOT NULL AND b.completed_at IS NULL AND b.id > $1 AND b.sealed_at IS NOT NULL
    ORDER BY b.id LIMIT $2 FOR UPDATE OF b SKIP LOCKED"""
# Nobody triggers into it any more: neither a server, nor a bulk action that goes on.
_FORGOTTEN = f"""
    b.sealed_at IS NULL AND b.created_at < now() - interval '{FORGOTTEN_MINUTES} minutes' AND NOT EXISTS (
        SELECT FROM bulk_actions a JOIN task_runs r ON r.id = a.run_id
        WHERE a.batch_id = b.id AND a.finished_at IS NULL AND r.finished_at IS NULL)"""
_SEAL_FORGOTTEN = f"""
    WITH forgotten AS (
        SELECT b.id, (SELECT count(*) FROM task_runs r WHERE r.batch_id = b.id) AS runs FROM batches b
        WHERE {_FORGOTTEN} ORDER BY b.id LIMIT $1 FOR UPDATE OF b SKIP LOCKED)
    UPDATE batches b SET sealed_at = now(), total = f.runs, completed_at = CASE WHEN f.runs = 0 THEN now() END
    FROM forgotten f WHERE b.id = f.id"""
_ANY_OPEN = f"""
    SELECT EXISTS (SELECT FROM batches WHERE complete_definition_id IS NOT NULL AND completed_at IS NULL)
        OR EXISTS (SELECT FROM batches b WHERE {_FORGOTTEN})"""
_PASS = "UPDATE batches SET first_live = $2 WHERE id = $1 AND first_live IS DISTINCT FROM $2"
_TAKE = """
    SELECT aborted_at FROM batches WHERE id = $1 AND completed_at IS NULL FOR UPDATE SKIP LOCKED"""
_COMPLETE = """
    UPDATE batches SET completed_at = now(), sealed_at = COALESCE(sealed_at, now()), complete_run_id = $2,
        complete_error = $3, total = COALESCE(total, (SELECT count(*) FROM task_runs r WHERE r.batch_id = $1))
    WHERE id = $1"""


async def insert(pipe: Pipe, batch: Batch) -> None:
    """Store a new batch, which is not sealed."""
    given = None if batch.complete_definition_id is None else json_text(batch.complete_input)
    await pipe.execute(_INSERT, batch.id, batch.name, batch.complete_definition_id, given, batch.created_by)


async def seal(pipe: Pipe, batch_id: UUID, total: int) -> None:
    """Say that all runs of a batch are there, and how many."""
    await pipe.execute(_SEAL, batch_id, total)


async def seal_forgotten(pipe: Pipe, limit: int) -> None:
    """Seal batches that a process left when it died while it triggered the runs: those that are there are all."""
    await pipe.execute(_SEAL_FORGOTTEN, limit)


async def abort(pipe: Pipe, batch_id: UUID, by: str) -> None:
    """Mark a batch as aborted: it will trigger nothing when its runs are final."""
    await pipe.execute(_ABORT, batch_id, by)


async def abort_open(pipe: Pipe, by: str) -> None:
    """The same for all batches that have something to trigger."""
    await pipe.execute(_ABORT_OPEN, by)


async def any_open(pipe: Pipe) -> bool:
    """Whether any batch has something to trigger yet, or was left unsealed."""
    return bool(await pipe.fetchval(_ANY_OPEN))


async def open_batches(pipe: Pipe, after: UUID, limit: int) -> list[Row]:
    """Lock the next batches that have something to trigger; ``live_id`` is a run that is not final, if there is one."""
    return await pipe.fetch(_OPEN, after, limit)


async def take(pipe: Pipe, batch_id: UUID) -> Row | None:
    """Lock a batch to complete it; None when somebody else does, or has. The row says whether it was aborted."""
    return await pipe.fetchrow(_TAKE, batch_id)


def stored_input(row: Row) -> Any:
    """What the batch triggers its follower with."""
    return orjson.loads(row["complete_input"])


async def pass_final(pipe: Pipe, batch_id: UUID, live_id: UUID) -> None:
    """Note the lowest run that is not final, to begin with it next time."""
    await pipe.execute(_PASS, batch_id, live_id)


async def complete(pipe: Pipe, batch_id: UUID, run_id: UUID | None, error: str | None) -> None:
    """Say that what the batch had to trigger was triggered, or why it was not."""
    await pipe.execute(_COMPLETE, batch_id, run_id, error)


@dataclass(frozen=True, slots=True)
class Tally:
    """How the runs of a batch stand: how many in each status, and when the last one became final."""

    counts: dict[TaskRunStatus, int]
    last_finished_at: datetime | None

    @property
    def final(self) -> int:
        """How many are final."""
        return sum(number for status, number in self.counts.items() if status in FINAL)

    @property
    def live(self) -> int:
        """How many are not."""
        return sum(self.counts.values()) - self.final


class BatchRows:
    """Reads batches in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def find(self, batch_ids: Collection[UUID]) -> dict[UUID, Batch]:
        """Those of the batches that exist."""
        # Not above: workers only look for batches that are done.
        from app.models import Batch

        table = Batch.metadata.tables["batches"]
        rows = await self._session.exec(select(table).where(table.c.id.in_(list(batch_ids))))
        return {batch.id: batch for batch in objects(Batch, rows)}

    async def tallies(self, batch_ids: Collection[UUID]) -> dict[UUID, Tally]:
        """How the runs of batches stand."""
        statement = (
            select(RUNS.c.batch_id, RUNS.c.status, func.count().label("number"), func.max(RUNS.c.finished_at))
            .where(RUNS.c.batch_id.in_(list(batch_ids)))
            .group_by(RUNS.c.batch_id, RUNS.c.status)
        )
        found: dict[UUID, Tally] = {id: Tally({}, None) for id in batch_ids}
        for batch_id, status, number, finished_at in await self._session.exec(statement):
            known = found[batch_id]
            times = [time for time in (known.last_finished_at, finished_at) if time is not None]
            counts = {**known.counts, TaskRunStatus(status): number}
            found[batch_id] = Tally(counts, max(times, default=None))
        return found
