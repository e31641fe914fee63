"""Filters and orders of lists of runs: what clients may ask, and the SQL conditions that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, literal
from sqlalchemy.dialects.postgresql import JSONB

from app import run_search
from app.conditions import (
    DateTimeRange,
    FloatRange,
    StringFilter,
    TagFilter,
    any_of,
    by_id,
    combined,
    storable,
    string_condition,
    tag_condition,
    time_condition,
)
from app.db import ReadSession
from app.errors import InvalidArgument
from app.models import TaskRun
from app.paging import Key, Keyset, OrderDirection, Window
from app.run_search import Lookup
from app.states import TaskRunStatus
from app.windows import bounds, in_order

TABLE = TaskRun.metadata.tables["task_runs"]
Lookups: TypeAlias = "Mapping[tuple[str, str], Lookup]"
"""What the searches of a filter mean, by field and text."""
NOT_LOOKED_UP: Lookups = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list shows; everything given must hold, a list means "any of", an empty one matches nothing.

    ``groups`` and ``owners`` are those that the saved task had at the trigger. ``duration_ms`` is of finished runs that
    had started, ``error_text`` and ``error_group`` (an id) of failed ones. ``search`` are words that each are part of
    the name (of the run, of its task, of its definition) or of the error of a failure, or are a tag.
    ``input_contains`` and ``output_contains`` are JSON values that the run's contain, as PostgreSQL's ``@>`` has it.
    """

    ids: Sequence[UUID] | None = None
    definition_ids: Sequence[str] | None = None
    statuses: Sequence[TaskRunStatus] | None = None
    queues: Sequence[str] | None = None
    parent_id: UUID | None = None
    tags: TagFilter | None = None
    name: StringFilter | None = None
    created_at: DateTimeRange | None = None
    started_at: DateTimeRange | None = None
    finished_at: DateTimeRange | None = None
    input_contains: Any = None
    output_contains: Any = None
    has_errors: bool | None = None
    task_ids: Sequence[UUID] | None = None
    groups: Sequence[str] | None = None
    owners: Sequence[str] | None = None
    schedule_ids: Sequence[UUID] | None = None
    batch_ids: Sequence[UUID] | None = None
    duration_ms: FloatRange | None = None
    error_text: str | None = None
    error_group: str | None = None
    search: str | None = None
    and_: Sequence[RunFilter] | None = None
    or_: Sequence[RunFilter] | None = None
    not_: RunFilter | None = None


class RunOrderField(StrEnum):
    """What runs can be ordered by; each has an index."""

    CREATED_AT = "CREATED_AT"
    STARTED_AT = "STARTED_AT"
    FINISHED_AT = "FINISHED_AT"
    PRIORITY = "PRIORITY"


_KEYS: dict[RunOrderField, tuple[str, ...]] = {
    RunOrderField.CREATED_AT: ("id",),
    RunOrderField.STARTED_AT: ("started_at", "id"),
    RunOrderField.FINISHED_AT: ("finished_at", "id"),
    RunOrderField.PRIORITY: ("priority", "id"),
}
_TYPES: dict[str, Any] = {"id": UUID, "started_at": datetime, "finished_at": datetime, "priority": int}


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order of runs, the newest first by default.

    By creation is by id, because ids are UUIDv7. By start (by finish) shows only the runs that have started (have
    finished): the others have no place in that order, and so need no rule about where NULL goes.
    """

    field: RunOrderField = RunOrderField.CREATED_AT
    direction: OrderDirection = OrderDirection.DESC

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that the order sorts by, the id last."""
        return _KEYS[self.field]

    @property
    def keyset(self) -> Keyset:
        """What a cursor in this order holds."""
        return Keyset(f"runs.{self.field}", tuple(_TYPES[key] for key in self.keys))

    def key(self, row: Any) -> Key:
        """A row's place in the order."""
        return tuple(getattr(row, key) for key in self.keys)

    def conditions(self, window: Window) -> list[ColumnElement[bool]]:
        """What bounds the window, and leaves out what has no place in the order."""
        columns = [TABLE.c[key] for key in self.keys]
        placed = [columns[0].is_not(None)] if columns[0].nullable else []
        return [*placed, *bounds(columns, window, ascending=self._ascending)]

    def parts(self, window: Window) -> list[list[ColumnElement[bool]]]:
        """The conditions of each part of the list that has an index of its own; together the parts are the list.

        The index by priority leaves out the runs of no special priority, which are in order by their ids alone.
        """
        if self.field is not RunOrderField.PRIORITY:
            return [self.conditions(window)]
        special = [TABLE.c.priority != 0, *self.conditions(window)]
        return [special, *self._plain_part(window)]

    def _plain_part(self, window: Window) -> list[list[ColumnElement[bool]]]:
        """The part of priority 0, bounded by ids; none where the window holds only other priorities."""
        conditions: list[ColumnElement[bool]] = [TABLE.c.priority == 0]
        for (priority, run_id), above in window.ends(ascending=self._ascending):
            if priority == 0:
                conditions.append(TABLE.c.id > run_id if above else TABLE.c.id < run_id)
            elif (priority > 0) is above:
                return []
        return [conditions]

    def order_by(self, window: Window, columns_of: Any = TABLE.c) -> list[ColumnElement[Any]]:
        """The columns to sort by; reversed for a window that reads backward."""
        return in_order([columns_of[key] for key in self.keys], window, ascending=self._ascending)

    @property
    def _ascending(self) -> bool:
        return self.direction is OrderDirection.ASC


