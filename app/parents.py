"""The SQL on runs that wait for others, their children as a rule: who may go on, and who fails with one of them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app import lease_statements as sql
from app.db import Pipe, Row
from app.models import LASTED, statuses
from app.states import UNSUCCESSFUL, Move

_WAITING = "status = 'WAITING' AND due_at IS NULL"
_FAILED = f"SELECT FROM task_runs c WHERE c.id = ANY(p.wait_for) AND c.status IN {statuses(UNSUCCESSFUL)}"
_LIVE = f"SELECT FROM task_runs c WHERE c.id = ANY(p.wait_for) AND c.status NOT IN {sql.FINAL}"
_FAILS = f"p.failure_policy = 'FAIL_PARENT' AND EXISTS ({_FAILED})"
_GOES_ON = f"NOT EXISTS ({_LIVE}) AND (p.failure_policy IS DISTINCT FROM 'FAIL_PARENT' OR NOT EXISTS ({_FAILED}))"

_LOCK = f"SELECT FROM task_runs p WHERE p.id = $1 AND {_WAITING} AND {_FAILS} FOR UPDATE SKIP LOCKED"
_FIRST_FAILED = f"""
    SELECT c.id, c.definition_id, c.name, c.status, c.status_reason,
        c.error->>'type' AS error_type, c.error->>'message' AS error_message
    FROM task_runs c WHERE c.id = ANY(ARRAY(SELECT unnest(wait_for) FROM task_runs WHERE id = $1))
    AND c.status IN {statuses(UNSUCCESSFUL)} ORDER BY c.finished_at, c.id LIMIT 1"""
_FAIL = f"""
    UPDATE task_runs SET status = $2, status_reason = $3, status_changed_at = now(), finished_at = now(),
        wait_for = NULL, error = $4::jsonb
    WHERE id = $1 AND status = ANY($5::text[])
    RETURNING id, parent_id, definition_id, status, {LASTED}"""


class Parents:
    """SQL on waiting runs on one connection. ``parent_ids`` narrows a search down to these."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def make_due(self, move: Move, limit: int, parent_ids: Sequence[UUID] | None = None) -> list[Row]:
        """Queue the runs that waited for others which are all final now; returns what a ring needs."""
        among, arguments = _among(parent_ids, 3)
        seen = f"SELECT id, claim_no FROM task_runs p WHERE {_WAITING} {among} AND {_GOES_ON} LIMIT $2"
        chosen = f"SELECT r.id FROM {sql.as_seen(seen, _WAITING)}"
        return await self._pipe.fetch(sql.queue_up(chosen, move), move.landing.status.value, limit, *arguments)

    async def failing(self, limit: int, parent_ids: Sequence[UUID] | None = None) -> list[UUID]:
        """The runs that have to fail with one of those they wait for."""
        among, arguments = _among(parent_ids, 2)
        query = f"SELECT id FROM task_runs p WHERE {_WAITING} {among} AND {_FAILS} ORDER BY p.id LIMIT $1"
        return [row["id"] for row in await self._pipe.fetch(query, limit, *arguments)]

    async def lock_failing(self, parent_id: UUID) -> Row | None:
        """Lock a run that has to fail, until the transaction ends; returns the first that failed of those it waits for.

        None when it has not to fail any more, or somebody else is at it.
        """
        # Found by a statement of its own, because what the first one saw may be older than the lock.
        if await self._pipe.fetchrow(_LOCK, parent_id) is None:
            return None
        return await self._pipe.fetchrow(_FIRST_FAILED, parent_id)

    async def fail(self, parent_id: UUID, move: Move) -> Row | None:
        """Apply ``states.fail_with_child()``; returns how the run stands, or None where the move is not allowed."""
        landing, sources = move.landing, [status.value for status in move.sources]
        landed = (landing.status.value, sql.value(landing.reason), sql.error_text(move.error))
        return await self._pipe.fetchrow(_FAIL, parent_id, *landed, sources)


def _among(parent_ids: Sequence[UUID] | None, parameter: int) -> tuple[str, tuple[Sequence[UUID], ...]]:
    if parent_ids is None:
        return "", ()
    return f"AND p.id = ANY(${parameter}::uuid[])", (parent_ids,)
