"""All SQL that groups failures: each failed run gets its group once, in the transaction that counts it.

The runs that have no group yet are in an index of their own. So nothing is counted twice or left out, whoever dies
when; failures from before there were groups are grouped like any others; and settling a failure stays as cheap as it
was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db import Database, Pipe, Row
from app.models import UNGROUPED
from app.states import Reason

BATCH = 250
HOURS_KEPT = "90 days"
"""For how long the counts of single hours are kept; the groups' own counts stay."""
GROUPS_KEPT = "365 days"
"""For how long a group is kept after it was seen last."""
FORGET_SECONDS = 3600.0
FORGOTTEN_AT_ONCE = 5000
# Any number will do as long as nothing else on the database takes an advisory lock with it.
_LOCK = 7_215_318_664_041

WAITING = f"SELECT EXISTS (SELECT FROM task_runs WHERE {UNGROUPED})"
TAKE = f"""
    SELECT id, definition_id, status_reason, task_id, group_name, owner, finished_at, error ->> 'type' AS type,
        left(error ->> 'message', 2000) AS message, right(error ->> 'traceback', 20000) AS traceback
    FROM task_runs WHERE {UNGROUPED} ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"""
_MARK = """
    UPDATE task_runs r SET error_group = marked.error_group
    FROM unnest($1::uuid[], $2::text[]) AS marked(id, error_group) WHERE r.id = marked.id"""
_LATER = "CASE WHEN excluded.last_seen >= {table}.last_seen THEN excluded.{column} ELSE {table}.{column} END"
_COUNTED = """
    count = {table}.count + excluded.count, first_seen = LEAST({table}.first_seen, excluded.first_seen),
    last_seen = GREATEST({table}.last_seen, excluded.last_seen)"""
_COUNT_GROUPS = f"""
    INSERT INTO error_groups
        (id, definition_id, error_type, message, place, count, first_seen, last_seen, sample_run_id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[],
        $8::timestamptz[], $9::uuid[])
    ON CONFLICT (id) DO UPDATE SET {_COUNTED.format(table="error_groups")},
        sample_run_id = {_LATER.format(table="error_groups", column="sample_run_id")}"""
_COUNT_HOURS = f"""
    INSERT INTO error_group_hours
        (error_group_id, hour, task_id, group_name, owner, count, first_seen, last_seen, last_run_id)
    SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
        $7::timestamptz[], $8::timestamptz[], $9::uuid[])
    ON CONFLICT (error_group_id, hour, task_id, group_name, owner) DO UPDATE SET
        {_COUNTED.format(table="error_group_hours")},
        last_run_id = {_LATER.format(table="error_group_hours", column="last_run_id")}"""
_FORGET = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {time} < now() - interval '{kept}' LIMIT $1))"""
_FORGETTING = (
    _FORGET.format(table="error_group_hours", time="hour", kept=HOURS_KEPT),
    _FORGET.format(table="error_groups", time="last_seen", kept=GROUPS_KEPT),
)
_UNNAMED = {
    Reason.WORKER_LOST: ("WorkerLost", "Its worker was lost, and no interruptions were left."),
    Reason.MAX_INTERRUPTIONS: ("MaxInterruptions", "It was given back by a worker, and no interruptions were left."),
}
"""How failures are called that have no error of their own, by the reason of their status."""


@dataclass(slots=True)
class Tally:
    """How often something was seen, when first and last, and in which run last."""

    first_seen: datetime
    last_seen: datetime
    last_run_id: UUID
    count: int = 0

    def add(self, seen: datetime, run_id: UUID) -> None:
        """Count one more."""
        self.count += 1
        self.first_seen = min(self.first_seen, seen)
        if seen >= self.last_seen:
            self.last_seen, self.last_run_id = seen, run_id

    @property
    def row(self) -> tuple[Any, ...]:
        """The values as the tables have them."""
        return self.count, self.first_seen, self.last_seen, self.last_run_id


class ErrorGrouping:
    """Groups failures. Any number may do it: one at a time does."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._forgot_at: float | None = None

    async def catch_up(self) -> int:
        """Group up to ``BATCH`` of the failures that have no group yet; returns how many it was."""
        async with self._db.autocommit() as pipe:
            await self._forget_sometimes(pipe)
            if not await pipe.fetchval(WAITING):
                return 0
        async with self._db.pipe() as pipe:
            if not await pipe.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return 0
            failures = await pipe.fetch(TAKE, BATCH)
            await _group(pipe, failures)
        return len(failures)

    async def _forget_sometimes(self, pipe: Pipe) -> None:
        """Remove what is older than anybody asks for, a part of it at a time."""
        if self._forgot_at is not None and time.monotonic() < self._forgot_at + FORGET_SECONDS:
            return
        for statement in _FORGETTING:
            await pipe.execute(statement, FORGOTTEN_AT_ONCE)
        self._forgot_at = time.monotonic()


async def _group(pipe: Pipe, failures: Sequence[Row]) -> None:
    # An idle worker has no need of it.
    from app.fingerprint import Cause, cause

    groups: dict[Cause, Tally] = {}
    hours: dict[tuple[Any, ...], Tally] = {}
    ids: list[str] = []
    for row in failures:
        found = cause(row["definition_id"], *_error(row), row["traceback"])
        ids.append(found.id)
        seen, run_id = row["finished_at"], row["id"]
        hour = seen.replace(minute=0, second=0, microsecond=0)
        apart = (ids[-1], hour, row["task_id"], row["group_name"], row["owner"])
        groups.setdefault(found, Tally(seen, seen, run_id)).add(seen, run_id)
        hours.setdefault(apart, Tally(seen, seen, run_id)).add(seen, run_id)
    if not ids:
        return
    await pipe.execute(_MARK, [row["id"] for row in failures], ids)
    named = [(group.id, group.definition_id, group.type, group.message, group.place) for group in groups]
    await pipe.execute(_COUNT_GROUPS, *_columns(named, groups.values()))
    await pipe.execute(_COUNT_HOURS, *_columns(hours, hours.values()))


def _error(row: Row) -> tuple[str, str]:
    """The type and message of a failure's error."""
    if row["type"] is not None:
        return row["type"], row["message"] or ""
    reason = row["status_reason"]
    return _UNNAMED.get(reason, (str(reason or "Unknown"), "It ended without an error of its own."))


def _columns(keys: Any, tallies: Any) -> list[list[Any]]:
    rows = [(*key, *tally.row) for key, tally in zip(keys, tallies, strict=True)]
    return [list(column) for column in zip(*rows, strict=True)]