def conditions(filter: RunFilter | None, lookups: Lookups = NOT_LOOKED_UP, depth: int = 1) -> list[ColumnElement[bool]]:
    """The SQL conditions of a filter. Raises ``InvalidArgument`` for what no filter may hold.

    ``lookups`` is what its searches mean; without it the same runs are found by a slower statement.
    """
    if filter is None:
        return []
    own = (*_plain(filter), *_ranges(filter), *_searched(filter, lookups), *_json(filter))
    return [*own, *combined(filter, lambda part: conditions(part, lookups, depth + 1), depth)]


def is_searching(filter: RunFilter | None) -> bool:
    """Whether ``looked_up`` will set how its session plans: then the statements have to be one transaction."""
    return filter is not None and bool(_searches(filter))


async def looked_up(session: ReadSession, filter: RunFilter | None) -> list[ColumnElement[bool]]:
    """The SQL conditions of a filter, as quick as they get: with its searches looked up beforehand."""
    found = conditions(filter)
    if not (searches := _searches(filter) if filter else None):
        return found
    look_up = {"search": run_search.look_up, "errorText": run_search.look_up_error}
    known = {(field, text): await look_up[field](session, text) for field, text in sorted(searches)}
    return conditions(filter, known)


def _searches(filter: RunFilter) -> set[tuple[str, str]]:
    """The searches in a filter, and in those that it combines, as field and text."""
    found: set[tuple[str, str]] = set()
    parts = [filter]
    # Not by calling itself: how deep it nests may not have been looked at yet.
    while parts:
        part = parts.pop()
        given = (("search", part.search), ("errorText", part.error_text))
        found |= {(field, text) for field, text in given if text is not None}
        parts += [*(part.and_ or ()), *(part.or_ or ()), *([part.not_] if part.not_ else ())]
    return found


def _plain(filter: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    lists = (
        ("id", filter.ids, "ids"),
        ("definition_id", filter.definition_ids, "definitionIds"),
        ("status", filter.statuses, "statuses"),
        ("queue", filter.queues, "queues"),
        ("task_id", filter.task_ids, "taskIds"),
        ("group_name", filter.groups, "groups"),
        ("owner", filter.owners, "owners"),
        ("schedule_id", filter.schedule_ids, "scheduleIds"),
        ("batch_id", filter.batch_ids, "batchIds"),
    )
    for column, values, field in lists:
        if values is not None:
            found.append(any_of(TABLE.c[column], values, field))
    if filter.parent_id is not None:
        found.append(TABLE.c.parent_id == filter.parent_id)
    if filter.tags is not None:
        found += tag_condition(TABLE.c.tags, filter.tags)
    if filter.name is not None:
        found += string_condition(TABLE.c.name, filter.name)
    if filter.has_errors is not None:
        found.append(TABLE.c.error.is_not(None) if filter.has_errors else TABLE.c.error.is_(None))
    return found


def _ranges(filter: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filter.created_at is not None:
        found += time_condition(TABLE.c.created_at, filter.created_at, "createdAt")
        found += by_id(TABLE.c.id, filter.created_at, "createdAt")
    if filter.started_at is not None:
        found += time_condition(TABLE.c.started_at, filter.started_at, "startedAt")
    if filter.finished_at is not None:
        found += time_condition(TABLE.c.finished_at, filter.finished_at, "finishedAt")
    return found


def _searched(filter: RunFilter, lookups: Lookups) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filter.duration_ms is not None:
        found += run_search.took(filter.duration_ms)
    if filter.error_group is not None:
        found.append(TABLE.c.error_group == storable(filter.error_group))
    if filter.error_text is not None:
        found.append(run_search.error(filter.error_text, lookups.get(("errorText", filter.error_text))))
    if filter.search is not None:
        found += run_search.holds(filter.search, lookups.get(("search", filter.search)))
    return found


def _json(filter: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, value in ((TABLE.c.input, filter.input_contains), (TABLE.c.output, filter.output_contains)):
        if value is not None:
            _check_json(value)
            found.append(column.bool_op("@>")(literal(value, JSONB)))
    return found


def _check_json(value: Any) -> None:
    try:
        text = orjson.dumps(value)
    except TypeError as error:
        raise InvalidArgument(f"The filter holds a value that is not JSON: {error}.", path=("filter",)) from None
    if b"\\u0000" in text:
        raise InvalidArgument("The filter holds a NUL character, which no stored value does.", path=("filter",))
