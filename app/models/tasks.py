"""The tables of saved tasks: a task is a named configuration of a definition that somebody owns."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Computed, Double, Index, SmallInteger, String, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlmodel import Field, SQLModel

from app.models.columns import Json, json_column, one_of, tags_column, text_column, time_column
from app.states import TaskRunStatus

SEARCHED = "lower(name || ' ' || COALESCE(description, ''))"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What divides words, so that those of `sync-2024` and `eu.orders` are found one by one."""
SHORTEST_WORD = 3
"""Words of fewer letters are not looked for in other spellings."""


class SavedSearchKind(StrEnum):
    """What a saved search looks for."""

    TASKS = "TASKS"
    RUNS = "RUNS"


def _words(column: str, weight: str) -> str:
    quoted = PUNCTUATION.replace("'", "''")
    words = f"translate({column}, '{quoted}', repeat(' ', {len(PUNCTUATION)}))"
    return f"setweight(to_tsvector('simple'::regconfig, {words}), '{weight}')"


WORDS = " || ".join((_words("name", "A"), _words("COALESCE(description, '')", "D")))

TASK_WORDS = Table(
    "task_words",
    SQLModel.metadata,
    Column("word", Text, nullable=False),
    Index("task_words_by_word", "word"),
    Index("task_words_alike", "word", postgresql_using="gin", postgresql_ops={"word": "gin_trgm_ops"}),
)
"""The words that tasks have, or had, without those with digits: what a misspelled one may have meant.

A trigger on ``tasks`` adds them. A word may be there twice, so that nobody waits for somebody else's.
"""


class Task(SQLModel, table=True):
    """A saved task. What is NULL of queue, priority, timeout, attempts and retry is the definition's.

    ``group_name`` is the group it belongs to, ``owner`` a principal, ``version`` the number of its last revision.
    A deleted task keeps its row, with ``deleted_at``, because its runs and revisions stay. ``words`` is what a search
    looks through, those of the name with the weight A; ``searched`` is what servers looked through before that.
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
        Index("tasks_by_definition", "definition_id", "name", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_group", "group_name", "name", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_owner", "owner", "name", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_tag", "tags", postgresql_using="gin"),
        Index("tasks_by_name", "name", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("tasks_by_update", "updated_at", "id", postgresql_where=text("deleted_at IS NULL")),
        # Whole words and their beginnings; without a list of what is still to be sorted in, which every search reads.
        Index(
            "tasks_by_word",
            "words",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            postgresql_where=text("deleted_at IS NULL"),
        ),
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
    retry: Json | None = Field(default=None, sa_column=json_column())

    entity_type: str | None = Field(default=None, sa_column=text_column(nullable=True))
    entity_id: str | None = Field(default=None, sa_column=text_column(nullable=True))
    entity_url: str | None = Field(default=None, sa_column=text_column(nullable=True))

    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    created_by: str = Field(sa_column=text_column())
    updated_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    updated_by: str = Field(sa_column=text_column())
    deleted_at: datetime | None = Field(default=None, sa_column=time_column())
    searched: str | None = Field(default=None, sa_column=Column(Text, Computed(SEARCHED, persisted=True)))
    words: Any = Field(default=None, sa_column=Column(TSVECTOR, Computed(WORDS, persisted=True)))


class TaskRevision(SQLModel, table=True):
    """A saved task as it was from one change to the next; ``fields`` holds every value that people can change."""

    __tablename__ = "task_revisions"  # pyright: ignore[reportAssignmentType]

    task_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    version: int = Field(primary_key=True)
    changed_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    changed_by: str = Field(sa_column=text_column())
    change: str = Field(sa_column=text_column())
    fields: Json = Field(sa_column=Column(JSONB, nullable=False))


class TaskSummary(SQLModel, table=True):
    """What lists filter tasks by: how the last run of each stands, and how long its runs take.

    The workers' housekeeping keeps it, a second or two behind the runs. A task that never ran has none.
    ``verdict`` is the last final status that says something about the task: an aborted run says nothing.
    ``usual_ms`` is the average of up to twenty successful runs before the last one that succeeded.
    """

    __tablename__ = "task_summaries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("last_status", TaskRunStatus),
        Index("task_summaries_by_status", "last_status", "task_id"),
        Index("task_summaries_by_failure", "last_failed_at", "task_id"),
        Index("task_summaries_by_run", "last_run_at", "task_id"),
    )

    task_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    last_run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    last_run_at: datetime = Field(sa_column=time_column(nullable=False))
    last_status: str = Field(sa_column=text_column())
    verdict: str | None = Field(default=None, sa_column=text_column(nullable=True))
    last_failed_at: datetime | None = Field(default=None, sa_column=time_column())
    last_ms: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    usual_ms: float | None = Field(default=None, sa_column=Column(Double, nullable=True))


class TaskSummaryMark(SQLModel, table=True):
    """One row: the time up to which summaries have taken in what became of runs."""

    __tablename__ = "task_summary_mark"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    seen_until: datetime = Field(sa_column=time_column(nullable=False))


class Cooldown(SQLModel, table=True):
    """Until when a definition with a cooldown, or one of its saved tasks, may not be executed again."""

    __tablename__ = "cooldowns"  # pyright: ignore[reportAssignmentType]

    subject: str = Field(sa_column=Column(Text, primary_key=True))
    until: datetime = Field(sa_column=time_column(nullable=False))
    run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))


class SavedSearch(SQLModel, table=True):
    """A filter that somebody keeps under a name, for tasks or for runs; a shared one is everybody's to use."""

    __tablename__ = "saved_searches"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("kind", SavedSearchKind),
        Index("saved_searches_name", "owner", "kind", "name", unique=True),
        Index("saved_searches_shared", "kind", "name", postgresql_where=text("is_shared")),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str = Field(sa_column=text_column())
    kind: SavedSearchKind = Field(sa_column=text_column())
    filter: Json = Field(sa_column=Column(JSONB, nullable=False))
    is_shared: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    owner: str = Field(sa_column=text_column())
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    updated_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
