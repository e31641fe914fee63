"""The workers' side of the SQL on schedules: what is due, and what became of it. The clients' is ``app.schedules``.

Whether a tick is due is said by the database's clock alone. Of several schedulers the one decides whose ``take`` comes
first; a frozen one that wakes up later finds that ``write_no`` has moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.db import Pipe, Row, rows_of
from app.models import statuses
from app.schedule_states import PauseReason, ScheduleStatus, TickOutcome, TickReason
from app.states import FINAL

KEPT_SECONDS = 30 * 86400.0
"""How long it is kept what became of a tick."""
PURGED_AT_ONCE = 1000

_LIVE = f"(SELECT 1 FROM task_runs r WHERE r.schedule_id = s.id AND r.status NOT IN {statuses(FINAL)})"
# Aborted runs say nothing about the task. By the index on ticks no more rows are read than are asked for.
_FAILURES = """
    (SELECT count(*) FILTER (WHERE status <> 'SUCCEEDED') FROM (
        SELECT r.status FROM task_runs r
        WHERE r.schedule_id = s.id AND r.tick_at >= s.active_since
            AND r.status IN ('SUCCEEDED', 'FAILED', 'LOST', 'EXPIRED')
        ORDER BY r.tick_at DESC LIMIT COALESCE(s.max_failures, 0)) AS last
     WHERE true HAVING count(*) = count(*) FILTER (WHERE status <> 'SUCCEEDED'))"""
_COLUMNS = f"""
    s.id, s.task_id, s.cron, s.every_seconds, s.anchor_at, s.once_at, s.time_zone, s.starts_at, s.ends_at,
    s.jitter_seconds, s.overlap, s.catch_up, s.catch_up_seconds, s.max_failures, s.owner, s.write_no, s.next_tick_at,
    s.status, s.input, t.id IS NOT NULL AND t.deleted_at IS NULL AS has_task,
    t.name AS task_name, t.definition_id, t.input AS task_input, t.tags, t.group_name, t.owner AS task_owner,
    t.is_enabled, t.priority, t.queue, t.timeout_seconds, t.max_attempts, t.version AS task_version, t.retry,
    now() AS now,
    COALESCE({_FAILURES}, 0) AS failures"""
_DUE = f"""
    SELECT {_COLUMNS}, s.next_tick_at AS tick_at, EXISTS {_LIVE} AS is_running,
        (SELECT count(*) FROM schedule_ticks k WHERE k.schedule_id = s.id AND k.outcome = 'WAITING') AS waiting
    FROM schedules s LEFT JOIN tasks t ON t.id = s.task_id
    WHERE s.next_due_at <= now() ORDER BY s.next_due_at LIMIT $1"""
_IS_ANY_DUE = """
    SELECT EXISTS (SELECT 1 FROM schedules WHERE next_due_at <= now())
        OR EXISTS (SELECT 1 FROM schedule_ticks WHERE outcome = 'WAITING')"""
_WAITING = f"""
    SELECT DISTINCT ON (k.schedule_id) {_COLUMNS}, k.tick_at, false AS is_running, 0 AS waiting
    FROM schedule_ticks k JOIN schedules s ON s.id = k.schedule_id LEFT JOIN tasks t ON t.id = s.task_id
    WHERE k.outcome = 'WAITING' AND NOT EXISTS {_LIVE} ORDER BY k.schedule_id, k.tick_at LIMIT $1"""
# Passing over a row that somebody has locked, who may be frozen while he holds it.
_TAKE = """
    WITH mine AS (SELECT id FROM schedules WHERE id = $1 AND write_no = $2 FOR UPDATE SKIP LOCKED)
    UPDATE schedules s SET write_no = s.write_no + 1, status = $3, next_tick_at = $4, next_due_at = $5,
        pause_reason = $6, pause_message = $7
    FROM mine WHERE s.id = mine.id RETURNING s.id"""
_IS_DECIDED = "SELECT 1 FROM schedule_ticks WHERE schedule_id = $1 AND tick_at = $2 AND outcome <> 'WAITING'"
_RECORD = """
    INSERT INTO schedule_ticks (schedule_id, tick_at, last_tick_at, ticks, outcome, reason, message, run_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (schedule_id, tick_at) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason,
        message = excluded.message, run_id = excluded.run_id, decided_at = now()"""
_DROP_WAITING = """
    UPDATE schedule_ticks SET outcome = 'SKIPPED', reason = 'PAUSED', decided_at = now(),
        message = 'The schedule was paused while the tick waited.'
    WHERE schedule_id = $1 AND outcome = 'WAITING'"""
_LIVE_RUNS = f"SELECT id FROM task_runs WHERE schedule_id = $1 AND status NOT IN {statuses(FINAL)} ORDER BY id"
_PURGE = """
    DELETE FROM schedule_ticks k USING (
        SELECT schedule_id, tick_at FROM schedule_ticks
        WHERE decided_at < now() - make_interval(secs => $1) AND outcome <> 'WAITING'
        ORDER BY decided_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
    WHERE k.schedule_id = old.schedule_id AND k.tick_at = old.tick_at"""


@dataclass(frozen=True, slots=True)
class Onward:
    """How a schedule goes on after a tick: its status, its next tick and when that is due, and why it is paused."""

    status: ScheduleStatus
    next_tick_at: datetime | None = None
    next_due_at: datetime | None = None
    pause_reason: PauseReason | None = None
    pause_message: str | None = None


@dataclass(frozen=True, slots=True)
class TickLine:
    """What is written down about a tick, or about ``ticks`` of them up to ``last``."""

    schedule_id: UUID
    tick: datetime
    last: datetime
    ticks: int
    outcome: TickOutcome
    reason: TickReason | None
    message: str | None
    run_id: UUID | None


async def is_any_due(pipe: Pipe) -> bool:
    """Whether a schedule is due, or a tick waits; by the indexes that hold nothing else."""
    return await pipe.fetchval(_IS_ANY_DUE)


async def due(pipe: Pipe, limit: int) -> list[Row]:
    """Schedules whose next tick is due, the longest due first, with their tasks."""
    return await pipe.fetch(_DUE, limit)


async def waiting(pipe: Pipe, limit: int) -> list[Row]:
    """The first waiting tick of each schedule that has one and no live run."""
    return await pipe.fetch(_WAITING, limit)


async def take(pipe: Pipe, schedule_id: UUID, write_no: int, onward: Onward) -> bool:
    """Move a schedule on and keep it locked; False when somebody else has it or moved it on already."""
    values = (onward.status, onward.next_tick_at, onward.next_due_at, onward.pause_reason, onward.pause_message)
    return await pipe.fetchval(_TAKE, schedule_id, write_no, *values) is not None


async def is_decided(pipe: Pipe, schedule_id: UUID, tick: datetime) -> bool:
    """Whether it is known what became of a tick; ask while the schedule is locked."""
    return await pipe.fetchval(_IS_DECIDED, schedule_id, tick) is not None


async def record(pipe: Pipe, line: TickLine) -> None:
    """Write down what became of a tick."""
    await pipe.execute(
        _RECORD, line.schedule_id, line.tick, line.last, line.ticks, line.outcome, line.reason, line.message,
        line.run_id,
    )  # fmt: skip


async def drop_waiting(pipe: Pipe, schedule_id: UUID) -> None:
    """Skip the ticks that wait, because their schedule is paused."""
    await pipe.execute(_DROP_WAITING, schedule_id)


async def live_runs(pipe: Pipe, schedule_id: UUID) -> Sequence[UUID]:
    """The runs of a schedule that are not final."""
    return [row["id"] for row in await pipe.fetch(_LIVE_RUNS, schedule_id)]


async def purge_ticks(pipe: Pipe) -> bool:
    """Delete some lines about ticks that were decided long ago. Returns whether there may be more."""
    return rows_of(await pipe.execute(_PURGE, KEPT_SECONDS, PURGED_AT_ONCE)) >= PURGED_AT_ONCE
