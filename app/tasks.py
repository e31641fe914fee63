"""All SQL on saved tasks and their revisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, distinct, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from app import audit
from app.audit import Deed
from app.conditions import storable
from app.db import ReadSession, WriteSession
from app.models import Task, TaskRevision, TaskRun, TaskSummary
from app.paging import Keyset, Window
from app.rows import detached, objects
from app.states import VERDICTS, TaskRunStatus
from app.task_filters import TaskOrder
from app.windows import among, count_up_to, each_of, windowed

TABLE = Task.metadata.tables["tasks"]
REVISIONS = TaskRevision.metadata.tables["task_revisions"]
SUMMARIES = TaskSummary.metadata.tables["task_summaries"]
RUNS = TaskRun.metadata.tables["task_runs"]

CHANGEABLE = (
    "name", "group_name", "definition_id", "description", "input", "tags", "owner", "is_enabled", "priority", "queue",
    "timeout_seconds", "max_attempts", "retry", "entity_type", "entity_id", "entity_url",
)  # fmt: skip
"""The columns of a task that people can change; what its revisions hold."""
BY_VERSION = Keyset("task revisions", (int,))
STATS_RUNS = 100
_THERE = TABLE.c.deleted_at.is_(None)
_COLUMNS = [column for column in TABLE.c if column.name not in ("searched", "words")]
_SUMMARY = [SUMMARIES.c[name] for name in ("last_run_id", "last_status", "verdict", "last_run_at")]


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the latest runs of a task: the last hundred, no older than 30 days."""

    runs: int = 0
    succeeded: int = 0
    failed: int = 0
    average_ms: float | None = None

    @property
    def success_rate(self) -> float | None:
        """The part of those that succeeded or failed that succeeded, 0 to 1; None when there are none."""
        ended = self.succeeded + self.failed
        return self.succeeded / ended if ended else None


def fields_of(task: Task) -> dict[str, Any]:
    """What people can change of a task, as its revisions hold it."""
    return {name: getattr(task, name) for name in CHANGEABLE}


class Tasks:
    """Reads saved tasks in one session."""

    def __init__(self, session: ReadSession | WriteSession) -> None:
        self._session = cast(Any, session)

    async def get_many(self, ids: Collection[UUID], *, deleted: bool = False) -> dict[UUID, Task]:
        """Those of the tasks that exist, with their summaries' columns; deleted ones too, where asked."""
        there = true() if deleted else _THERE
        statement = _listed().where(among(TABLE.c.id, ids), there)
        return {task.id: task for task in objects(Task, await self._session.exec(statement))}

    async def read(self, conditions: Sequence[ColumnElement[bool]], order: TaskOrder, window: Window) -> list[Task]:
        """Up to one row more than the window, in order: tasks with their summaries' columns."""
        fits = [_THERE, *conditions, *order.conditions(window)]
        if order.rank is None:
            statement = _listed().where(*fits).order_by(*order.order_by(window)).limit(window.size + 1)
        else:
            statement = _ranked(order, order.rank, fits, window)
        return objects(Task, await self._session.exec(statement))

    async def count(self, conditions: Sequence[ColumnElement[bool]], limit: int) -> int:
        """How many tasks there are, counted no further than ``limit`` + 1."""
        joined = TABLE.outerjoin(SUMMARIES, SUMMARIES.c.task_id == TABLE.c.id)
        found = select(literal(1)).select_from(joined).where(_THERE, *conditions)
        return await count_up_to(self._session, found, limit)

    async def lock(self, task_id: UUID) -> Task | None:
        """A task, deleted or not, locked until the transaction ends."""
        rows = await self._session.exec(select(*_COLUMNS).where(TABLE.c.id == task_id).with_for_update())
        row = rows.first()
        return None if row is None else detached(Task, row._mapping)

    async def named(self, name: str, group: str | None) -> UUID | None:
        """The task that holds a name within a group."""
        same = func.coalesce(TABLE.c.group_name, "") == (group or "")
        rows = await self._session.exec(select(TABLE.c.id).where(_THERE, same, TABLE.c.name == name))
        return rows.scalar_one_or_none()

    async def names_like(self, beginning: str, group: str | None) -> set[str]:
        """The names within a group that begin with a text."""
        same = func.coalesce(TABLE.c.group_name, "") == (group or "")
        begins = TABLE.c.name.startswith(beginning, autoescape=True)
        return {row[0] for row in await self._session.exec(select(TABLE.c.name).where(_THERE, same, begins))}

    async def stats(self, ids: Collection[UUID], first_run: UUID) -> dict[UUID, Stats]:
        """What became of the latest runs of each task, none of them older than ``first_run``."""
        wanted = each_of(ids, TABLE.c.id.type)
        took = func.extract("epoch", RUNS.c.finished_at - RUNS.c.started_at) * 1000
        latest = (
            select(RUNS.c.status, took.label("took"))
            .where(RUNS.c.task_id == wanted.c.value, RUNS.c.id >= first_run)
            .order_by(RUNS.c.id.desc())
            .limit(STATS_RUNS)
            .lateral()
        )
        succeeded = latest.c.status == TaskRunStatus.SUCCEEDED.value
        failed = latest.c.status.in_([status.value for status in VERDICTS if status is not TaskRunStatus.SUCCEEDED])
        statement = select(
            wanted.c.value,
            func.count(),
            func.count().filter(succeeded),
            func.count().filter(failed),
            func.avg(latest.c.took).filter(succeeded),
        ).select_from(wanted.join(latest, true()))
        rows = await self._session.exec(statement.group_by(wanted.c.value))
        return {id: Stats(runs, won, lost, None if ms is None else float(ms)) for id, runs, won, lost, ms in rows}

    async def tags(self, prefix: str, limit: int) -> list[str]:
        """Tags that begin with a text, those of most tasks first."""
        counted = select(func.unnest(TABLE.c.tags).label("value"), func.count().label("tasks")).where(_THERE)
        return await self._most_used(counted.group_by("value"), lambda value: value, prefix, limit)

    async def owners(self, prefix: str, limit: int) -> list[str]:
        """Owners whose id begins with a text, those of most tasks first."""
        counted = select(TABLE.c.owner.label("value"), func.count().label("tasks")).where(_THERE)
        return await self._most_used(
            counted.group_by(TABLE.c.owner), lambda value: func.split_part(value, ":", 2), prefix, limit
        )

    async def _most_used(self, counted: Any, name: Callable[[Any], Any], prefix: str, limit: int) -> list[str]:
        """Of values with the number of their tasks, those of which the name begins with a text."""
        # Compared once for each value, not for each task: left to itself the planner compares first and counts then.
        each = counted.cte("each").prefix_with("MATERIALIZED")
        begins = func.lower(name(each.c.value)).startswith(storable(prefix).lower(), autoescape=True)
        statement = select(each.c.value).where(begins).order_by(each.c.tasks.desc(), each.c.value).limit(limit)
        return [row[0] for row in await self._session.exec(statement)]

    # Revisions.

    async def revision(self, task_id: UUID, version: int) -> TaskRevision | None:
        """One revision."""
        return (await self.revisions_at([(task_id, version)])).get((task_id, version))

    async def revisions_at(self, places: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], TaskRevision]:
        """Those of the revisions, given as task and version, that exist."""
        key = tuple_(REVISIONS.c.task_id, REVISIONS.c.version)
        rows = await self._session.exec(select(REVISIONS).where(key.in_(list(places))))
        return {(revision.task_id, revision.version): revision for revision in objects(TaskRevision, rows)}

    async def revisions(self, task_id: UUID, window: Window) -> list[TaskRevision]:
        """Up to one revision more than the window, the newest first."""
        its_own = select(REVISIONS).where(REVISIONS.c.task_id == task_id)
        statement = windowed(its_own, [REVISIONS.c.version], window, ascending=False)
        return objects(TaskRevision, await self._session.exec(statement))

    async def count_revisions(self, task_id: UUID) -> int:
        """How many revisions a task has."""
        statement = select(func.count(distinct(REVISIONS.c.version))).where(REVISIONS.c.task_id == task_id)
        return (await self._session.exec(statement)).scalar_one()


