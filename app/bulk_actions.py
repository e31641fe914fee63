"""All SQL on bulk actions: stored with the run that executes them, moved on, ended, listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, select, true, union_all

from app.db import Pipe, ReadSession, Row, json_text
from app.models import BulkAction, BulkActionError, BulkActionKind, BulkActionStatus, TaskRun
from app.paging import Keyset, Window
from app.rows import detached, grouped, objects
from app.windows import count_up_to, each_of, windowed

TABLE = BulkAction.metadata.tables["bulk_actions"]
ERRORS = BulkActionError.metadata.tables["bulk_action_errors"]
RUNS = TaskRun.metadata.tables["task_runs"]
BY_ID = Keyset("bulk actions", (UUID,))
BY_ITEM = Keyset("bulk action errors", (UUID,))
MAX_ERRORS = 1000
"""How many errors of items are kept for each action."""
DEFINITION = "bulk-action"
"""The definition whose runs execute bulk actions."""

_INSERT = """
    INSERT INTO bulk_actions (id, kind, selection, arguments, run_id, batch_id, created_by)
    VALUES ($1, $2, $3::jsonb, $4::jsonb, $5, $6, $7)"""
# A step moves the action on only from where it was read, only while it is wanted, and never beside another step.
_LOCK = """
    SELECT a.id FROM bulk_actions a LEFT JOIN task_runs r ON r.id = a.run_id
    WHERE a.id = $1 AND a.position IS NOT DISTINCT FROM $2 AND a.finished_at IS NULL
        AND (r.id IS NULL OR r.status IN ('SCHEDULED', 'QUEUED', 'RUNNING', 'WAITING'))
    FOR UPDATE OF a"""
_BEGIN = """
    UPDATE bulk_actions SET status = 'RUNNING', ceiling = $2, total = $3
    WHERE id = $1 AND ceiling IS NULL AND finished_at IS NULL"""
_ADVANCE = "UPDATE bulk_actions SET position = $2, done = done + $3, failed = failed + $4 WHERE id = $1"
_ADD_ERRORS = """
    INSERT INTO bulk_action_errors (action_id, item_id, code, message)
    SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING"""
_FINISH = """
    UPDATE bulk_actions SET status = $2, finished_at = now(), aborted_by = $3
    WHERE id = $1 AND finished_at IS NULL RETURNING run_id"""
# By the database's clock, whatever this process's says: otherwise it might be due before the action, or much later.
_DELAY_RUN = """
    UPDATE task_runs SET start_at = now() + make_interval(secs => $2), due_at = now() + make_interval(secs => $2)
    WHERE id = $1"""
# What was done before a worker came to it leaves no run behind.
_FORGET_RUN = """
    WITH gone AS (DELETE FROM task_runs WHERE id = $2 AND status = 'SCHEDULED' RETURNING id)
    UPDATE bulk_actions SET run_id = NULL WHERE id = $1 AND EXISTS (SELECT FROM gone)"""
# What executes tasks triggers no more of them: its batch is whole.
_SEAL_BATCHES = """
    UPDATE batches b SET sealed_at = now(), total = a.done, completed_at = CASE WHEN a.done = 0 THEN now() END
    FROM bulk_actions a WHERE a.id = ANY($1::uuid[]) AND b.id = a.batch_id AND b.sealed_at IS NULL"""
_ABORT_OTHERS = """
    WITH others AS (
        SELECT id FROM bulk_actions WHERE finished_at IS NULL AND kind <> 'STOP_ALL' AND id <> $1
        ORDER BY id FOR UPDATE)
    UPDATE bulk_actions a SET status = 'ABORTED', finished_at = now(), aborted_by = $2
    FROM others WHERE a.id = others.id RETURNING a.id, a.run_id"""


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an action could not act on an item."""

    item_id: UUID
    code: str
    message: str


async def insert(pipe: Pipe, action: BulkAction) -> None:
    """Store a new action."""
    await pipe.execute(
        _INSERT, action.id, str(action.kind), json_text(action.selection), json_text(action.arguments), action.run_id,
        action.batch_id, action.created_by,
    )  # fmt: skip


async def delay_run(pipe: Pipe, run_id: UUID, seconds: float) -> None:
    """Let the run of a new action start so many seconds from now."""
    await pipe.execute(_DELAY_RUN, run_id, seconds)


async def lock(pipe: Pipe, action_id: UUID, position: UUID | None) -> bool:
    """Lock an action that stands at a position and is to go on; False where it does not, or is not to."""
    return await pipe.fetchrow(_LOCK, action_id, position) is not None


async def begin(pipe: Pipe, action_id: UUID, ceiling: UUID, total: int) -> None:
    """Fix which items there are: those up to an id. What began already stays as it is."""
    await pipe.execute(_BEGIN, action_id, ceiling, total)


