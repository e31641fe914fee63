"""The tables, with the constraints that let the database refuse nonsense. No relationships, no I/O.

Enums are text with a CHECK, because PostgreSQL's own enum types cannot lose a value and SQLModel would store the
members' names in them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, Column, Double, Index, SmallInteger, String, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import configure_mappers
from sqlmodel import Field, SQLModel

from app.limits import Scope
from app.models.columns import Json, among, json_column, one_of, statuses, tags_column, text_column, time_column
from app.models.run_lists import LISTED
from app.models.run_searches import DURATION, ERROR_TEXT, GROUPED, LASTED, SEARCHED, SLOW, SLOW_SECONDS, UNGROUPED
from app.models.workers import Worker
from app.schedule_states import CatchUpPolicy, OverlapPolicy, PauseReason, ScheduleStatus, TickOutcome, TickReason
from app.states import FINAL, HELD, FailurePolicy, TaskIterationOutcome, TaskRunStatus, TaskRunStatusReason

if TYPE_CHECKING:
    from app.models.audit import AuditEvent
    from app.models.bulk import Batch, BulkAction, BulkActionError, BulkActionKind, BulkActionStatus
    from app.models.failures import ErrorGroup, ErrorGroupHour
    from app.models.retention import RetentionRule
    from app.models.schedules import Schedule, ScheduleTick
    from app.models.tasks import (
        Cooldown,
        SavedSearch,
        SavedSearchKind,
        Task,
        TaskRevision,
        TaskSummary,
        TaskSummaryMark,
    )

__all__ = [
    "CLAIMABLE",
    "DURATION",
    "ERROR_TEXT",
    "GROUPED",
    "HELD_BACK",
    "LASTED",
    "LIMITED_LIVE",
    "LIMITED_START",
    "PARKED",
    "SLOW",
    "SLOW_SECONDS",
    "UNGROUPED",
    "AuditEvent",
    "Batch",
    "BulkAction",
    "BulkActionError",
    "BulkActionKind",
    "BulkActionStatus",
    "CatchUpPolicy",
    "Cooldown",
    "ErrorGroup",
    "ErrorGroupHour",
    "OverlapPolicy",
    "PauseReason",
    "RetentionRule",
    "SavedSearch",
    "SavedSearchKind",
    "Schedule",
    "ScheduleStatus",
    "ScheduleTick",
    "Task",
    "TaskDefinition",
    "TaskIteration",
    "TaskLog",
    "TaskLogLevel",
    "TaskRevision",
    "TaskRun",
    "TaskSummary",
    "TaskSummaryMark",
    "TickOutcome",
    "TickReason",
    "Worker",
    "one_of",
    "statuses",
]

_LATE = {
    "audit": ("AuditEvent",),
    "bulk": ("Batch", "BulkAction", "BulkActionError", "BulkActionKind", "BulkActionStatus"),
    "failures": ("ErrorGroup", "ErrorGroupHour"),
    "retention": ("RetentionRule",),
    "rollups": (),
    "schedules": ("Schedule", "ScheduleTick"),
    "tasks": (
        "Cooldown",
        "SavedSearch",
        "SavedSearchKind",
        "Task",
        "TaskRevision",
        "TaskSummary",
        "TaskSummaryMark",
    ),
}
"""The tables around runs, by their modules: a worker needs few of them, and each takes a tenth of a megabyte."""
_MODULE_OF = {name: module for module, names in _LATE.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a table around runs, with its module, at its first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    # Objects may be made without the constructor that would see to this.
    configure_mappers()
    return getattr(module, name)


def load_all() -> None:
    """Load every table, so that the metadata know them all: for migrations, and for whoever empties a database."""
    for module in _LATE:
        import_module(f"{__name__}.{module}")


CLAIMABLE = "status = 'QUEUED' AND parked IS NULL"
PARKED = "status = 'QUEUED' AND parked IS NOT NULL"
HELD_BACK = "status = 'SCHEDULED' OR status = 'QUEUED' AND parked IS NOT NULL"
LIMITED_LIVE = "limit_key IS NOT NULL AND status IN ('QUEUED', 'RUNNING', 'WAITING', 'ABORTING')"
LIMITED_START = "limit_key IS NOT NULL AND started_at IS NOT NULL"
CLAIM_ORDER = (text("priority DESC"), "due_at", "id")
PARKED_ORDER = ("queue", text("(started_at IS NULL)"), *CLAIM_ORDER)


class TaskLogLevel(StrEnum):
    """How much a log line matters."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class TaskDefinition(SQLModel, table=True):
    """A definition as published by the processes that loaded its code; what lists and validation read."""

    __tablename__ = "task_definitions"  # pyright: ignore[reportAssignmentType]

    id: str = Field(sa_column=Column(String(100), primary_key=True))
    title: str = Field(sa_column=text_column())
    description: str | None = Field(default=None, sa_column=text_column(nullable=True))
    module: str = Field(sa_column=text_column())
    version: str = Field(sa_column=text_column())
    input_schema: Json = Field(sa_column=Column(JSONB, nullable=False))
    output_schema: Json | None = Field(default=None, sa_column=json_column())
    queue: str = Field(sa_column=text_column())
    priority: int = Field(sa_column=Column(SmallInteger, nullable=False))
    tags: list[str] = Field(sa_column=tags_column())
    max_iterations: int
    max_attempts: int
    timeout_seconds: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    is_private: bool = False
    checks_trigger: bool = False
    limits: Json | None = Field(default=None, sa_column=json_column())
    triggers: str = Field(default="BOTH", sa_column=Column(Text, nullable=False, server_default="BOTH"))
    cooldown_seconds: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    category: str | None = Field(default=None, sa_column=text_column(nullable=True))
    published_at: datetime = Field(sa_column=time_column(nullable=False, default=True))


