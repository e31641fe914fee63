"""The tables of actions on many runs or tasks at once, and of batches: runs that were triggered together."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Index, String, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.models.columns import Json, json_column, one_of, text_column, time_column


class BulkActionKind(StrEnum):
    """What a bulk action does to each of its items."""

    ABORT_RUNS = "ABORT_RUNS"
    RERUN_RUNS = "RERUN_RUNS"
    DELETE_RUNS = "DELETE_RUNS"
    STOP_ALL = "STOP_ALL"
    CLEAR_EXECUTIONS = "CLEAR_EXECUTIONS"
    EXECUTE_TASKS = "EXECUTE_TASKS"
    UPDATE_TASKS = "UPDATE_TASKS"


class BulkActionStatus(StrEnum):
    """Where a bulk action stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"
    FAILED = "FAILED"


class BulkAction(SQLModel, table=True):
    """One action on many items, which are looked at in the order of their ids.

    ``selection`` names the items by ids or by a filter; those with an id above ``ceiling`` came later and are none.
    ``position`` is the last item that was looked at, and moves in the transaction that acts on the items before it.
    ``run_id`` is the run that goes on where the process that began the action left it.
    ``error`` stays empty: why an action failed is said by its run.
    """

    __tablename__ = "bulk_actions"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("kind", BulkActionKind),
        one_of("status", BulkActionStatus),
        CheckConstraint(
            "(status IN ('COMPLETED', 'ABORTED', 'FAILED')) = (finished_at IS NOT NULL)", name="final_means_finished"
        ),
        CheckConstraint("done >= 0 AND failed >= 0", name="counters_count"),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    kind: BulkActionKind = Field(sa_column=text_column())
    status: BulkActionStatus = Field(sa_column=Column(Text, nullable=False, server_default="PENDING"))
    selection: Json = Field(sa_column=Column(JSONB, nullable=False))
    arguments: Json = Field(sa_column=Column(JSONB, nullable=False))
    total: int | None = None
    done: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    failed: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    position: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    ceiling: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    run_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    batch_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    created_by: str = Field(sa_column=text_column())
    finished_at: datetime | None = Field(default=None, sa_column=time_column())
    aborted_by: str | None = Field(default=None, sa_column=text_column(nullable=True))
    error: str | None = Field(default=None, sa_column=text_column(nullable=True))


class BulkActionError(SQLModel, table=True):
    """An item on which a bulk action could not act, and why; the first thousand of each action are kept."""

    __tablename__ = "bulk_action_errors"  # pyright: ignore[reportAssignmentType]

    action_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    item_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    code: str = Field(sa_column=text_column())
    message: str = Field(sa_column=text_column())


class Batch(SQLModel, table=True):
    """Runs that were triggered together. While it is not sealed, more of them may come.

    ``first_live`` is the lowest id among its runs that may not be final; what lies below is not looked at again.
    ``complete_*`` is what is triggered once, by the principal who made the batch, when all its runs are final.
    """

    __tablename__ = "batches"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        # Both stay small, however many batches there are: of those that nothing follows, only what is not sealed.
        Index(
            "batches_followed",
            "id",
            postgresql_where=text("complete_definition_id IS NOT NULL AND completed_at IS NULL"),
        ),
        Index("batches_unsealed", "id", postgresql_where=text("sealed_at IS NULL")),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str | None = Field(default=None, sa_column=text_column(nullable=True))
    total: int | None = None
    first_live: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    complete_definition_id: str | None = Field(default=None, sa_column=Column(String(100), nullable=True))
    complete_input: Any = Field(default=None, sa_column=json_column())
    complete_run_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    complete_error: str | None = Field(default=None, sa_column=text_column(nullable=True))
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    created_by: str = Field(sa_column=text_column())
    sealed_at: datetime | None = Field(default=None, sa_column=time_column())
    completed_at: datetime | None = Field(default=None, sa_column=time_column())
    aborted_at: datetime | None = Field(default=None, sa_column=time_column())
    aborted_by: str | None = Field(default=None, sa_column=text_column(nullable=True))