async def advance(pipe: Pipe, action: BulkAction, position: UUID, done: int, errors: Sequence[ItemError]) -> None:
    """Move on to a position, and count; errors beyond the first thousand are counted only."""
    kept = errors[: max(0, MAX_ERRORS - action.failed)]
    if kept:
        columns = zip(*((error.item_id, error.code, error.message) for error in kept), strict=True)
        await pipe.execute(_ADD_ERRORS, action.id, *columns)
    await pipe.execute(_ADVANCE, action.id, position, done, len(errors))


async def finish(pipe: Pipe, action_id: UUID, status: BulkActionStatus, *, by: str | None = None) -> Row | None:
    """End an action; returns its ``run_id``, or None when it has ended already."""
    row = await pipe.fetchrow(_FINISH, action_id, status.value, by)
    if row is not None:
        await pipe.execute(_SEAL_BATCHES, [action_id])
    if row is not None and row["run_id"] is not None:
        await pipe.execute(_FORGET_RUN, action_id, row["run_id"])
    return row


async def abort_others(pipe: Pipe, action_id: UUID, by: str) -> list[UUID]:
    """End all other actions but those that stop everything as well; returns the ids of their runs."""
    others = await pipe.fetch(_ABORT_OTHERS, action_id, by)
    await pipe.execute(_SEAL_BATCHES, [row["id"] for row in others])
    return [row["run_id"] for row in others if row["run_id"] is not None]


class BulkActionRows:
    """Reads bulk actions in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def find(self, action_ids: Collection[UUID]) -> dict[UUID, BulkAction]:
        """Those of the actions that exist."""
        rows = await self._session.exec(_actions().where(TABLE.c.id.in_(list(action_ids))))
        return {row.id: _action(row) for row in rows}

    async def read(self, window: Window) -> list[BulkAction]:
        """Up to one row more than the window, the newest first."""
        statement = windowed(_actions(), [TABLE.c.id], window, ascending=False)
        return [_action(row) for row in await self._session.exec(statement)]

    async def count(self, limit: int) -> int:
        """How many there are, counted no further than ``limit`` + 1."""
        return await count_up_to(self._session, select(literal(1)).select_from(TABLE), limit)

    async def errors(self, action_ids: Collection[UUID], window: Window) -> dict[UUID, list[BulkActionError]]:
        """The errors of each action's items, by the items' ids; up to one row more than the window."""
        wanted = each_of(action_ids, TABLE.c.id.type)
        theirs = select(ERRORS).where(ERRORS.c.action_id == wanted.c.value)
        part = windowed(theirs, [ERRORS.c.item_id], window, ascending=True).lateral()
        rows = await self._session.exec(select(part).select_from(wanted.join(part, true())))
        return grouped(action_ids, [(error.action_id, error) for error in objects(BulkActionError, rows)])

    async def next_items(
        self, ids: ColumnElement[Any], parts: Sequence[Sequence[ColumnElement[bool]]], limit: int
    ) -> list[UUID]:
        """The lowest ids that meet all conditions of one of the parts, each of which has an index of its own."""
        each = [select(ids.label("id")).where(*part).order_by(ids).limit(limit) for part in parts]
        if len(each) == 1:
            return [row[0] for row in await self._session.exec(each[0])]
        together = union_all(*each).subquery()
        return [row[0] for row in await self._session.exec(select(together).order_by(together.c.id).limit(limit))]

    async def last_id(self, ids: ColumnElement[Any]) -> UUID | None:
        """The highest id there is."""
        return (await self._session.exec(select(ids).order_by(ids.desc()).limit(1))).scalar()

    async def count_items(self, ids: ColumnElement[Any], conditions: Sequence[ColumnElement[bool]]) -> int:
        """How many rows meet the conditions."""
        return (await self._session.exec(select(func.count(ids)).where(*conditions))).scalar_one()


def _actions() -> Select[Any]:
    """Actions with their status: that of an action whose run has ended without it is the run's."""
    unfinished = TABLE.c.finished_at.is_(None) & TABLE.c.run_id.is_not(None)
    status = case(
        (and_(unfinished, RUNS.c.status == "ABORTED"), "ABORTED"),
        (and_(unfinished, RUNS.c.id.is_(None) | RUNS.c.finished_at.is_not(None)), "FAILED"),
        else_=TABLE.c.status,
    )
    columns = [column for column in TABLE.c if column.name not in ("status", "finished_at")]
    ended = func.coalesce(TABLE.c.finished_at, RUNS.c.finished_at).label("finished_at")
    return select(*columns, status.label("status"), ended).select_from(
        TABLE.outerjoin(RUNS, RUNS.c.id == TABLE.c.run_id)
    )


def _action(row: Any) -> BulkAction:
    known = {"kind": BulkActionKind(row.kind), "status": BulkActionStatus(row.status)}
    return detached(BulkAction, {**row._mapping, **known})
