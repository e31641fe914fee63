"""All SQL that moves saved tasks with their schedules in and out, many at a time and in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import orjson

from app.audit import Deed, values_of
from app.db import Pipe, Row
from app.rows import grouped
from app.tasks import CHANGEABLE

CHUNK = 1000
"""Rows in one statement."""
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('taskloom.import', 0))"
_TASKS = "SELECT * FROM tasks WHERE id = ANY($1) AND deleted_at IS NULL"
_SCHEDULES = "SELECT * FROM schedules WHERE task_id = ANY($1) AND deleted_at IS NULL ORDER BY id"
_NAMED = """
    SELECT t.* FROM tasks t JOIN unnest($1::text[], $2::text[]) AS wanted(group_name, name)
        ON COALESCE(t.group_name, '') = wanted.group_name AND t.name = wanted.name
    WHERE t.deleted_at IS NULL ORDER BY t.id"""
_NAMES = """
    SELECT COALESCE(group_name, '') AS group_name, name FROM tasks
    WHERE COALESCE(group_name, '') = ANY($1::text[]) AND deleted_at IS NULL"""
_FIELDS = ", ".join(CHANGEABLE)
_INSERT_TASKS = f"""
    INSERT INTO tasks (id, {_FIELDS}, created_by, updated_by)
    SELECT id, {_FIELDS}, created_by, updated_by FROM jsonb_populate_recordset(NULL::tasks, $1::jsonb)
    ON CONFLICT DO NOTHING RETURNING id"""
_REPLACE_TASKS = f"""
    UPDATE tasks t SET ({_FIELDS}, version, updated_by, updated_at)
        = ROW({", ".join(f"x.{name}" for name in CHANGEABLE)}, x.version, x.updated_by, now())
    FROM jsonb_populate_recordset(NULL::tasks, $1::jsonb) x WHERE t.id = x.id"""
_ADD_REVISIONS = """
    INSERT INTO task_revisions (task_id, version, changed_by, change, fields)
    SELECT task_id, version, changed_by, change, fields
    FROM jsonb_populate_recordset(NULL::task_revisions, $1::jsonb)"""
SCHEDULE_COLUMNS = (
    "id", "task_id", "name", "cron", "every_seconds", "anchor_at", "once_at", "time_zone", "starts_at", "ends_at",
    "jitter_seconds", "overlap", "catch_up", "catch_up_seconds", "max_failures", "input", "owner", "status",
    "pause_reason", "pause_message", "next_tick_at", "next_due_at", "created_by", "updated_by",
)  # fmt: skip
"""The columns that a new schedule is stored with."""
_ADD_SCHEDULES = f"""
    INSERT INTO schedules ({", ".join(SCHEDULE_COLUMNS)})
    SELECT {", ".join(SCHEDULE_COLUMNS)} FROM jsonb_populate_recordset(NULL::schedules, $1::jsonb)"""
_END_SCHEDULES = """
    UPDATE schedules SET deleted_at = now(), next_tick_at = NULL, next_due_at = NULL, updated_at = now(),
        updated_by = $2, write_no = write_no + 1
    WHERE id = ANY($1)"""
_DROP_WAITING = """
    UPDATE schedule_ticks SET outcome = 'SKIPPED', reason = 'PAUSED', decided_at = now(),
        message = 'An import replaced the schedule while the tick waited.'
    WHERE schedule_id = ANY($1) AND outcome = 'WAITING'"""
_ADD_EVENTS = """
    INSERT INTO audit_events (id, principal, action, subject_kind, subject_id, details)
    SELECT id, principal, action, subject_kind, subject_id, details
    FROM jsonb_populate_recordset(NULL::audit_events, $1::jsonb)"""
_IS_DONE = "SELECT EXISTS (SELECT FROM audit_events WHERE id = $1)"

TaskKey = tuple[str, str]
"""A group ("" for none) and a name."""


class Transfers:
    """Moves tasks, in the transaction of a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def freeze(self) -> None:
        """See everything as of one moment from here on; the first statement of a transaction that reads."""
        await self._pipe.execute(_ONE_SNAPSHOT)

    async def queue_up(self) -> None:
        """Wait until no other import is under way, and keep others waiting until the transaction ends."""
        await self._pipe.execute(_ONE_AT_A_TIME)

    async def now(self) -> Any:
        """The database's time."""
        return await self._pipe.fetchval("SELECT now()")

    # Reading.

    async def tasks(self, ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Those of the tasks that are there."""
        return [_values(row) for row in await self._pipe.fetch(_TASKS, list(ids))]

    async def schedules(self, task_ids: Collection[UUID], *, lock: bool = False) -> dict[UUID, list[dict[str, Any]]]:
        """The schedules of tasks; locked, no tick is decided before the transaction ends."""
        rows = await self._pipe.fetch(_SCHEDULES + (" FOR UPDATE" if lock else ""), list(task_ids))
        return grouped(task_ids, [(row["task_id"], _values(row)) for row in rows])

    async def named(self, keys: Collection[TaskKey], *, lock: bool) -> dict[TaskKey, dict[str, Any]]:
        """The tasks of these groups and names; locked, nobody changes them before the transaction ends."""
        groups, names = [key[0] for key in keys], [key[1] for key in keys]
        rows = await self._pipe.fetch(_NAMED + (" FOR UPDATE OF t" if lock else ""), groups, names)
        return {(row["group_name"] or "", row["name"]): _values(row) for row in rows}

    async def names(self, groups: Collection[str]) -> set[TaskKey]:
        """All names that are taken in some groups."""
        return {(row["group_name"], row["name"]) for row in await self._pipe.fetch(_NAMES, list(groups))}

    async def is_done(self, import_id: UUID) -> bool:
        """Whether an import is committed: its event in the audit is there."""
        return bool(await self._pipe.fetchval(_IS_DONE, import_id))

    # Writing.

    async def insert_tasks(self, rows: Sequence[dict[str, Any]]) -> int:
        """Store new tasks; returns how many: one whose name somebody took meanwhile is none."""
        return sum([len(await self._pipe.fetch(_INSERT_TASKS, chunk)) for chunk in _chunks(rows)])

    async def replace_tasks(self, rows: Sequence[dict[str, Any]]) -> None:
        """Make tasks, which are locked, what their next version says."""
        await self._write(_REPLACE_TASKS, rows)

    async def add_revisions(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep how tasks are from now on."""
        await self._write(_ADD_REVISIONS, rows)

    async def add_schedules(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store new schedules."""
        await self._write(_ADD_SCHEDULES, rows)

    async def end_schedules(self, ids: Sequence[UUID], by: str) -> None:
        """Delete schedules, which are locked; their runs and ticks stay."""
        if ids:
            await self._pipe.execute(_END_SCHEDULES, ids, by)
            await self._pipe.execute(_DROP_WAITING, ids)

    async def add_events(self, import_id: UUID, deeds: Sequence[Deed]) -> None:
        """Write down what was done; the first of the deeds is the import itself and has its id."""
        first, *others = map(values_of, deeds)
        await self._write(_ADD_EVENTS, [{**first, "id": import_id}, *others])

    async def _write(self, statement: str, rows: Sequence[dict[str, Any]]) -> None:
        for chunk in _chunks(rows):
            await self._pipe.execute(statement, chunk)


def _values(row: Row) -> dict[str, Any]:
    """A row with its JSON read."""
    values = dict(row)
    for name in ("input", "retry"):
        if isinstance(values.get(name), str):
            values[name] = orjson.loads(values[name])
    return values


def _chunks(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as JSON, some in each text."""
    # The driver's own kind of UUID is not one that the encoder knows.
    return [orjson.dumps(rows[n : n + CHUNK], default=str).decode() for n in range(0, len(rows), CHUNK)]
