"""The client's side of the SQL on runs: insert, look up, list, count and abort. The worker's side is ``app.leases``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnClause, ColumnElement, Select, literal, select, true, union_all

from app import unique_keys
from app.db import Pipe, ReadSession, Row
from app.ids import first_id
from app.models import LASTED, TaskRun, statuses
from app.paging import Window
from app.rows import grouped, runs_from
from app.run_filters import TABLE, RunOrder
from app.states import BARREN, FINAL, HELD, LIVE, Move
from app.windows import among, count_up_to, each_of

INSERTED: dict[str, str] = {
    "id": "uuid", "definition_id": "text", "name": "text", "status": "text", "input": "text", "state": "text",
    "queue": "text", "priority": "int2", "tags": "text", "timeout_seconds": "float8", "iteration": "int",
    "attempt": "int", "max_iterations": "int", "max_attempts": "int", "created_at": "timestamptz",
    "start_at": "timestamptz", "expires_at": "timestamptz", "created_by": "text", "idempotency_key": "text",
    "input_digest": "text", "unique_key": "text", "parent_id": "uuid", "rerun_of": "uuid", "limit_key": "text",
    "task_id": "uuid", "task_version": "int", "group_name": "text", "owner": "text", "schedule_id": "uuid",
    "tick_at": "timestamptz", "on_behalf_of": "text", "batch_id": "uuid", "retry": "text",
    "wait_for": "text", "is_named": "bool",
}  # fmt: skip
"""The columns that a trigger fills, with the type in which each travels; JSON and arrays travel as text."""

_CASTS = {"input": "::jsonb", "state": "::jsonb", "retry": "::jsonb", "tags": "::text[]", "wait_for": "::uuid[]"}
_NULLABLE = [bool(TABLE.c[name].nullable) for name in INSERTED]
_OUTSIDE: dict[str, ColumnClause[Any]] = {column.name: ColumnClause(column.name, column.type) for column in TABLE.c}
"""The columns of runs outside of a subselect, by their names alone: to make all of the subselect's own takes 1 ms."""


def _place(name: str) -> str:
    """The parameter of a column when there is one run."""
    return f"${list(INSERTED).index(name) + 1}::{INSERTED[name]}" + _CASTS.get(name, "")


def _inserted(number: int, name: str, kind: str) -> str:
    """A column of the insert; one that is never NULL may come as an array of one value that holds for all runs."""
    value = f"new.{name}" if TABLE.c[name].nullable else f"COALESCE(new.{name}, (${number}::{kind}[])[1])"
    return value + _CASTS.get(name, "")


_NAMES = ", ".join(INSERTED)
_ARRAYS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(INSERTED.values(), 1))
_VALUES = ", ".join(_inserted(n, name, kind) for n, (name, kind) in enumerate(INSERTED.items(), 1))
_SCALARS = ", ".join(map(_place, INSERTED))


def _insert(source: str) -> tuple[str, str]:
    """The insert of runs from a source, in two forms: of those that meet no conflict, and of runs that cannot meet one.

    The second is spared the look into each unique index before a row is stored, and the note of success after it.
    """
    statement = f"INSERT INTO task_runs ({_NAMES}, status_changed_at, due_at) {source}"
    return f"{statement} ON CONFLICT DO NOTHING RETURNING id", f"{statement} RETURNING id"


def _insert_rows(welcome: str) -> tuple[str, str]:
    """The insert of those of the new runs, given as arrays, that are ``welcome``."""
    return _insert(f"""
        WITH row({_NAMES}) AS (SELECT {_VALUES} FROM unnest({_ARRAYS}) AS new({_NAMES}))
        SELECT {_NAMES}, created_at, start_at FROM row WHERE {welcome}""")


_INSERT = _insert_rows("true")
# A run that comes alone has somebody who waits for it: without arrays it is stored a tenth of a millisecond sooner.
_INSERT_ONE = _insert(f"VALUES ({_SCALARS}, {_place('created_at')}, {_place('start_at')})")
# The parents are locked until the commit: an abort either comes first and is seen here, or waits and finds the child.
# With the OFFSET their status stays outside, or an index by status would be a candidate for the plan (decision 0027).
_INSERT_CHILDREN = _insert_rows(f"""parent_id IS NULL OR parent_id IN (
    SELECT p.id FROM (
        SELECT id, status FROM task_runs WHERE id = ANY(ARRAY(SELECT parent_id FROM row)) ORDER BY id
        OFFSET 0 FOR SHARE) AS p
    WHERE p.status NOT IN {statuses(BARREN)})""")
