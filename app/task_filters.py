"""Filters, searches and orders of lists of saved tasks, and the SQL that each becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, literal, not_, or_, select

from app.conditions import (
    DateTimeRange,
    StringFilter,
    TagFilter,
    any_of,
    combined,
    storable,
    string_condition,
    tag_condition,
    time_condition,
)
from app.models import Task, TaskDefinition, TaskRun, TaskSummary
from app.paging import Key, Keyset, OrderDirection, Window
from app.registry import Triggers
from app.states import TaskRunStatus
from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter
from app.time_zones import time_zone_named
from app.windows import bounds, in_order

TABLE = Task.metadata.tables["tasks"]
SUMMARIES = TaskSummary.metadata.tables["task_summaries"]
RUNS = TaskRun.metadata.tables["task_runs"]
DEFINITIONS = TaskDefinition.metadata.tables["task_definitions"]
_RAN = SUMMARIES.c.task_id.is_not(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks a list shows; everything given must hold, a list means "any of", an empty one matches nothing."""

    ids: Sequence[UUID] | None = None
    definition_ids: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    triggers: Sequence[Triggers] | None = None
    groups: Sequence[str] | None = None
    owners: Sequence[str] | None = None
    tags: TagFilter | None = None
    name: StringFilter | None = None
    is_enabled: bool | None = None
    health: Sequence[TaskHealth] | None = None
    last_run_statuses: Sequence[TaskRunStatus] | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    created_at: DateTimeRange | None = None
    updated_at: DateTimeRange | None = None
    and_: Sequence[TaskFilter] | None = None
    or_: Sequence[TaskFilter] | None = None
    not_: TaskFilter | None = None


_KEYS: dict[TaskOrderField, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    TaskOrderField.NAME: (("name", "id"), (str, UUID)),
    TaskOrderField.CREATED_AT: (("id",), (UUID,)),
    TaskOrderField.UPDATED_AT: (("updated_at", "id"), (datetime, UUID)),
    TaskOrderField.LAST_RUN_AT: (("last_run_at", "id"), (datetime, UUID)),
    TaskOrderField.RELEVANCE: (("rank", "id"), (int, UUID)),
}


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """An order of tasks, by name by default. By last run shows only tasks that ran; ``rank`` is a search's."""

    field: TaskOrderField = TaskOrderField.NAME
    direction: OrderDirection = OrderDirection.ASC
    rank: ColumnElement[int] | None = None

    @property
    def keyset(self) -> Keyset:
        """What a cursor in this order holds."""
        return Keyset(f"tasks.{self.field}", _KEYS[self.field][1])

    def key(self, row: Any) -> Key:
        """A row's place in the order."""
        return tuple(getattr(row, name) for name in _KEYS[self.field][0])

    def conditions(self, window: Window) -> list[ColumnElement[bool]]:
        """What bounds the window, and leaves out what has no place in the order."""
        placed = [_RAN] if self.field is TaskOrderField.LAST_RUN_AT else []
        return [*placed, *bounds(self._columns(), window, ascending=self._ascending)]

    def order_by(self, window: Window) -> list[ColumnElement[Any]]:
        """The columns to sort by; reversed for a window that reads backward."""
        return in_order(self._columns(), window, ascending=self._ascending)

    @property
    def _ascending(self) -> bool:
        return self.direction is OrderDirection.ASC

    def _columns(self) -> list[ColumnElement[Any]]:
        where: dict[str, Any] = {"rank": self.rank, "last_run_at": SUMMARIES.c.last_run_at}
        return [where[name] if name in where else TABLE.c[name] for name in _KEYS[self.field][0]]


# Filters.


def conditions(filter: TaskFilter | None, depth: int = 1) -> list[ColumnElement[bool]]:
    """The SQL conditions of a filter. Raises ``InvalidArgument`` for what no filter may hold."""
    if filter is None:
        return []
    return [*_lists(filter), *_values(filter), *combined(filter, lambda part: conditions(part, depth + 1), depth)]


