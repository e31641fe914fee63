"""Conditions that several lists share: on strings, tags and points in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, any_, cast, literal, literal_column, or_
from sqlalchemy.dialects.postgresql import ARRAY

from app import kinds
from app.errors import InvalidArgument
from app.ids import first_id
from app.kinds import is_storable, of_kind

MAX_LIST = 1000
MAX_DEPTH = 5
MAX_PARTS = 50
MAX_PATTERN = 1000
# Clocks of processes differ a little, and a bulk trigger's ids are made a moment after its creation time is read.
ID_SLACK = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StringFilter:
    """A text that is equal to, contains (upper and lower case alike) or starts with another; all given must hold."""

    eq: str | None = None
    contains: str | None = None
    starts_with: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Tags of which a row has any, has all, or has none; all given must hold."""

    any: Sequence[str] | None = None
    all: Sequence[str] | None = None
    none: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DateTimeRange:
    """A time from ``gte`` (included) until ``lt`` (not included); both carry a timezone."""

    gte: datetime | None = None
    lt: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRange:
    """A number from ``gte`` (included) until ``lt`` (not included)."""

    gte: float | None = None
    lt: float | None = None


def combined(
    filter: Any, conditions: Callable[[Any], list[ColumnElement[bool]]], depth: int
) -> list[ColumnElement[bool]]:
    """The conditions of what a filter at a depth combines (``and_``, ``or_``, ``not_``). Raises ``InvalidArgument``."""
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"The filter nests and, or and not more than {MAX_DEPTH} levels deep.", path=("filter",))
    for parts in (filter.and_, filter.or_):
        if parts is not None and len(parts) > MAX_PARTS:
            raise InvalidArgument(f"The filter combines more than {MAX_PARTS} filters at once.", path=("filter",))

    def all_of(part: Any) -> ColumnElement[bool]:
        return and_(literal(True), *conditions(part))

    found = [all_of(part) for part in filter.and_ or ()]
    if filter.or_ is not None:
        found.append(or_(literal(False), *map(all_of, filter.or_)))
    if filter.not_ is not None:
        # NULL is "does not match" inside a filter, so its opposite must be "matches".
        found.append(all_of(filter.not_).is_not(True))
    return found


def any_of(column: ColumnElement[Any], values: Sequence[Any], field: str) -> ColumnElement[bool]:
    """The column holds one of the values, UUIDs or texts; none of them never holds.

    Raises ``InvalidArgument`` for too many, and for a text that no column can hold.
    """
    if len(values) > MAX_LIST:
        raise InvalidArgument(
            f"'{field}' lists {len(values)} values, but at most {MAX_LIST} are allowed.", path=("filter", field)
        )
    # A member of an enum is its plain text in its column.
    stored = [value if isinstance(value, UUID) else storable(str(value)) for value in values]
    return column == stored[0] if len(stored) == 1 else column == any_(literal(stored, ARRAY(column.type)))


def string_condition(column: ColumnElement[Any], filter: StringFilter) -> list[ColumnElement[bool]]:
    """The conditions of a string filter on a column without NULL; the wildcards of LIKE mean themselves."""
    conditions: list[ColumnElement[bool]] = []
    if filter.eq is not None:
        conditions.append(column == storable(filter.eq))
    # Every text holds the empty one: that is no condition, and must not look like one to who asks for confirmation.
    if filter.contains:
        conditions.append(ilike(column, _short(filter.contains, "contains")))
    if filter.starts_with:
        start = _escaped(_short(filter.starts_with, "startsWith"))
        conditions.append(column.like(f"{start}%", escape="\\"))
    return conditions


def _short(text: str, field: str) -> str:
    """The text, unless PostgreSQL would be busy for seconds with it, because it reads all of it for every row."""
    if len(text) > MAX_PATTERN:
        raise InvalidArgument(
            f"'{field}' has {len(text)} characters, but may have {MAX_PATTERN} at most.", path=("filter",)
        )
    return text


def ilike(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """The column holds a text, in upper or lower case; the wildcards of LIKE mean themselves."""
    return column.ilike(f"%{_escaped(part)}%", escape="\\")


def tag_condition(column: ColumnElement[Any], filter: TagFilter) -> list[ColumnElement[bool]]:
    """The conditions of a tag filter on a ``text[]`` column."""
    conditions: list[ColumnElement[bool]] = []
    # The index holds only rows with tags; the planner has to be told so in words, not by a parameter.
    has_tags = column != literal_column("'{}'::text[]")
    if filter.any is not None:
        conditions += [column.bool_op("&&")(_texts(filter.any)), has_tags]
    if filter.all:
        conditions += [column.bool_op("@>")(_texts(filter.all)), has_tags]
    if filter.none:
        conditions.append(~column.bool_op("&&")(_texts(filter.none)))
    return conditions


def time_condition(column: ColumnElement[Any], range: DateTimeRange, field: str) -> list[ColumnElement[bool]]:
    """The conditions of a range of time. Raises ``InvalidArgument`` for a time without a timezone."""
    conditions: list[ColumnElement[bool]] = []
    if range.gte is not None:
        conditions.append(column >= aware(range.gte, field))
    if range.lt is not None:
        conditions.append(column < aware(range.lt, field))
    return conditions


def by_id(column: ColumnElement[UUID], range: DateTimeRange, field: str) -> list[ColumnElement[bool]]:
    """What a range of creation times says about ids, which have an index."""
    conditions: list[ColumnElement[bool]] = []
    if range.gte is not None:
        conditions.append(column >= first_id(aware(range.gte, field), -ID_SLACK))
    if range.lt is not None:
        conditions.append(column < first_id(aware(range.lt, field), ID_SLACK))
    return conditions


def aware(moment: datetime, field: str) -> datetime:
    """The time of a filter, when it has a timezone. Raises ``InvalidArgument`` otherwise."""
    return kinds.aware(moment, field, ("filter", field))


def storable(text: str) -> str:
    """The text, when PostgreSQL could hold it. Raises ``InvalidArgument`` for NUL and for halves of surrogate pairs."""
    of_kind(text, str, "filter")
    if not is_storable(text):
        raise InvalidArgument(
            "A text holds a NUL character or half of a surrogate pair, which no stored text does.", path=("filter",)
        )
    return text


def _texts(values: Sequence[str]) -> ColumnElement[Any]:
    return cast(literal([storable(value) for value in values], ARRAY(Text)), ARRAY(Text))


def _escaped(text: str) -> str:
    return storable(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