_PARENT_ID = list(INSERTED).index("parent_id")

_SAME_IDEMPOTENCY_KEY = """
    SELECT k.n, r.id, r.input_digest FROM unnest($1::int[], $2::text[], $3::text[]) AS k(n, definition_id, key)
    JOIN task_runs r ON r.definition_id = k.definition_id AND r.idempotency_key = k.key"""
_SAME_UNIQUE_KEY = f"""
    SELECT k.n, r.id FROM unnest($1::int[], $2::text[], $3::text[]) AS k(n, definition_id, key)
    JOIN task_runs r ON r.definition_id = k.definition_id AND r.unique_key = k.key
        AND r.status NOT IN {statuses(FINAL)}"""

_LOCK_RUN = "SELECT id, status FROM task_runs WHERE id = $1 FOR UPDATE"
# Locked in the order of ids, as everywhere, so that two aborts of overlapping families cannot deadlock.
# The planner thinks of families as huge: without the OFFSET and the array it would read the whole table for each.
_LOCK_LIVE_FAMILIES = f"""
    WITH RECURSIVE family(id) AS (
        SELECT unnest($1::uuid[]) UNION SELECT child.id FROM family f
        CROSS JOIN LATERAL (SELECT r.id FROM task_runs r WHERE r.parent_id = f.id OFFSET 0) AS child)
    SELECT id FROM task_runs WHERE id = ANY(ARRAY(SELECT id FROM family)) AND status IN {statuses(LIVE)}
    ORDER BY id FOR UPDATE"""
_LOCK_LIVE = f"""
    SELECT id FROM task_runs WHERE id = ANY($1::uuid[]) AND status IN {statuses(LIVE)} ORDER BY id FOR UPDATE"""
# A run that never began keeps what it waited for: whose unique key it gives back.
_ABORT = f"""
    WITH aborted AS (
        UPDATE task_runs SET status = $2, status_reason = $3, status_changed_at = now(),
            finished_at = CASE WHEN $4 THEN now() END, error = CASE WHEN $4 THEN NULL ELSE error END,
            due_at = CASE WHEN $4 THEN NULL ELSE due_at END,
            wait_for = CASE WHEN $4 AND status <> 'SCHEDULED' THEN NULL ELSE wait_for END, parked = NULL,
            abort_requested_at = now(), abort_requested_by = $6, abort_message = $7, abort_forced = $8
        WHERE id = ANY($1::uuid[]) AND status = ANY($5::text[])
        RETURNING id, lease_owner, definition_id, status, unique_key, wait_for, {LASTED}
    ), given_back AS ({unique_keys.give_back("aborted")})
    SELECT id, lease_owner, definition_id, status, lasted FROM aborted"""
_FORCE = """
    UPDATE task_runs SET abort_requested_at = now(), abort_requested_by = $2, abort_forced = true,
        abort_message = COALESCE($3, abort_message)
    WHERE id = ANY($1::uuid[]) AND status = 'ABORTING' AND NOT abort_forced
    RETURNING id, lease_owner, definition_id, status"""


async def insert(pipe: Pipe, rows: Sequence[tuple[Any, ...]], *, are_new: bool = False) -> list[UUID]:
    """Insert runs, given as the values of ``INSERTED``'s columns; returns the ids of those that met no conflict.

    A child of a run that was aborted, or is not there, is not inserted. ``are_new`` says that the runs have no keys and
    that nobody has tried to store them before: raises ``UniqueViolationError``, with none of them stored, if one is
    there for all that.
    """
    if len(rows) == 1 and rows[0][_PARENT_ID] is None:
        inserted = await pipe.fetch(_INSERT_ONE[are_new], *rows[0])
    else:
        columns = list(zip(*rows, strict=True))
        statements = _INSERT if columns[_PARENT_ID].count(None) == len(rows) else _INSERT_CHILDREN
        inserted = await pipe.fetch(statements[are_new], *map(_packed, columns, _NULLABLE))
    return [row["id"] for row in inserted]


