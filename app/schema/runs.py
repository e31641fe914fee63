"""A run as clients see it. Everything that a row holds is made into plain attributes once, when the object is built."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from sqlmodel import SQLModel
from strawberry import UNSET
from strawberry.scalars import JSON

from app.clock import elapsed_ms
from app.schema.children import OLDEST_FIRST, iterations_of, logs_of, runs_below
from app.schema.connections import After, Before, Connection, First, Last, page_args
from app.schema.context import Info
from app.schema.filters import TaskRunLogFilter, log_filter
from app.schema.loaders import Read
from app.schema.logs import TaskIteration, TaskLog
from app.schema.principals import Principal, principal_of
from app.schema.run_parts import AbortRequest, TaskLogCounts, TaskRunError, TaskRunProgress
from app.schema.selection import ABORT, LOG_COUNTS, selected_columns
from app.schema.timeline import TaskRunTimelineEntry, timeline_of
from app.schema.vocabulary import TaskRunStatus, TaskRunStatusReason

if TYPE_CHECKING:
    from app.schema.definitions import TaskDefinition
    from app.schema.error_groups import ErrorGroup
    from app.schema.saved_tasks import Task, TaskRevision
    from app.schema.schedules import Schedule


@strawberry.type(description="One triggered execution of a task definition.")
class TaskRun:
    """A run. Attributes whose columns were not read are missing: nobody selected the fields that need them."""

    id: UUID = strawberry.field(
        graphql_type=strawberry.ID, description="The run's id: a UUID (version 7, so that ids sort by creation)."
    )
    definition_id: strawberry.ID = strawberry.field(description="The id of the definition that it executes.")
    name: str = strawberry.field(description="What people call this run; by default the title of its definition.")
    status: TaskRunStatus = strawberry.field(description="Where it stands.")
    status_reason: TaskRunStatusReason | None = strawberry.field(
        description="Why it stands there; null when the status says it all."
    )
    status_changed_at: datetime = strawberry.field(description="When its status last changed.")
    input: JSON = strawberry.field(description="What it was triggered with.")
    output: JSON | None = strawberry.field(description="What its code returned; null until it has succeeded.")
    error: TaskRunError | None = strawberry.field(
        description="What went wrong last: the end of a failed run, or the attempt that is being retried."
    )
    progress: TaskRunProgress | None = strawberry.field(
        description="How far it has come; null until its code reports progress."
    )
    queue: str = strawberry.field(description="The queue whose workers may execute it.")
    priority: int = strawberry.field(description="Its priority, -1000 to 1000; among due runs the higher goes first.")
    tags: list[str] = strawberry.field(description="Words to find it by.")
    iteration: int = strawberry.field(description="The current iteration, from 1; the next one while none is executed.")
    max_iterations: int = strawberry.field(description="How many iterations it may have.")
    attempt: int = strawberry.field(description="The current attempt at the iteration, from 1.")
    max_attempts: int = strawberry.field(description="How many attempts each iteration may have.")
    interruptions: int = strawberry.field(
        description="How often a worker lost it or gave it back at a shutdown; that uses up no attempt."
    )
    timeout_seconds: float | None = strawberry.field(
        description="The longest time for one attempt, in seconds; null is no limit."
    )
    created_at: datetime = strawberry.field(description="When it was triggered.")
    start_at: datetime = strawberry.field(description="When it was meant to start.")
    expires_at: datetime | None = strawberry.field(
        description="When it expires unless it has started; null when it never does."
    )
    started_at: datetime | None = strawberry.field(description="When a worker first started it.")
    finished_at: datetime | None = strawberry.field(description="When it became final.")
    duration_ms: float | None = strawberry.field(
        description="The time from its first start to its end, or to now while it is not final, in milliseconds."
    )
    created_by: Principal = strawberry.field(description="Who triggered it.")
    idempotency_key: str | None = strawberry.field(description="The key that makes a repeated trigger return this run.")
    unique_key: str | None = strawberry.field(
        description="The key of which its definition has at most one run that is not final."
    )
    limit_key: str | None = strawberry.field(
        description="What its definition's limits per key divide its runs by; null when it has none."
    )
    batch_id: UUID | None = strawberry.field(
        graphql_type=strawberry.ID | None, description="The batch that it was triggered in; null when in none."
    )
    worker: str | None = strawberry.field(description="The worker that executes it, or did last, as `host:pid`.")
    abort: AbortRequest | None = strawberry.field(description="The wish to abort it; null when nobody asked.")
    log_counts: TaskLogCounts = strawberry.field(description="How many lines it has logged, by level.")
    is_pinned: bool = strawberry.field(
        description="Whether it is kept, with its logs and iterations, whatever the rules of retention say."
    )
    tick_at: datetime | None = strawberry.field(description="The tick of its schedule that made it; null without one.")
    on_behalf_of: Principal | None = strawberry.field(
        description="The principal in whose name its schedule acts; null without a schedule."
    )
    parent_id: strawberry.Private[UUID | None]
    rerun_of_id: strawberry.Private[UUID | None]
    schedule_id: strawberry.Private[UUID | None]
    task_id: strawberry.Private[UUID | None]
    error_group_id: strawberry.Private[str | None]
    task_version: strawberry.Private[int | None]

    @classmethod
    def of(cls, row: Any) -> TaskRun:
        """The run from a row that has all columns, or those that ``selection`` asked for."""
        run = object.__new__(cls)
        columns = columns_in(row)
        vars(run).update(columns)
        vars(run).update(_derived(columns))
        return run

    @strawberry.field(description="What it executes; null when the definition is no longer published.")
    async def definition(
        self, info: Info
    ) -> Annotated[TaskDefinition, strawberry.lazy("app.schema.definitions")] | None:
        """Loaded together for all runs of an answer."""
        return await load_definition(info, self.definition_id)

    @strawberry.field(
        description="The group of failures with the same cause; null unless it is FAILED or LOST, and for a second or "
        "two after its end."
    )
    async def error_group(self, info: Info) -> Annotated[ErrorGroup, strawberry.lazy("app.schema.error_groups")] | None:
        """Loaded together for all runs of an answer."""
        from app.schema.error_groups import load_error_group

        return await load_error_group(info, self.error_group_id)

    @strawberry.field(description="The run that triggered it, or that it was attached to; null when there is none.")
    async def parent(self, info: Info) -> TaskRun | None:
        """Loaded together for all runs of an answer."""
        return await load_run(info, self.parent_id)

    @strawberry.field(description="The run that this one repeats; null when it repeats none.")
    async def rerun_of(self, info: Info) -> TaskRun | None:
        """Loaded together for all runs of an answer."""
        return await load_run(info, self.rerun_of_id)

    @strawberry.field(description="The saved task that it was made from, which may be deleted; null when none was.")
    async def task(self, info: Info) -> Annotated[Task, strawberry.lazy("app.schema.saved_tasks")] | None:
        """Loaded together for all runs of an answer."""
        from app.schema.saved_tasks import load_task

        return await load_task(info, self.task_id, deleted=True)

    @strawberry.field(description="The schedule that triggered it; null when none did, or it was deleted.")
    async def triggered_by(self, info: Info) -> Annotated[Schedule, strawberry.lazy("app.schema.schedules")] | None:
        """Loaded together for all runs of an answer."""
        from app.schema.schedules import load_schedule

        return await load_schedule(info, self.schedule_id)

    @strawberry.field(description="The revision of its task that it was made from; null without a task.")
    async def task_revision(
        self, info: Info
    ) -> Annotated[TaskRevision, strawberry.lazy("app.schema.saved_tasks")] | None:
        """Loaded together for all runs of an answer."""
        from app.schema.saved_tasks import load_revision

        return await load_revision(info, self.task_id, self.task_version)

    @strawberry.field(description="The runs that have this one as their parent, oldest first.")
    async def children(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[TaskRun]:
        """Loaded together for all runs of an answer."""
        page = page_args(first, after, last, before)
        return await runs_below(info, "parent_id", self.id, None, OLDEST_FIRST, page)

    @strawberry.field(description="Its attempts at its iterations, in order; the one under way comes last.")
    async def iterations(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[TaskIteration]:
        """Loaded together for all runs of an answer."""
        return await iterations_of(info, self.id, page_args(first, after, last, before))

    @strawberry.field(
        description="What happened to it, in order: its trigger, the last 100 attempts, its abort and its end, between "
        "the runs that it goes back to by reruns and those that go back to it, 50 of each. Where retention has removed "
        "its attempts, only trigger, first start and end are left."
    )
    async def timeline(self, info: Info) -> list[TaskRunTimelineEntry]:
        """Told together for all runs of an answer."""
        return await timeline_of(info, self.id)

    @strawberry.field(description="The lines it has logged, in order.")
    async def logs(
        self,
        info: Info,
        filter: Annotated[TaskRunLogFilter | None, strawberry.argument(description="Only lines that fit.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskLog]:
        """Loaded together for all runs of an answer."""
        return await logs_of(info, self.id, log_filter(filter), page_args(first, after, last, before))


def columns_in(row: Any) -> dict[str, Any]:
    """The columns of a table object or of a Core row, by name."""
    return vars(row) if isinstance(row, SQLModel) else dict(zip(row._fields, row, strict=True))


def _derived(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The attributes that are not a column as it is, as far as their columns were read."""
    if "created_by" in row:
        yield "created_by", principal_of(row["created_by"])
    if row.get("on_behalf_of") is not None:
        yield "on_behalf_of", principal_of(row["on_behalf_of"])
    if "error" in row:
        yield "error", TaskRunError.of(row["error"])
    if "progress" in row and "status_changed_at" in row:
        yield "progress", TaskRunProgress.of(row["progress"], row["status_changed_at"])
    if "started_at" in row and "finished_at" in row:
        yield "duration_ms", elapsed_ms(row["started_at"], row["finished_at"])
    if ABORT[0] in row:
        yield "abort", AbortRequest.of(row)
    if LOG_COUNTS[0] in row:
        debug, info, warning, error = (row[column] for column in LOG_COUNTS)
        yield "log_counts", TaskLogCounts(debug=debug, info=info, warning=warning, error=error)
    if "limit_key" in row:
        yield "limit_key", row["limit_key"] or None
    if "error_group" in row:
        yield "error_group_id", row["error_group"]
    if "rerun_of" in row:
        yield "rerun_of_id", row["rerun_of"]


async def load_run(info: Info, id: UUID | None) -> TaskRun | None:
    """The run of that id with the columns selected here, read together with others at this place; None for no id."""
    if id is None:
        return None
    service = info.context.service

    def prepare() -> Read:
        columns = selected_columns(info)
        return lambda ids: service.find(ids, columns)

    row = await info.context.loaders.at(info, id, prepare)
    return TaskRun.of(row) if row is not None else None


async def load_definition(info: Info, id: str) -> TaskDefinition | None:
    """The definition of that id, read together with others; None when it is not published."""
    from app.schema.definitions import TaskDefinition

    row = await info.context.loaders.definition(id)
    return TaskDefinition.of(row) if row is not None else None
