"""The tables of saved tasks: a task is a named configuration of a definition that somebody owns."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Double, Index, SmallInteger, String, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.models.columns import Json, json_column, tags_column, text_column, time_column


class Task(SQLModel, table=True):
    """A saved task. What is NULL of queue, priority, timeout, attempts and retry is the definition's.

    ``group_name`` is the pipeline it belongs to, ``owner`` a principal, ``version`` the number of its last revision.
    A deleted task keeps its row, with ``deleted_at``, because its runs and revisions stay.
    """

    __tablename__ = "tasks"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_counts"),
        Index(
            "tasks_name",
            text("COALESCE(group_name, '')"),
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("tasks_by_definition", "definition_id", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_group", "group_name", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_owner", "owner", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_tag", "tags", postgresql_using="gin"),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str = Field(sa_column=text_column())
    description: str | None = Field(default=None, sa_column=text_column(nullable=True))
    definition_id: str = Field(sa_column=Column(String(100), nullable=False))
    input: Any = Field(default=None, sa_column=json_column())
    tags: list[str] = Field(default_factory=list, sa_column=tags_column())
    group_name: str | None = Field(default=None, sa_column=text_column(nullable=True))
    owner: str = Field(sa_column=text_column())
    is_enabled: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})

    priority: int | None = Field(default=None, sa_column=Column(SmallInteger, nullable=True))
    queue: str | None = Field(default=None, sa_column=text_column(nullable=True))
    timeout_seconds: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    max_attempts: int | None = None

    entity_type: str | None = Field(default=None, sa_column=text_column(nullable=True))
    entity_id: str | None = Field(default=None, sa_column=text_column(nullable=True))
    entity_url: str | None = Field(default=None, sa_column=text_column(nullable=True))

    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    created_by: str = Field(sa_column=text_column())
    updated_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    updated_by: str = Field(sa_column=text_column())
    deleted_at: datetime | None = Field(default=None, sa_column=time_column())


class TaskRevision(SQLModel, table=True):
    """A saved task as it was from one change to the next; ``fields`` holds every value that people can change."""

    __tablename__ = "task_revisions"  # pyright: ignore[reportAssignmentType]

    task_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    version: int = Field(primary_key=True)
    changed_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    changed_by: str = Field(sa_column=text_column())
    change: str = Field(sa_column=text_column())
    fields: Json = Field(sa_column=Column(JSONB, nullable=False))