class TaskRun(SQLModel, table=True):
    """One triggered execution of a definition: the truth about it, whoever executes it.

    ``iteration`` and ``attempt`` name the current slice and try, or the next ones while no worker holds the run.
    ``due_at`` is when it may be claimed (NULL while it waits for children), ``start_at`` when it was first meant to
    start. ``claim_no`` and ``lease_owner`` fence every write of a worker; ``write_no`` counts those writes, so that one
    whose reply was lost is recognised. ``log_count`` is the number of the last log line.

    ``task_id`` and ``task_version`` name the saved task and the revision that the run was made from, ``group_name`` and
    ``owner`` are the task's at that time; ``schedule_id`` and ``tick_at`` name the tick that triggered it. A run that
    ``is_pinned`` is never deleted.

    ``is_named`` says that the name is neither the definition's title nor the task's: only such names are searched.

    ``error_group`` is the group of a failure; housekeeping fills it in a second or two after the end.

    ``limit_key`` divides the runs of a definition with limits (NULL where it had none at the trigger), and ``parked``
    is whose limit a QUEUED run waits for: it is taken up only by a claim that has counted what is taken.

    ``wait_for`` are the runs that a WAITING run waits for. ``failure_policy`` says what it makes of those that did not
    succeed, while it waits and in the iteration that follows; NULL in all others.
    """

    __tablename__ = "task_runs"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        one_of("status", TaskRunStatus),
        one_of("status_reason", TaskRunStatusReason),
        CheckConstraint(f"({among('status', FINAL)}) = (finished_at IS NOT NULL)", name="final_means_finished"),
        CheckConstraint(f"({among('status', HELD)}) = (lease_owner IS NOT NULL)", name="held_means_leased"),
        CheckConstraint("status <> 'ABORTING' OR abort_requested_at IS NOT NULL", name="aborting_means_asked"),
        CheckConstraint("status <> 'SCHEDULED' OR started_at IS NULL", name="scheduled_means_not_started"),
        CheckConstraint("iteration >= 1 AND attempt >= 1 AND interruptions >= 0", name="counters_count"),
        one_of("parked", Scope),
        one_of("failure_policy", FailurePolicy),
        # The order in which workers claim: priority, then due time, then age.
        Index("task_runs_claimable", "queue", *CLAIM_ORDER, postgresql_where=text(CLAIMABLE)),
        # The same order among the runs that wait for a limit, those whose start would count apart from the others.
        Index("task_runs_parked_by_key", "definition_id", "limit_key", *PARKED_ORDER, postgresql_where=text(PARKED)),
        Index(
            "task_runs_parked",
            "definition_id",
            *PARKED_ORDER,
            postgresql_where=text("status = 'QUEUED' AND parked = 'DEFINITION'"),
        ),
        # What waits in a queue beside those: for a limit, or for its time.
        Index("task_runs_held_back", "queue", postgresql_where=text(HELD_BACK)),
        # What counts against limits; runs of definitions without any are in none of these.
        Index("task_runs_limited_live", "definition_id", "limit_key", "id", postgresql_where=text(LIMITED_LIVE)),
        Index("task_runs_limited_starts", "definition_id", "started_at", postgresql_where=text(LIMITED_START)),
        Index(
            "task_runs_limited_starts_by_key",
            "definition_id",
            "limit_key",
            "started_at",
            postgresql_where=text(LIMITED_START),
        ),
        Index("task_runs_asleep", "due_at", postgresql_where=text("status IN ('SCHEDULED', 'WAITING')")),
        Index(
            "task_runs_expiring",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')"),
        ),
        # What became of the runs of saved tasks since housekeeping last looked.
        Index("task_runs_task_changes", "status_changed_at", "task_id", postgresql_where=text("task_id IS NOT NULL")),
        Index(
            "task_runs_live_by_schedule",
            "schedule_id",
            "id",
            postgresql_where=text(f"schedule_id IS NOT NULL AND status NOT IN {statuses(FINAL)}"),
        ),
        Index(
            "task_runs_by_tick",
            "schedule_id",
            "tick_at",
            unique=True,
            postgresql_where=text("tick_at IS NOT NULL"),
        ),
        *LISTED,
        *SEARCHED,
        Index(
            "task_runs_idempotency",
            "definition_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "task_runs_unique",
            "definition_id",
            "unique_key",
            unique=True,
            postgresql_where=text(f"unique_key IS NOT NULL AND status NOT IN {statuses(FINAL)}"),
        ),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    definition_id: str = Field(sa_column=Column(String(100), nullable=False))
    name: str = Field(sa_column=text_column())
    is_named: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    status: TaskRunStatus = Field(sa_column=text_column())
    status_reason: TaskRunStatusReason | None = Field(default=None, sa_column=text_column(nullable=True))
    status_changed_at: datetime = Field(sa_column=time_column(nullable=False, default=True))

    input: Any = Field(default=None, sa_column=json_column())
    output: Any = Field(default=None, sa_column=json_column())
    state: Any = Field(default=None, sa_column=json_column())
    progress: Json | None = Field(default=None, sa_column=json_column())
    error: Json | None = Field(default=None, sa_column=json_column())
    error_group: str | None = Field(default=None, sa_column=text_column(nullable=True))

    queue: str = Field(sa_column=text_column())
    priority: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    tags: list[str] = Field(default_factory=list, sa_column=tags_column())
    timeout_seconds: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    iteration: int = 1
    max_iterations: int
    attempt: int = 1
    max_attempts: int
    retry: Json | None = Field(default=None, sa_column=json_column())
    interruptions: int = Field(default=0, sa_column_kwargs={"server_default": "0"})

    created_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    start_at: datetime = Field(sa_column=time_column(nullable=False))
    due_at: datetime | None = Field(default=None, sa_column=time_column())
    expires_at: datetime | None = Field(default=None, sa_column=time_column())
    started_at: datetime | None = Field(default=None, sa_column=time_column())
    finished_at: datetime | None = Field(default=None, sa_column=time_column())

    created_by: str = Field(sa_column=text_column())
    idempotency_key: str | None = Field(default=None, sa_column=text_column(nullable=True))
    input_digest: str | None = Field(default=None, sa_column=text_column(nullable=True))
    unique_key: str | None = Field(default=None, sa_column=text_column(nullable=True))
    parent_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    rerun_of: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    limit_key: str | None = Field(default=None, sa_column=text_column(nullable=True))
    parked: str | None = Field(default=None, sa_column=text_column(nullable=True))
    wait_for: list[UUID] | None = Field(default=None, sa_column=Column(ARRAY(Uuid), nullable=True))
    failure_policy: str | None = Field(default=None, sa_column=text_column(nullable=True))

    task_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    task_version: int | None = None
    group_name: str | None = Field(default=None, sa_column=text_column(nullable=True))
    owner: str | None = Field(default=None, sa_column=text_column(nullable=True))
    schedule_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    tick_at: datetime | None = Field(default=None, sa_column=time_column())
    on_behalf_of: str | None = Field(default=None, sa_column=text_column(nullable=True))
    batch_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    is_pinned: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})

    claim_no: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    write_no: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    lease_owner: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    worker: str | None = Field(default=None, sa_column=text_column(nullable=True))
    claimed_at: datetime | None = Field(default=None, sa_column=time_column())
    deadline_at: datetime | None = Field(default=None, sa_column=time_column())

    abort_requested_at: datetime | None = Field(default=None, sa_column=time_column())
    abort_requested_by: str | None = Field(default=None, sa_column=text_column(nullable=True))
    abort_message: str | None = Field(default=None, sa_column=text_column(nullable=True))
    abort_forced: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})

    log_count: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    log_debug: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    log_info: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    log_warning: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    log_error: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class TaskIteration(SQLModel, table=True):
    """One finished attempt at one iteration. The attempt under way is not here: the run's own row describes it."""

    __tablename__ = "task_iterations"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (one_of("outcome", TaskIterationOutcome),)

    run_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    claim_no: int = Field(primary_key=True)
    number: int
    attempt: int
    worker: str | None = Field(default=None, sa_column=text_column(nullable=True))
    started_at: datetime = Field(sa_column=time_column(nullable=False))
    finished_at: datetime = Field(sa_column=time_column(nullable=False))
    outcome: TaskIterationOutcome = Field(sa_column=text_column())
    error: Json | None = Field(default=None, sa_column=json_column())


class TaskLog(SQLModel, table=True):
    """One line written by a run, numbered from 1 within the run, without gaps."""

    __tablename__ = "task_logs"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (one_of("level", TaskLogLevel), CheckConstraint("sequence >= 1", name="sequence_counts"))

    run_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    sequence: int = Field(primary_key=True)
    iteration: int
    attempt: int
    level: TaskLogLevel = Field(sa_column=text_column())
    message: str = Field(sa_column=text_column())
    data: Any = Field(default=None, sa_column=json_column())
    created_at: datetime = Field(sa_column=time_column(nullable=False))
