"""The tables of schedules, which trigger a saved task again and again, and of what became of each of their ticks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Double, Index, Uuid, text
from sqlmodel import Field, SQLModel

from app.models.columns import json_column, one_of, text_column, time_column
from app.schedule_states import CatchUpPolicy, OverlapPolicy, PauseReason, ScheduleStatus, TickOutcome, TickReason


class Schedule(SQLModel, table=True):
    """When a saved task is triggered. One of ``cron``, ``every_seconds`` and ``once_at`` is set.

    ``next_tick_at`` is the tick that comes next and ``next_due_at`` that tick with its jitter; both are set exactly
    while the schedule is active. ``write_no`` counts the writes, so that of two schedulers one decides about a tick.
    ``active_since`` is when it was created or last resumed: failures before it do not count. A deleted schedule keeps
    its row, with ``deleted_at``, because its runs and ticks stay.
    """

    __tablename__ = "schedules"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("status", ScheduleStatus),
        one_of("pause_reason", PauseReason),
        one_of("overlap", OverlapPolicy),
        one_of("catch_up", CatchUpPolicy),
        CheckConstraint("num_nonnulls(cron, every_seconds, once_at) = 1", name="one_timing"),
        CheckConstraint(
            "(status = 'ACTIVE' AND deleted_at IS NULL) = (next_tick_at IS NOT NULL)"
            " AND (next_tick_at IS NULL) = (next_due_at IS NULL)",
            name="active_means_next",
        ),
        CheckConstraint("(status = 'PAUSED') = (pause_reason IS NOT NULL)", name="paused_means_why"),
        Index("schedules_due", "next_due_at", postgresql_where=text("next_due_at IS NOT NULL")),
        Index("schedules_by_task", "task_id", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("schedules_by_status", "status", "id", postgresql_where=text("deleted_at IS NULL")),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    task_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    name: str | None = Field(default=None, sa_column=text_column(nullable=True))
    cron: str | None = Field(default=None, sa_column=text_column(nullable=True))
    every_seconds: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    anchor_at: datetime | None = Field(default=None, sa_column=time_column())
    once_at: datetime | None = Field(default=None, sa_column=time_column())
    time_zone: str = Field(default="UTC", sa_column=text_column())
    starts_at: datetime | None = Field(default=None, sa_column=time_column())
    ends_at: datetime | None = Field(default=None, sa_column=time_column())
    jitter_seconds: float = Field(default=0.0, sa_column=Column(Double, nullable=False, server_default="0"))
    overlap: OverlapPolicy = Field(default=OverlapPolicy.SKIP, sa_column=text_column())
    catch_up: CatchUpPolicy = Field(default=CatchUpPolicy.LAST, sa_column=text_column())
    catch_up_seconds: float = Field(default=86400.0, sa_column=Column(Double, nullable=False, server_default="86400"))
    max_failures: int | None = None
    input: Any = Field(default=None, sa_column=json_column())
    owner: str = Field(sa_column=text_column())

    status: ScheduleStatus = Field(default=ScheduleStatus.ACTIVE, sa_column=text_column())
    pause_reason: PauseReason | None = Field(default=None, sa_column=text_column(nullable=True))
    pause_message: str | None = Field(default=None, sa_column=text_column(nullable=True))
    active_since: datetime = Field(sa_column=time_column(nullable=False, default=True))
    next_tick_at: datetime | None = Field(default=None, sa_column=time_column())
    next_due_at: datetime | None = Field(default=None, sa_column=time_column())
    write_no: int = Field(default=0, sa_column_kwargs={"server_default": "0"})

    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    created_by: str = Field(sa_column=text_column())
    updated_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    updated_by: str = Field(sa_column=text_column())
    deleted_at: datetime | None = Field(default=None, sa_column=time_column())


class ScheduleTick(SQLModel, table=True):
    """What became of one tick: its key is what makes two schedulers agree on one run.

    A line about missed ticks stands for ``ticks`` of them, from ``tick_at`` to ``last_tick_at``.
    """

    __tablename__ = "schedule_ticks"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("outcome", TickOutcome),
        one_of("reason", TickReason),
        CheckConstraint("(outcome = 'RAN') = (run_id IS NOT NULL)", name="ran_means_run"),
        Index("schedule_ticks_waiting", "schedule_id", "tick_at", postgresql_where=text("outcome = 'WAITING'")),
        Index("schedule_ticks_by_time", "decided_at"),
    )

    schedule_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    tick_at: datetime = Field(sa_column=Column(time_column().type, primary_key=True))
    last_tick_at: datetime = Field(sa_column=time_column(nullable=False))
    ticks: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    outcome: TickOutcome = Field(sa_column=text_column())
    reason: TickReason | None = Field(default=None, sa_column=text_column(nullable=True))
    message: str | None = Field(default=None, sa_column=text_column(nullable=True))
    run_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    decided_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
