"""The SQL that lists share: windows of an order, rows by their ids, what belongs to each of many, bounded counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, any_, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from app.paging import Window


def windowed(
    statement: Select[Any], columns: Sequence[ColumnElement[Any]], window: Window, *, ascending: bool
) -> Select[Any]:
    """Up to one row more than the window, in the order of these columns."""
    bounded = statement.where(*bounds(columns, window, ascending=ascending))
    return bounded.order_by(*in_order(columns, window, ascending=ascending)).limit(window.size + 1)


def bounds(columns: Sequence[ColumnElement[Any]], window: Window, *, ascending: bool) -> list[ColumnElement[bool]]:
    """What bounds a window in the order of these columns."""
    found: list[ColumnElement[bool]] = []
    for bound, above in window.ends(ascending=ascending):
        values = [literal(value, column.type) for value, column in zip(bound, columns, strict=True)]
        place, end = _place(columns), _place(values)
        found.append(place > end if above else place < end)
    return found


def in_order(columns: Sequence[ColumnElement[Any]], window: Window, *, ascending: bool) -> list[ColumnElement[Any]]:
    """The columns to sort by; reversed for a window that reads backward."""
    return [column.asc() if ascending != window.backward else column.desc() for column in columns]


def _place(parts: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    return tuple_(*parts) if len(parts) > 1 else parts[0]


def among(column: ColumnElement[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """The column holds one of the values, by one parameter: the statement is the same for any number of them."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def each_of(values: Collection[Any], kind: TypeEngine[Any]) -> Subquery:
    """Values as rows with one column, ``value``: what belongs to each is joined laterally, by one search for each."""
    return select(func.unnest(literal(list(values), ARRAY(kind))).label("value")).subquery()


async def count_up_to(session: Any, statement: Select[Any], limit: int) -> int:
    """How many rows a statement finds, counted no further than ``limit`` + 1."""
    found = statement.limit(limit + 1).subquery()
    return (await session.exec(select(func.count()).select_from(found))).scalar_one()


async def count_each(
    session: Any,
    column: ColumnElement[Any],
    values: Collection[Any],
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
) -> dict[Any, int]:
    """How many rows hold each of the values and meet the conditions, each counted no further than ``limit`` + 1."""
    wanted = each_of(values, column.type)
    some = select(literal(1).label("one")).where(column == wanted.c.value, *conditions).limit(limit + 1).lateral()
    counted = select(wanted.c.value, func.count(some.c.one)).select_from(wanted.outerjoin(some, true()))
    return dict((await session.exec(counted.group_by(wanted.c.value))).all())
