"""All SQL that reads groups of errors: which there are, how often they were seen, and which tasks they concern."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, func, select

from app.conditions import any_of, aware, storable
from app.db import ReadSession
from app.errors import InvalidArgument
from app.models import ErrorGroup, ErrorGroupHour
from app.paging import Key, Keyset, OrderDirection, Window
from app.rows import grouped
from app.windows import among, count_up_to, windowed

GROUPS = ErrorGroup.metadata.tables["error_groups"]
HOURS = ErrorGroupHour.metadata.tables["error_group_hours"]
SHOWN_TASKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroupFilter:
    """Which groups a list shows, and which of their failures count; everything given must hold.

    ``task_ids``, ``groups`` and ``owners`` are the saved tasks', as they were at the trigger. ``since`` and ``until``
    mean whole hours of UTC: the one that ``since`` lies in, up to the one that ``until`` lies in.
    """

    definition_ids: Sequence[str] | None = None
    error_types: Sequence[str] | None = None
    task_ids: Sequence[UUID] | None = None
    groups: Sequence[str] | None = None
    owners: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def by_hours(self) -> bool:
        """Whether only some of the failures of a group count, so that its hours have to be added up."""
        some = (self.task_ids, self.groups, self.owners, self.since, self.until)
        return any(value is not None for value in some)


class ErrorGroupOrderField(StrEnum):
    """What groups can be ordered by."""

    LAST_SEEN = "LAST_SEEN"
    FIRST_SEEN = "FIRST_SEEN"
    COUNT = "COUNT"


@dataclass(frozen=True, slots=True)
class ErrorGroupOrder:
    """An order of groups: those seen last first, by default."""

    field: ErrorGroupOrderField = ErrorGroupOrderField.LAST_SEEN
    direction: OrderDirection = OrderDirection.DESC

    @property
    def column(self) -> str:
        """The column that it sorts by, before the id."""
        return self.field.value.lower()

    @property
    def keyset(self) -> Keyset:
        """What a cursor in this order holds."""
        kind = int if self.field is ErrorGroupOrderField.COUNT else datetime
        return Keyset(f"error groups.{self.field}", (kind, str))

    def key(self, row: Any) -> Key:
        """A group's place in the order."""
        return getattr(row, self.column), row.id


@dataclass(frozen=True, slots=True)
class CountedGroup:
    """A group of failures: what they have in common, and how many of those that were asked for there are."""

    id: str
    definition_id: str
    error_type: str
    message: str
    place: str | None
    count: int
    first_seen: datetime
    last_seen: datetime
    sample_run_id: UUID


@dataclass(frozen=True, slots=True)
class AffectedTask:
    """A saved task, and how many of a group's failures were its runs'."""

    task_id: UUID
    count: int
    last_seen: datetime


class ErrorGroups:
    """Reads groups in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def read(self, filter: ErrorGroupFilter, order: ErrorGroupOrder, window: Window) -> list[CountedGroup]:
        """Up to one row more than the window, in order."""
        found = _counted(filter).subquery()
        column, ascending = found.c[order.column], order.direction is OrderDirection.ASC
        rows = await self._session.exec(windowed(select(found), [column, found.c.id], window, ascending=ascending))
        return [CountedGroup(**row._mapping) for row in rows]

    async def count(self, filter: ErrorGroupFilter, limit: int) -> int:
        """How many groups there are, counted no further than ``limit`` + 1."""
        return await count_up_to(self._session, _counted(filter), limit)

    async def get_many(self, ids: Collection[str]) -> dict[str, CountedGroup]:
        """Those of the groups that exist, with all of their failures."""
        rows = await self._session.exec(_counted(ErrorGroupFilter()).where(_among(GROUPS.c.id, ids)))
        return {row.id: CountedGroup(**row._mapping) for row in rows}

    async def tasks_of(self, ids: Collection[str]) -> Mapping[str, list[AffectedTask]]:
        """The saved tasks of each group's failures, those with most of them first, up to ``SHOWN_TASKS``."""
        group, task = HOURS.c.error_group_id, HOURS.c.task_id
        count, seen = func.sum(HOURS.c.count), func.max(HOURS.c.last_seen)
        ranked = func.row_number().over(partition_by=group, order_by=(count.desc(), task))
        counted = select(group, task, count.cast(BigInteger).label("count"), seen.label("seen"), ranked.label("rank"))
        found = counted.where(_among(group, ids), task.is_not(None)).group_by(group, task).subquery()
        rows = await self._session.exec(
            select(found).where(found.c.rank <= SHOWN_TASKS).order_by(found.c.error_group_id, found.c.rank)
        )
        return grouped(ids, [(row.error_group_id, AffectedTask(row.task_id, row.count, row.seen)) for row in rows])


