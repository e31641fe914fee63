"""Counts final runs into the rollups that statistics are read from: each once, whoever dies over it.

Runs are taken in the order of ``(finished_at, id)``, and the mark, one row, says how far. A batch and the mark's move
are one transaction, which holds the mark: one at a time counts. ``finished_at`` is the time at which the transaction of
the settlement began, so the mark stays behind every transaction that may still settle a run.

A run that is deleted before the mark has come to it is counted then, under the same lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.db import Database, Pipe, rows_of
from app.periods import floor
from app.rollup_statements import DAY, HOUR, MERGES, NEXT_RUNS, QUARTER, RUNS, TASKS, THESE_RUNS, count, forget, merge

BATCH = 20_000
"""Runs in one transaction: some tenths of a second."""
BEHIND_SECONDS = 10.0
"""How far behind the present the mark stays at least."""
MERGE_SECONDS = 600.0
"""How long a day may take to be put together: enough for some ten million runs of as many tasks."""
PATIENCE = timedelta(minutes=5)
"""A transaction that has written nothing for so long settles no run: none of Taskloom's lasts that long, and somebody's
long look at the database should not hold back statistics."""
KEPT_DAYS = {QUARTER: 40, HOUR: 400}
"""For how many days rollups of so many minutes are read; those of days are kept for ever."""
_FORGET = 5000
_FIRST = UUID(int=0)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# Compiling these statements would take longer than executing them.
_PREPARE = "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'"
# Of a large table that was never analysed the planner would rather read and sort all that are left, for each batch.
ALONG_THE_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
_TAKE = "SELECT finished_at, run_id FROM rollup_mark FOR UPDATE SKIP LOCKED"
_WAIT = "SELECT finished_at, run_id FROM rollup_mark FOR UPDATE"
_LOOK = "SELECT finished_at, run_id FROM rollup_mark"
_BEGIN = """
    INSERT INTO rollup_mark (id, finished_at, run_id) VALUES (1, $1, $2) ON CONFLICT DO NOTHING
    RETURNING finished_at, run_id"""
_MOVE = "UPDATE rollup_mark SET finished_at = $1, run_id = $2, moved_at = now()"
_HORIZON = """
    SELECT LEAST(now() - $1::interval, min(xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND (backend_xid IS NOT NULL OR xact_start > now() - $2::interval)"""
_LAST = """
    WITH near AS (
        SELECT finished_at, id FROM task_runs
        WHERE finished_at IS NOT NULL AND (finished_at, id) > ($1, $2) AND finished_at < $3
        ORDER BY finished_at, id LIMIT $4)
    SELECT count(*) AS runs, max(finished_at) AS finished_at,
        (array_agg(id ORDER BY finished_at DESC, id DESC))[1] AS run_id FROM near"""
_UNCOUNTED = """
    SELECT EXISTS (SELECT FROM task_runs
        WHERE id = ANY($3::uuid[]) AND finished_at IS NOT NULL AND (finished_at, id) > ($1, $2))"""

_BEHIND = """
    SELECT greatest(0, extract(epoch FROM now() - finished_at))::float8 FROM task_runs
    WHERE finished_at IS NOT NULL AND (finished_at, id) > ($1, $2) ORDER BY finished_at, id LIMIT 1"""

Place = tuple[datetime, UUID]
BEGINNING: Place = (_BEGINNING, _FIRST)


class Rollups:
    """Keeps the rollups up to date. Any number may do it: one at a time does."""

    def __init__(self, db: Database, batch: int = BATCH, behind_seconds: float = BEHIND_SECONDS) -> None:
        self._db = db
        self._batch = batch
        self._behind = timedelta(seconds=behind_seconds)

    async def catch_up(self) -> bool:
        """Count the next runs. Returns whether there may be more to count at once."""
        async with self._db.pipe() as pipe:
            place = await _taken(pipe)
            if place is None:
                return False
            horizon: datetime = await pipe.fetchval(_HORIZON, self._behind, PATIENCE)
            if horizon <= place[0]:
                return False
            await pipe.execute(_PREPARE)
            await pipe.execute(ALONG_THE_INDEX)
            last = await pipe.fetchrow(_LAST, *place, horizon, self._batch)
            is_full = last is not None and last["runs"] == self._batch
            if last is not None and last["runs"]:
                await _count(pipe, NEXT_RUNS, *place, horizon, self._batch)
            end = (last["finished_at"], last["run_id"]) if last is not None and is_full else (horizon, _FIRST)
            await _merge(pipe, place[0], end[0])
            await pipe.execute(_MOVE, *end)
        return is_full

    async def forget(self) -> bool:
        """Delete some of the fine rollups that are too old. Returns whether there may be more."""
        more = False
        async with self._db.pipe() as pipe:
            today = floor(await pipe.fetchval("SELECT now()"), DAY)
            for table, minutes in ((RUNS, QUARTER), (RUNS, HOUR), (TASKS, QUARTER)):
                # A day more than is read is kept, because an answer may be under way.
                end = today - timedelta(days=KEPT_DAYS[minutes] + 1)
                more |= rows_of(await pipe.execute(forget(table), minutes, end, _FORGET)) == _FORGET
        return more


async def mark(pipe: Pipe) -> Place:
    """Up to where all runs are counted."""
    row = await pipe.fetchrow(_LOOK)
    return BEGINNING if row is None else (row["finished_at"], row["run_id"])


async def behind_seconds(pipe: Pipe) -> float:
    """How long ago the first run finished that is not counted yet; 0 when there is none."""
    return await pipe.fetchval(_BEHIND, *(await mark(pipe))) or 0.0


async def count_before_deletion(pipe: Pipe, run_ids: Sequence[UUID]) -> None:
    """Count those of the runs, which are locked, that are not counted yet; their deletion follows in this transaction.

    Almost always that is none. Where there are some, nobody else counts until this transaction ends.
    """
    if not await pipe.fetchval(_UNCOUNTED, *(await mark(pipe)), run_ids):
        return
    await pipe.execute(_BEGIN, *BEGINNING)
    place = await pipe.fetchrow(_WAIT)
    assert place is not None
    await pipe.execute(_PREPARE)
    await _count(pipe, THESE_RUNS, place["finished_at"], place["run_id"], run_ids)


async def _taken(pipe: Pipe) -> Place | None:
    """The mark, locked; None while somebody else has it."""
    row = await pipe.fetchrow(_TAKE) or await pipe.fetchrow(_BEGIN, *BEGINNING)
    return None if row is None else (row["finished_at"], row["run_id"])


async def _count(pipe: Pipe, source: str, *arguments: object) -> None:
    for table in (RUNS, TASKS):
        await pipe.execute(count(table, source), *arguments)


async def _merge(pipe: Pipe, begin: datetime, end: datetime) -> None:
    """Make the hours and days that the mark leaves behind from what they consist of."""
    for each in MERGES:
        since, until = floor(begin, each.coarser), floor(end, each.coarser)
        if since < until:
            await pipe.execute(merge(each), since, until, timeout=MERGE_SECONDS)