def _lists(filter: TaskFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    lists: tuple[tuple[ColumnElement[Any], Sequence[Any] | None, str], ...] = (
        (TABLE.c.id, filter.ids, "ids"),
        (TABLE.c.definition_id, filter.definition_ids, "definitionIds"),
        (TABLE.c.group_name, filter.groups, "groups"),
        (TABLE.c.owner, filter.owners, "owners"),
        (SUMMARIES.c.last_status, filter.last_run_statuses, "lastRunStatuses"),
    )
    for column, values, field in lists:
        if values is not None:
            found.append(any_of(column, values, field))
    if filter.categories is not None:
        in_category = select(DEFINITIONS.c.id).where(any_of(DEFINITIONS.c.category, filter.categories, "categories"))
        found.append(TABLE.c.definition_id.in_(in_category))
    if filter.triggers is not None:
        declared = any_of(DEFINITIONS.c.triggers, filter.triggers, "triggers")
        found.append(TABLE.c.definition_id.in_(select(DEFINITIONS.c.id).where(declared)))
    if filter.health is not None:
        found.append(or_(literal(False), *(_HEALTH[health]() for health in filter.health)))
    return found


def _values(filter: TaskFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filter.tags is not None:
        found += tag_condition(TABLE.c.tags, filter.tags)
    if filter.name is not None:
        found += string_condition(TABLE.c.name, filter.name)
    if filter.is_enabled is not None:
        found.append(TABLE.c.is_enabled.is_(filter.is_enabled))
    if filter.entity_type is not None:
        found.append(TABLE.c.entity_type == storable(filter.entity_type))
    if filter.entity_id is not None:
        found.append(TABLE.c.entity_id == storable(filter.entity_id))
    if filter.created_at is not None:
        found += time_condition(TABLE.c.created_at, filter.created_at, "createdAt")
    if filter.updated_at is not None:
        found += time_condition(TABLE.c.updated_at, filter.updated_at, "updatedAt")
    return found


_ENABLED = TABLE.c.is_enabled
# Spelled out, because the planner takes a condition on a function of a column for one that hardly anything meets.
_WORKS = or_(SUMMARIES.c.verdict.is_(None), SUMMARIES.c.verdict == "SUCCEEDED")
_HEALTH: dict[TaskHealth, Callable[[], ColumnElement[bool]]] = {
    TaskHealth.DISABLED: lambda: not_(_ENABLED),
    TaskHealth.NEVER_RUN: lambda: and_(_ENABLED, SUMMARIES.c.task_id.is_(None)),
    TaskHealth.FAILING: lambda: and_(_ENABLED, SUMMARIES.c.verdict != "SUCCEEDED"),
    TaskHealth.OK: lambda: and_(_ENABLED, _RAN, _WORKS),
}


def health_of(row: Any) -> TaskHealth:
    """The health of a task from its row with its summary; the same rule as the filter's."""
    if not row.is_enabled:
        return TaskHealth.DISABLED
    if row.last_run_id is None:
        return TaskHealth.NEVER_RUN
    return TaskHealth.OK if row.verdict in (None, "SUCCEEDED") else TaskHealth.FAILING


# Quick filters.


def quick_condition(quick: TaskQuickFilter, viewer: str, time_zone: str, now: datetime) -> ColumnElement[bool]:
    """What a quick filter asks, for a principal (``KIND:id``) whose day begins at midnight in a time zone.

    Raises ``InvalidArgument`` for a time zone that is not known.
    """
    if quick is TaskQuickFilter.RUNNING:
        held = RUNS.c.status.in_([TaskRunStatus.RUNNING.value, TaskRunStatus.ABORTING.value])
        return exists(select(RUNS.c.id).where(RUNS.c.task_id == TABLE.c.id, held))
    if quick is TaskQuickFilter.FAILED_TODAY:
        return SUMMARIES.c.last_failed_at >= midnight(now, time_zone)
    if quick is TaskQuickFilter.NEVER_RAN:
        return SUMMARIES.c.task_id.is_(None)
    if quick is TaskQuickFilter.MINE:
        return TABLE.c.owner == viewer
    last, usual = SUMMARIES.c.last_ms, SUMMARIES.c.usual_ms
    return and_(last > 2 * usual, last - usual >= 1000)


def midnight(now: datetime, time_zone: str) -> datetime:
    """When the day of a time zone has begun. Raises ``InvalidArgument`` for a time zone that is not known.

    Where clocks are changed at midnight: at the first of two, or, where there is none, when the clock leaves it out.
    """
    local = now.astimezone(time_zone_named(time_zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)