def _counted(filter: ErrorGroupFilter) -> Any:
    """The groups with their counts: as they are kept, or added up from the hours that fit."""
    named = [GROUPS.c[name] for name in ("id", "definition_id", "error_type", "message", "place")]
    conditions = _of_groups(filter)
    if not filter.by_hours:
        counts = [GROUPS.c[name] for name in ("count", "first_seen", "last_seen", "sample_run_id")]
        return select(*named, *counts).where(*conditions)
    hours = (
        select(
            HOURS.c.error_group_id,
            func.sum(HOURS.c.count).cast(BigInteger).label("count"),
            func.min(HOURS.c.first_seen).label("first_seen"),
            func.max(HOURS.c.last_seen).label("last_seen"),
        )
        .where(*_of_hours(filter))
        .group_by(HOURS.c.error_group_id)
        .subquery()
    )
    counts = [hours.c[name] for name in ("count", "first_seen", "last_seen")]
    statement = select(*named, *counts, _last_run(filter, hours).label("sample_run_id"))
    return statement.join(hours, hours.c.error_group_id == GROUPS.c.id).where(*conditions)


def _last_run(filter: ErrorGroupFilter, hours: Any) -> Any:
    """The run that failed last: looked up in the hour in which it did, and only for the groups of a page."""
    its_hour = HOURS.c.hour == func.date_trunc("hour", hours.c.last_seen, "UTC")
    among = (HOURS.c.error_group_id == hours.c.error_group_id, its_hour, *_of_hours(filter))
    last = select(HOURS.c.last_run_id).where(*among).order_by(HOURS.c.last_seen.desc()).limit(1)
    return last.correlate(hours).scalar_subquery()


def _of_groups(filter: ErrorGroupFilter) -> list[ColumnElement[bool]]:
    return _any_of_each(
        (GROUPS.c.definition_id, filter.definition_ids, "definitionIds"),
        (GROUPS.c.error_type, filter.error_types, "errorTypes"),
    )


def _of_hours(filter: ErrorGroupFilter) -> list[ColumnElement[bool]]:
    found = _any_of_each(
        (HOURS.c.task_id, filter.task_ids, "taskIds"),
        (HOURS.c.group_name, filter.groups, "groups"),
        (HOURS.c.owner, filter.owners, "owners"),
    )
    return [*found, *_within(filter)]


def _any_of_each(*lists: tuple[ColumnElement[Any], Sequence[Any] | None, str]) -> list[ColumnElement[bool]]:
    return [any_of(column, values, field) for column, values, field in lists if values is not None]


def _within(filter: ErrorGroupFilter) -> list[ColumnElement[bool]]:
    since = None if filter.since is None else _hour(aware(filter.since, "since"))
    until = None if filter.until is None else aware(filter.until, "until")
    if since is not None and until is not None and filter.since is not None and filter.since >= until:
        raise InvalidArgument(
            "'until' is not after 'since': no failure can lie between them. Leave one out, or exchange them.",
            path=("filter", "until"),
        )
    found: list[ColumnElement[bool]] = []
    if since is not None:
        found.append(HOURS.c.hour >= since)
    if until is not None:
        found.append(HOURS.c.hour < until)
    return found


def _hour(moment: datetime) -> datetime:
    """The beginning of the hour of UTC that a time lies in."""
    try:
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    except OverflowError:
        raise InvalidArgument("'since' is out of the range of time.", path=("filter", "since")) from None


def _among(column: ColumnElement[Any], ids: Collection[str]) -> ColumnElement[bool]:
    return among(column, [storable(id) for id in ids])
