"""Columns and constraints as the tables have them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from app.states import TaskRunStatus

Json = dict[str, Any]


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that a text column holds one of an enum's values (or NULL, where the column allows it)."""
    return CheckConstraint(among(column, values), name=f"{column}_is_known")


def among(column: str, values: Iterable[StrEnum]) -> str:
    """The condition that a text column holds one of these values, for a CHECK.

    Every statement that writes a row parses the CHECKs of its table first. PostgreSQL keeps the values of ``IN`` one by
    one, each in some 200 characters, and an array's together (decision 0029).
    """
    return f"{column} = ANY ('{{{','.join(sorted(value.value for value in values))}}}'::text[])"


def statuses(values: frozenset[TaskRunStatus]) -> str:
    """A set of statuses as an SQL list, in a fixed order so that the text of an index never changes by chance."""
    return "(" + ", ".join(f"'{status.value}'" for status in TaskRunStatus if status in values) + ")"


def time_column(*, nullable: bool = True, default: bool = False) -> Column[Any]:
    """A point in time; ``default`` is the database's own."""
    return Column(DateTime(timezone=True), nullable=nullable, server_default=text("now()") if default else None)


def text_column(*, nullable: bool = False) -> Column[Any]:
    """A text of any length."""
    return Column(Text, nullable=nullable)


def tags_column() -> Column[Any]:
    """A list of texts, empty by default."""
    return Column(ARRAY(Text), nullable=False, server_default=text("'{}'"))


def json_column() -> Column[Any]:
    """A JSON value; Python's None is SQL's NULL."""
    return Column(JSONB(none_as_null=True), nullable=True)
