"""All SQL that removes old records besides the history of runs: events of the audit, bulk actions, and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.db import Pipe
from app.ids import first_id

BATCHES_AT_ONCE = 100
"""Batches in one statement, which looks at the runs of each."""

# Ids are in the order of time, so that those of old records come first in each table's own index.
_EVENTS = "SELECT id FROM audit_events WHERE id < $1 AND at < $2 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED"
# One whose run has ended without it has ended as well, whatever its own row says.
_ACTIONS = """
    SELECT a.id FROM bulk_actions a LEFT JOIN task_runs r ON r.id = a.run_id
    WHERE a.id < $1 AND (a.finished_at < $2
        OR a.finished_at IS NULL AND a.run_id IS NOT NULL AND (r.id IS NULL OR r.finished_at < $2))
    ORDER BY a.id LIMIT $3 FOR UPDATE OF a SKIP LOCKED"""
_BATCHES = """
    SELECT b.id FROM batches b
    WHERE b.id < $1 AND b.sealed_at < $2 AND (b.complete_definition_id IS NULL OR b.completed_at < $2)
        AND NOT EXISTS (SELECT FROM task_runs r
                        WHERE r.batch_id = b.id AND (r.finished_at IS NULL OR r.finished_at >= $2))
    ORDER BY b.id LIMIT $3 FOR UPDATE OF b SKIP LOCKED"""
_DELETE = "WITH old AS ({old}) DELETE FROM {table} t USING old WHERE t.id = old.id RETURNING t.id"
_FORGET_ERRORS = "DELETE FROM bulk_action_errors WHERE action_id = ANY($1)"


class RecordKind(StrEnum):
    """What sort of records."""

    AUDIT_EVENTS = "audit_events"
    BULK_ACTIONS = "bulk_actions"
    BATCHES = "batches"


@dataclass(frozen=True, slots=True)
class _Old:
    statement: str
    at_once: Callable[[int], int]


_OLD = {
    RecordKind.AUDIT_EVENTS: _Old(_EVENTS, lambda limit: limit),
    RecordKind.BULK_ACTIONS: _Old(_ACTIONS, lambda limit: limit),
    RecordKind.BATCHES: _Old(_BATCHES, lambda limit: min(limit, BATCHES_AT_ONCE)),
}


class Records:
    """Removes or counts records, in the transaction of a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def delete(self, kind: RecordKind, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` of the oldest records that ended before a time; returns how many, 0 at the end.

        What somebody has locked is left to them.
        """
        statement = _DELETE.format(old=_OLD[kind].statement, table=kind.value)
        rows = await self._pipe.fetch(statement, first_id(before), before, _OLD[kind].at_once(limit))
        if kind is RecordKind.BULK_ACTIONS and rows:
            await self._pipe.execute(_FORGET_ERRORS, [row["id"] for row in rows])
        return len(rows)

    async def count(self, kind: RecordKind, before: datetime) -> int:
        """How many records there are that ended before a time."""
        # Without locks, which would be written for each row.
        statement = _OLD[kind].statement.partition("ORDER BY")[0]
        everything: Any = await self._pipe.fetchval(f"SELECT count(*) FROM ({statement}) old", first_id(before), before)
        return everything
