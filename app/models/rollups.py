"""The tables of statistics: final runs counted by quarter of an hour, hour and day (UTC).

They are made from the runs by the workers' housekeeping, and outlive them: what is purged stays counted.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    Uuid,
    text,
)
from sqlmodel import Field, SQLModel

from app.models.columns import one_of, time_column

_COUNTERS = ("succeeded", "failed", "aborted", "lost", "expired")
_MINUTES = "minutes IN (15, 60, 1440)"


class RollupScope(StrEnum):
    """Whose runs a row of ``run_rollups`` counts: all, or those of one definition, group or owner."""

    ALL = "ALL"
    DEFINITION = "DEFINITION"
    GROUP = "GROUP"
    OWNER = "OWNER"


def _starts_at() -> Column[Any]:
    return Column(DateTime(timezone=True), primary_key=True)


def _count() -> Column[int]:
    return Column(Integer, nullable=False, server_default="0")


def _sum() -> Column[float]:
    return Column(Double, nullable=False, server_default="0")


def _array(kind: Any) -> Column[Any]:
    return Column(ARRAY(kind), nullable=False, server_default=text("'{}'"))


class RunRollup(SQLModel, table=True):
    """The runs that finished within 15, 60 or 1,440 minutes from ``starts_at``; ``key`` is empty for ALL.

    Those of groups and owners are of days alone: within a day, the rollups of their tasks are added up.

    Durations (first start to end) and waits (due to first start) are sums in milliseconds, and histograms: of the runs,
    ``duration_counts[i]`` fell into bin ``duration_bins[i]`` (``app.histogram``). ``slow_ids`` are the ten that took
    longest, with their ``slow_ms``. Runs that never started have neither duration nor wait.
    """

    __tablename__ = "run_rollups"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("scope", RollupScope),
        CheckConstraint(_MINUTES, name="minutes_are_known"),
        Index("run_rollups_by_time", "scope", "minutes", "starts_at"),
    )

    scope: RollupScope = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text, primary_key=True))
    minutes: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    starts_at: datetime = Field(sa_column=_starts_at())

    succeeded: int = Field(default=0, sa_column=_count())
    failed: int = Field(default=0, sa_column=_count())
    aborted: int = Field(default=0, sa_column=_count())
    lost: int = Field(default=0, sa_column=_count())
    expired: int = Field(default=0, sa_column=_count())
    duration_ms: float = Field(default=0.0, sa_column=_sum())
    wait_ms: float = Field(default=0.0, sa_column=_sum())
    duration_bins: list[int] = Field(sa_column=_array(SmallInteger))
    duration_counts: list[int] = Field(sa_column=_array(Integer))
    wait_bins: list[int] = Field(sa_column=_array(SmallInteger))
    wait_counts: list[int] = Field(sa_column=_array(Integer))
    slow_ids: list[UUID] = Field(sa_column=_array(Uuid))
    slow_ms: list[float] = Field(sa_column=_array(Double))


class TaskRollup(SQLModel, table=True):
    """The same for the runs of one saved task, by 15 or 1,440 minutes.

    The definition, group and owner are those that the runs had: a task that is moved has a row of each.
    """

    __tablename__ = "task_rollups"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        CheckConstraint(_MINUTES, name="minutes_are_known"),
        Index("task_rollups_by_time", "starts_at", postgresql_where=text("minutes = 15")),
        # Rankings are read from it alone, because the days of one time lie apart.
        Index(
            "task_rollups_by_day",
            "starts_at",
            postgresql_include=["task_id", *_COUNTERS, "duration_ms"],
            postgresql_where=text("minutes = 1440"),
        ),
        Index("task_rollups_by_group", "group_name", "minutes", "starts_at", postgresql_where=text("group_name <> ''")),
        Index("task_rollups_by_owner", "owner", "minutes", "starts_at", postgresql_where=text("owner <> ''")),
    )

    task_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    minutes: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    starts_at: datetime = Field(sa_column=_starts_at())
    definition_id: str = Field(sa_column=Column(String(100), primary_key=True))
    group_name: str = Field(default="", sa_column=Column(Text, primary_key=True))
    owner: str = Field(default="", sa_column=Column(Text, primary_key=True))

    succeeded: int = Field(default=0, sa_column=_count())
    failed: int = Field(default=0, sa_column=_count())
    aborted: int = Field(default=0, sa_column=_count())
    lost: int = Field(default=0, sa_column=_count())
    expired: int = Field(default=0, sa_column=_count())
    duration_ms: float = Field(default=0.0, sa_column=_sum())
    wait_ms: float = Field(default=0.0, sa_column=_sum())
    duration_bins: list[int] = Field(sa_column=_array(SmallInteger))
    duration_counts: list[int] = Field(sa_column=_array(Integer))
    wait_bins: list[int] = Field(sa_column=_array(SmallInteger))
    wait_counts: list[int] = Field(sa_column=_array(Integer))
    slow_ids: list[UUID] = Field(sa_column=_array(Uuid))
    slow_ms: list[float] = Field(sa_column=_array(Double))


class RollupMark(SQLModel, table=True):
    """One row: up to which run, in the order of ``(finished_at, id)``, all are counted. Locked by who counts on."""

    __tablename__ = "rollup_mark"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    finished_at: datetime = Field(sa_column=time_column(nullable=False))
    run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    moved_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