class TaskWrites(Tasks):
    """Changes saved tasks in one session, each change with its revision."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def insert(self, task_id: UUID, fields: Mapping[str, Any], by: str) -> bool:
        """Store a new task; False when its name is taken within its group, or its id is there already."""
        values = {**fields, "id": task_id, "created_by": by, "updated_by": by}
        statement = insert(TABLE).values(values).on_conflict_do_nothing().returning(TABLE.c.id)
        return (await self._session.exec(statement)).first() is not None

    async def update(self, task_id: UUID, version: int, fields: Mapping[str, Any], by: str, *, deleted: bool) -> bool:
        """Make a task, which is locked, what a new version says; False when its name is taken within its group."""
        values = {**fields, "version": version, "updated_by": by, "updated_at": func.now()}
        values["deleted_at"] = func.now() if deleted else None
        try:
            # A transaction within this one, which can still say who holds the name.
            async with self._session.begin_nested():
                await self._session.exec(TABLE.update().where(TABLE.c.id == task_id).values(values))
        except IntegrityError as error:
            if "tasks_name" in str(error.orig):
                return False
            raise
        return True

    async def add_revision(
        self, task_id: UUID, version: int, by: str, change: str, fields: Mapping[str, Any], source: Mapping[str, Any]
    ) -> None:
        """Keep how the task is from now on, and where that comes from."""
        values = {
            "task_id": task_id,
            "version": version,
            "changed_by": by,
            "change": change,
            "fields": {**fields, **source},
        }
        await self._session.exec(REVISIONS.insert().values(values))

    async def add_event(self, deed: Deed) -> None:
        """Write down who did it."""
        await audit.record_in(self._session, deed)


def _listed(*more: ColumnElement[Any]) -> Select[Any]:
    joined = TABLE.outerjoin(SUMMARIES, SUMMARIES.c.task_id == TABLE.c.id)
    return select(*_COLUMNS, *_SUMMARY, *more).select_from(joined)


def _ranked(order: TaskOrder, rank: ColumnElement[int], fits: Sequence[ColumnElement[bool]], window: Window) -> Any:
    """A page by rank. All that fit have to be ranked, so they are sorted by their ids alone."""
    joined = TABLE.outerjoin(SUMMARIES, SUMMARIES.c.task_id == TABLE.c.id)
    ranked = select(TABLE.c.id, rank.label("rank")).select_from(joined).where(*fits)
    best = ranked.order_by(*order.order_by(window)).limit(window.size + 1).subquery("best")
    by_rank = replace(order, rank=best.c.rank)
    return _listed(best.c.rank).join(best, best.c.id == TABLE.c.id).order_by(*by_rank.order_by(window))