def _packed(values: tuple[Any, ...], nullable: bool) -> Sequence[Any]:
    """A column as short as it can travel, because the driver takes its time over each value.

    ``unnest`` fills shorter arrays up with NULL: a column of nothing else is an empty array, and one that is never NULL
    is its value once, when that is the same for all.
    """
    if (values[0] is None or not nullable) and values.count(values[0]) == len(values):
        return [] if values[0] is None else values[:1]
    return values


async def same_idempotency_key(pipe: Pipe, keys: Sequence[tuple[int, str, str]]) -> list[Row]:
    """The runs ``(n, id, input_digest)`` that hold these keys, given as ``(n, definition id, key)``."""
    return await pipe.fetch(_SAME_IDEMPOTENCY_KEY, *zip(*keys, strict=True)) if keys else []


async def same_unique_key(pipe: Pipe, keys: Sequence[tuple[int, str, str]]) -> list[Row]:
    """The live runs ``(n, id)`` that hold these keys, given as ``(n, definition id, key)``."""
    return await pipe.fetch(_SAME_UNIQUE_KEY, *zip(*keys, strict=True)) if keys else []


async def stored_among(pipe: Pipe, run_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these runs are stored."""
    return {row["id"] for row in await pipe.fetch("SELECT id FROM task_runs WHERE id = ANY($1::uuid[])", run_ids)}


async def lock(pipe: Pipe, run_id: UUID) -> Row | None:
    """Lock a run until the transaction ends; returns its id and its status as of now."""
    return await pipe.fetchrow(_LOCK_RUN, run_id)


async def lock_live_families(pipe: Pipe, run_ids: Sequence[UUID]) -> list[UUID]:
    """Lock runs and all their descendants that are not final, until the transaction ends; returns their ids.

    While a lock was waited for, its run may have got children: it is looked again until there are no more.
    """
    known: list[UUID] = []
    while True:
        family = [row["id"] for row in await pipe.fetch(_LOCK_LIVE_FAMILIES, run_ids)]
        if len(family) == len(known):
            return family
        known = family


async def lock_live(pipe: Pipe, run_ids: Sequence[UUID]) -> list[UUID]:
    """Lock those of the runs that are not final, until the transaction ends; returns their ids."""
    return [row["id"] for row in await pipe.fetch(_LOCK_LIVE, run_ids)]


async def statuses_of(pipe: Pipe, run_ids: Sequence[UUID]) -> list[Row]:
    """The ``id`` and ``status`` of those of the runs that exist."""
    return await pipe.fetch("SELECT id, status FROM task_runs WHERE id = ANY($1::uuid[])", run_ids)


async def abort(
    pipe: Pipe, run_ids: Sequence[UUID], move: Move, by: str, message: str | None, force: bool
) -> list[Row]:
    """Apply ``states.abort()`` or ``states.ask_abort()`` to those of the runs that stand in one of its sources."""
    landing = move.landing
    reason = landing.reason.value if landing.reason else None
    sources = [status.value for status in move.sources]
    ends = landing.status in FINAL
    return await pipe.fetch(_ABORT, run_ids, landing.status.value, reason, ends, sources, by, message, force)


async def force_abort(pipe: Pipe, run_ids: Sequence[UUID], by: str, message: str | None) -> list[Row]:
    """Mark aborts that are under way as forced; the worker or the reaper ends them."""
    return await pipe.fetch(_FORCE, run_ids, by, message)


def list_of_runs(
    conditions: Sequence[ColumnElement[bool]],
    order: RunOrder,
    window: Window,
    columns: Collection[str] | None = None,
) -> Select[Any]:
    """The statement behind every list of runs."""
    chosen = list(TABLE.c) if columns is None else _columns({*columns, *order.keys})
    size = window.size + 1
    parts = [
        select(*chosen).where(*conditions, *bounds).order_by(*order.order_by(window)).limit(size)
        for bounds in order.parts(window)
    ]
    if len(parts) == 1:
        return parts[0]
    together = select(*_outside(chosen)).select_from(union_all(*parts).subquery())
    return together.order_by(*order.order_by(window, _OUTSIDE)).limit(size)


class Runs:
    """Reads runs in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def get_many(self, run_ids: Collection[UUID]) -> dict[UUID, TaskRun]:
        """Those of the runs that exist."""
        rows = await self._session.exec(select(TABLE).where(among(TABLE.c.id, run_ids)))
        return {run.id: run for run in runs_from(rows)}

    async def find(self, run_ids: Collection[UUID], columns: Collection[str]) -> dict[UUID, Any]:
        """Those of the runs that exist, as rows of just these columns and the id."""
        rows = await self._session.exec(select(*_columns({"id", *columns})).where(among(TABLE.c.id, run_ids)))
        return {row.id: row for row in rows}

    async def matching(
        self, run_ids: Collection[UUID] | None, conditions: Sequence[ColumnElement[bool]]
    ) -> list[TaskRun]:
        """All the runs (among these, where given) that meet the conditions, in order of creation."""
        these = [] if run_ids is None else [among(TABLE.c.id, run_ids)]
        statement = select(TABLE).where(*these, *conditions).order_by(TABLE.c.id)
        return runs_from(await self._session.exec(statement))

    async def existing(self, run_ids: Collection[UUID]) -> set[UUID]:
        """Which of the runs exist."""
        return {row[0] for row in await self._session.exec(select(TABLE.c.id).where(among(TABLE.c.id, run_ids)))}

    async def read(
        self,
        conditions: Sequence[ColumnElement[bool]],
        order: RunOrder,
        window: Window,
        columns: Collection[str] | None = None,
    ) -> list[Any]:
        """Up to one row more than the window, in order: runs, or rows of just these columns and those of the order."""
        rows = await self._session.exec(list_of_runs(conditions, order, window, columns))
        return runs_from(rows) if columns is None else list(rows)

    async def read_each(
        self,
        column: str,
        values: Collection[Any],
        conditions: Sequence[ColumnElement[bool]],
        order: RunOrder,
        window: Window,
        columns: Collection[str] | None,
    ) -> dict[Any, list[Any]]:
        """What ``read`` gives, for each value of a column (``parent_id``, ``definition_id``), by one statement."""
        wanted = each_of(values, TABLE.c[column].type)
        chosen = list(TABLE.c) if columns is None else _columns({column, *columns, *order.keys})
        bounds = [TABLE.c[column] == wanted.c.value, *conditions, *order.conditions(window)]
        part = select(*chosen).where(*bounds).order_by(*order.order_by(window)).limit(window.size + 1).lateral()
        together = select(*_outside(chosen)).select_from(wanted.join(part, true()))
        rows = await self._session.exec(together.order_by(*order.order_by(window, _OUTSIDE)))
        runs = runs_from(rows) if columns is None else rows
        return grouped(values, [(getattr(run, column), run) for run in runs])

    async def changed_since(
        self,
        moment: datetime,
        on_their_way: Collection[UUID],
        columns: Collection[str],
        conditions: Sequence[ColumnElement[bool]],
    ) -> list[Any]:
        """Runs that meet the conditions and may have changed since a time, as rows of just these columns and the id.

        They are found by indexes: rather a few too many than too few, each once, in order of creation. No index tells
        when a run became QUEUED: of old runs only those that were ``on_their_way`` there are found so.
        """
        held = TABLE.c.status.in_(sorted(status.value for status in HELD))
        waiting = (TABLE.c.status == "WAITING") & (TABLE.c.status_changed_at >= moment)
        found: dict[UUID, Any] = {}
        queued = among(TABLE.c.id, on_their_way) & (TABLE.c.status == "QUEUED")
        for condition in (TABLE.c.id >= first_id(moment), TABLE.c.finished_at >= moment, held, waiting, queued):
            rows = await self._session.exec(select(*_columns({"id", *columns})).where(condition, *conditions))
            found |= {row.id: row for row in rows}
        return [found[id] for id in sorted(found)]

    async def count(self, conditions: Sequence[ColumnElement[bool]], limit: int) -> int:
        """How many runs there are, counted no further than ``limit`` + 1."""
        return await count_up_to(self._session, select(literal(1)).select_from(TABLE).where(*conditions), limit)


def _columns(names: set[str]) -> list[Any]:
    return [column for column in TABLE.c if column.name in names]


def _outside(chosen: Sequence[Any]) -> list[ColumnClause[Any]]:
    return [_OUTSIDE[column.name] for column in chosen]
