"""The clients' side of the SQL on schedules and their ticks. The workers' side is ``app.due_schedules``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Table, func, insert, literal, select, true, update

from app.conditions import any_of
from app.db import ReadSession, WriteSession
from app.models import Schedule, ScheduleStatus, ScheduleTick, Task
from app.paging import Keyset, Window
from app.rows import detached, grouped, objects
from app.ticks import Timing
from app.windows import among, count_each, count_up_to, each_of, in_order, windowed

TABLE = Schedule.metadata.tables["schedules"]
TICKS = ScheduleTick.metadata.tables["schedule_ticks"]
TASKS = Task.metadata.tables["tasks"]
BY_ID = Keyset("schedules", (UUID,))
BY_TICK = Keyset("ticks", (datetime,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """Which schedules a list shows; everything given must hold, a list means "any of"."""

    task_ids: Sequence[UUID] | None = None
    statuses: Sequence[ScheduleStatus] | None = None
    owners: Sequence[str] | None = None


def timing_of(row: Any) -> Timing:
    """When a schedule ticks, from its row: a table object, or what has the columns as keys."""
    values: Mapping[str, Any] = vars(row) if isinstance(row, Schedule) else row
    every = values["every_seconds"]
    return Timing(
        cron=values["cron"],
        every=None if every is None else timedelta(seconds=every),
        anchor=values["anchor_at"],
        at=values["once_at"],
        time_zone=values["time_zone"],
        starts_at=values["starts_at"],
        ends_at=values["ends_at"],
        jitter=timedelta(seconds=values["jitter_seconds"]),
    )


def columns_of(timing: Timing) -> dict[str, Any]:
    """The inverse of ``timing_of``."""
    return {
        "cron": timing.cron,
        "every_seconds": None if timing.every is None else timing.every.total_seconds(),
        "anchor_at": timing.anchor,
        "once_at": timing.at,
        "time_zone": timing.time_zone,
        "starts_at": timing.starts_at,
        "ends_at": timing.ends_at,
        "jitter_seconds": timing.jitter.total_seconds(),
    }


class Schedules:
    """Reads schedules in one session, and in one that writes changes them."""

    def __init__(self, session: ReadSession | WriteSession) -> None:
        self._session = cast(Any, session)

    async def now(self) -> datetime:
        """The database's time."""
        return (await self._session.exec(select(func.now()))).scalar_one()

    async def get_many(self, ids: Collection[UUID]) -> dict[UUID, Schedule]:
        """Those of the schedules that exist and are not deleted."""
        rows = await self._session.exec(select(TABLE).where(among(TABLE.c.id, ids), *_there(TABLE)))
        return {schedule.id: schedule for schedule in objects(Schedule, rows)}

    async def lock(self, id: UUID) -> Schedule | None:
        """A schedule, locked until the transaction ends; None when there is none."""
        found = await self._session.exec(select(TABLE).where(TABLE.c.id == id, *_there(TABLE)).with_for_update())
        row = found.first()
        return None if row is None else _schedule(row)

    async def task(self, id: UUID, *, lock: bool = False) -> Any:
        """The row of a saved task; None when there is none. Locked, it cannot be deleted meanwhile."""
        statement = select(TASKS).where(TASKS.c.id == id, *_there(TASKS))
        return (await self._session.exec(statement.with_for_update(key_share=True) if lock else statement)).first()

    async def insert(self, values: Mapping[str, Any]) -> Schedule:
        """Insert a schedule."""
        return _schedule((await self._session.exec(insert(TABLE).values(**values).returning(TABLE))).one())

    async def change(self, id: UUID, by: str, values: Mapping[str, Any]) -> Schedule:
        """Change a schedule that is locked."""
        changed = {**values, "updated_at": func.now(), "updated_by": by, "write_no": TABLE.c.write_no + 1}
        statement = update(TABLE).where(TABLE.c.id == id).values(**changed).returning(TABLE)
        return _schedule((await self._session.exec(statement)).one())

    async def drop_waiting(self, id: UUID, message: str) -> None:
        """Skip the ticks of a schedule that wait, for a reason in words."""
        waiting = (TICKS.c.schedule_id == id) & (TICKS.c.outcome == "WAITING")
        told = {"outcome": "SKIPPED", "reason": "PAUSED", "message": message, "decided_at": func.now()}
        await self._session.exec(update(TICKS).where(waiting).values(**told))

    async def read(self, filter: ScheduleFilter, window: Window) -> list[Schedule]:
        """Up to one row more than the window, the newest first."""
        statement = windowed(select(TABLE).where(*_conditions(filter)), [TABLE.c.id], window, ascending=False)
        return objects(Schedule, await self._session.exec(statement))

    async def count(self, filter: ScheduleFilter, limit: int) -> int:
        """How many schedules a list has, counted no further than ``limit`` + 1."""
        found = select(literal(1)).select_from(TABLE).where(*_conditions(filter))
        return await count_up_to(self._session, found, limit)

    async def of_tasks(self, task_ids: Collection[UUID]) -> dict[UUID, list[Schedule]]:
        """The schedules of each task, oldest first."""
        rows = await self._session.exec(
            select(TABLE).where(among(TABLE.c.task_id, task_ids), *_there(TABLE)).order_by(TABLE.c.id)
        )
        return grouped(task_ids, [(schedule.task_id, schedule) for schedule in objects(Schedule, rows)])

    async def next_of_tasks(self, task_ids: Collection[UUID]) -> dict[UUID, datetime]:
        """When each of the tasks runs next, of those that have an active schedule."""
        statement = (
            select(TABLE.c.task_id, func.min(TABLE.c.next_due_at))
            .where(among(TABLE.c.task_id, task_ids), *_there(TABLE), TABLE.c.next_due_at.is_not(None))
            .group_by(TABLE.c.task_id)
        )
        return {row[0]: row[1] for row in await self._session.exec(statement)}

    async def ticks(self, ids: Collection[UUID], window: Window) -> dict[UUID, list[ScheduleTick]]:
        """For each schedule up to one tick more than the window, the latest first."""
        wanted = each_of(ids, TABLE.c.id.type)
        theirs = select(TICKS).where(TICKS.c.schedule_id == wanted.c.value)
        part = windowed(theirs, [TICKS.c.tick_at], window, ascending=False).lateral()
        statement = select(part).select_from(wanted.join(part, true()))
        rows = await self._session.exec(statement.order_by(*in_order([part.c.tick_at], window, ascending=False)))
        return grouped(ids, [(tick.schedule_id, tick) for tick in objects(ScheduleTick, rows)])

    async def count_ticks(self, ids: Collection[UUID], limit: int) -> dict[UUID, int]:
        """How many lines about ticks each schedule has, counted no further than ``limit`` + 1."""
        return await count_each(self._session, TICKS.c.schedule_id, ids, (), limit)


def _schedule(row: Any) -> Schedule:
    return detached(Schedule, row._mapping)


def _there(table: Table) -> list[ColumnElement[bool]]:
    return [table.c.deleted_at.is_(None)]


def _conditions(filter: ScheduleFilter) -> list[ColumnElement[bool]]:
    found = _there(TABLE)
    if filter.task_ids is not None:
        found.append(among(TABLE.c.task_id, filter.task_ids))
    if filter.statuses is not None:
        found.append(any_of(TABLE.c.status, filter.statuses, "statuses"))
    if filter.owners is not None:
        found.append(any_of(TABLE.c.owner, filter.owners, "owners"))
    return found
