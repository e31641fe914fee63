"""Groups of failures that have the same cause, and how many there were in each hour."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, String, Text, Uuid, text
from sqlmodel import Field, SQLModel

from app.models.columns import text_column, time_column


class ErrorGroup(SQLModel, table=True):
    """Failures of one definition with the same type of error, normalised message and place in the task's code.

    ``count`` is of all of them, whether their runs are still kept or not. ``sample_run_id`` is the one that failed
    last.
    """

    __tablename__ = "error_groups"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        Index("error_groups_by_last_seen", "last_seen", "id"),
        Index("error_groups_by_first_seen", "first_seen", "id"),
        Index("error_groups_by_count", "count", "id"),
        Index("error_groups_by_definition", "definition_id"),
    )

    id: str = Field(sa_column=Column(Text, primary_key=True))
    definition_id: str = Field(sa_column=Column(String(100), nullable=False))
    error_type: str = Field(sa_column=text_column())
    message: str = Field(sa_column=text_column())
    place: str | None = Field(default=None, sa_column=text_column(nullable=True))
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    first_seen: datetime = Field(sa_column=time_column(nullable=False))
    last_seen: datetime = Field(sa_column=time_column(nullable=False))
    sample_run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))


class ErrorGroupHour(SQLModel, table=True):
    """How many failures of a group there were in one hour (of UTC), apart for each task, its group and its owner."""

    __tablename__ = "error_group_hours"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        Index(
            "error_group_hours_key",
            "error_group_id",
            "hour",
            "task_id",
            "group_name",
            "owner",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index("error_group_hours_by_hour", "hour"),
        Index("error_group_hours_by_task", "task_id", postgresql_where=text("task_id IS NOT NULL")),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    error_group_id: str = Field(
        sa_column=Column(Text, ForeignKey("error_groups.id", ondelete="CASCADE"), nullable=False)
    )
    hour: datetime = Field(sa_column=time_column(nullable=False))
    task_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    group_name: str | None = Field(default=None, sa_column=text_column(nullable=True))
    owner: str | None = Field(default=None, sa_column=text_column(nullable=True))
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    first_seen: datetime = Field(sa_column=time_column(nullable=False))
    last_seen: datetime = Field(sa_column=time_column(nullable=False))
    last_run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
