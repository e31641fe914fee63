"""A saved task as clients see it, with its revisions, its health and its runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.paging import PageArgs
from app.run_filters import RunOrder
from app.schema.children import runs_below
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, page_args
from app.schema.context import Info
from app.schema.filters import RunsInOrder, RunsThatFit, run_filter, run_order
from app.schema.loaders import Read
from app.schema.principals import Principal, principal_of
from app.schema.runs import TaskRun, columns_in, load_definition
from app.schema.selection import page_columns, page_fields, selected_columns
from app.schema.task_words import CALLED, TaskChange, TaskHealth
from app.service.saved_reading import SOURCES, differences
from app.task_filters import health_of
from app.tasks import Stats

if TYPE_CHECKING:
    from app.schema.definitions import TaskDefinition
    from app.schema.schedules import Schedule

SAME = (
    "name", "description", "input", "tags", "priority", "queue", "timeout_seconds", "max_attempts", "entity_type",
    "entity_id", "entity_url", "version", "created_at", "updated_at", "deleted_at",
)  # fmt: skip
"""The fields of a task that are its columns as they are."""
ONE = PageArgs(first=1)
NEWEST_FIRST = RunOrder()


@strawberry.type(
    description="How long a saved task waits between attempts; which errors are retried is said by its definition."
)
class TaskRetry:
    """The delays of a task's own retry policy."""

    first_delay_seconds: float = strawberry.field(description="The delay before the second attempt.")
    factor: float = strawberry.field(description="By what each further delay is longer than the one before.")
    longest_delay_seconds: float = strawberry.field(description="The longest delay.")
    jitter: bool = strawberry.field(description="Whether each delay is drawn from its upper half.")

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> TaskRetry | None:
        """The delays from their stored form."""
        if stored is None:
            return None
        return cls(
            first_delay_seconds=stored["first_delay"],
            factor=stored["factor"],
            longest_delay_seconds=stored["cap"],
            jitter=stored["jitter"],
        )


@strawberry.type(description="What became of the last hundred runs of a task, none of them older than 30 days.")
class TaskStats:
    """Counts over the latest runs."""

    runs: int = strawberry.field(description="How many runs there are, those included that are not final.")
    succeeded: int = strawberry.field(description="How many of them succeeded.")
    failed: int = strawberry.field(description="How many of them failed, were lost or expired; aborted ones do not.")
    success_rate: float | None = strawberry.field(
        description="The part of those that succeeded or failed that succeeded, 0 to 1; null when there are none."
    )
    average_duration_ms: float | None = strawberry.field(
        description="How long the successful ones took on average, in milliseconds; null when there are none."
    )

    @classmethod
    def of(cls, stats: Stats) -> TaskStats:
        """The counts of one task."""
        return cls(
            runs=stats.runs,
            succeeded=stats.succeeded,
            failed=stats.failed,
            success_rate=stats.success_rate,
            average_duration_ms=stats.average_ms,
        )


@strawberry.type(description="One difference between a revision and the one before it.")
class TaskFieldChange:
    """What a field was, and what it is."""

    field: str = strawberry.field(description="The field, as updateTask calls it.")
    before: JSON | None = strawberry.field(description="What it was; null when it was not set.")
    after: JSON | None = strawberry.field(description="What it is; null when it is not set.")


def called(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a revision by the names that clients have for them, without where they come from."""
    return {CALLED.get(name, name): value for name, value in fields.items() if name not in SOURCES}


@strawberry.type(description="A saved task as it was from one change to the next.")
class TaskRevision:
    """A revision."""

    version: int = strawberry.field(description="Its number, from 1.")
    change: TaskChange = strawberry.field(description="What made it.")
    changed_at: datetime = strawberry.field(description="When.")
    changed_by: Principal = strawberry.field(description="Who.")
    source_version: int | None = strawberry.field(
        description="The version that was restored, or of the task that was copied; else null."
    )
    source_task_id: strawberry.ID | None = strawberry.field(description="The task that was copied; else null.")
    fields: JSON = strawberry.field(description="Everything that people can change of the task, as it was then.")
    task_id: strawberry.Private[UUID]

    @classmethod
    def of(cls, row: Any) -> TaskRevision:
        """The revision from its row."""
        source = row.fields.get("source_task_id")
        return cls(
            version=row.version,
            change=TaskChange(row.change),
            changed_at=row.changed_at,
            changed_by=principal_of(row.changed_by),
            source_version=row.fields.get("source_version"),
            source_task_id=None if source is None else strawberry.ID(source),
            fields=cast("Any", called(row.fields)),
            task_id=row.task_id,
        )

    @strawberry.field(description="What it changed; everything that is set, for the first one.")
    async def changes(self, info: Info) -> list[TaskFieldChange]:
        """The differences to the revision before, which are read together for all revisions of an answer."""
        service = info.context.service.saved
        earlier = (self.task_id, self.version - 1)
        row = await info.context.loaders.at(info, earlier, lambda: service.revisions_at)
        before = called(row.fields) if row else None
        return [TaskFieldChange(**asdict(change)) for change in differences(before, cast("Any", self.fields))]


@strawberry.type(description="A saved task: a named configuration of a definition that somebody owns.")
class Task:
    """A task."""

    id: strawberry.ID = strawberry.field(description="The task's id: a UUID.")
    name: str = strawberry.field(description="What people call it; unique within its group.")
    description: str | None = strawberry.field(description="What it is for, in words.")
    definition_id: strawberry.ID = strawberry.field(description="The id of the definition that it executes.")
    input: JSON = strawberry.field(description="What it is executed with.")
    tags: list[str] = strawberry.field(description="Words to find it by, which its runs get too.")
    group: str | None = strawberry.field(description="The group that it belongs to, as a pipeline.")
    owner: Principal = strawberry.field(description="Whose it is.")
    enabled: bool = strawberry.field(description="Whether it is executed; a disabled one is only by force.")
    priority: int | None = strawberry.field(description="The priority of its runs; null is the definition's.")
    queue: str | None = strawberry.field(description="The queue of its runs; null is the definition's.")
    timeout_seconds: float | None = strawberry.field(
        description="The longest time for one attempt, in seconds; null is the definition's."
    )
    max_attempts: int | None = strawberry.field(
        description="How many attempts each iteration may have; null is the definition's."
    )
    retry: TaskRetry | None = strawberry.field(description="The delays between attempts; null is the definition's.")
    entity_type: str | None = strawberry.field(description="What sort of thing it is about, as in `customer`.")
    entity_id: str | None = strawberry.field(description="Which of these things it is about.")
    entity_url: str | None = strawberry.field(description="Where that thing is found.")
    version: int = strawberry.field(description="The number of its last revision, for updateTask.")
    created_at: datetime = strawberry.field(description="When it was created.")
    created_by: Principal = strawberry.field(description="Who created it.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    updated_by: Principal = strawberry.field(description="Who changed it last.")
    deleted_at: datetime | None = strawberry.field(description="When it was deleted; null while it is there.")
    health: TaskHealth = strawberry.field(description="How it is; follows its runs by a second or two.")
    uuid: strawberry.Private[UUID]
    known: strawberry.Private[Mapping[str, Any]] = strawberry.field(default_factory=dict[str, Any])
    """What ``read_ahead`` found, by field."""

    @classmethod
    def of(cls, row: Any) -> Task:
        """The task from its row with its summary."""
        columns = columns_in(row)
        return cls(
            id=strawberry.ID(str(row.id)),
            uuid=row.id,
            definition_id=strawberry.ID(row.definition_id),
            group=row.group_name,
            owner=principal_of(row.owner),
            enabled=row.is_enabled,
            retry=TaskRetry.of(row.retry),
            created_by=principal_of(row.created_by),
            updated_by=principal_of(row.updated_by),
            health=TaskHealth(health_of(row)),
            **{name: columns[name] for name in SAME},
        )

    @strawberry.field(description="What it executes; null when the definition is no longer published.")
    async def definition(
        self, info: Info
    ) -> Annotated[TaskDefinition, strawberry.lazy("app.schema.definitions")] | None:
        """Loaded together for all tasks of an answer."""
        return await load_definition(info, self.definition_id)

    @strawberry.field(description="Its latest run, as it stands now; null when it never ran.")
    def last_run(self, info: Info) -> TaskRun | None:
        """Loaded together for all tasks of an answer."""
        return self.known["lastRun"] if "lastRun" in self.known else cast("Any", load_last_run(info, self.uuid))

    @strawberry.field(description="What became of its latest runs.")
    async def stats(self, info: Info) -> TaskStats:
        """Counted together for all tasks of an answer."""
        service = info.context.service.saved
        found = await info.context.loaders.at(info, self.uuid, lambda: service.stats)
        return TaskStats.of(found or Stats())

    @strawberry.field(description="Its schedules, oldest first.")
    async def schedules(self, info: Info) -> list[Annotated[Schedule, strawberry.lazy("app.schema.schedules")]]:
        """Loaded together for all tasks of an answer."""
        from app.schema.schedules import Schedule

        rows = await info.context.loaders.at(info, self.uuid, lambda: info.context.service.schedules.of_tasks)
        return [Schedule.of(row) for row in rows]

    @strawberry.field(description="When it runs next by its schedules; null when none of them is active.")
    def next_run_at(self, info: Info) -> datetime | None:
        """Loaded together for all tasks of an answer."""
        return self.known["nextRunAt"] if "nextRunAt" in self.known else cast("Any", load_next_run_at(info, self.uuid))

    @strawberry.field(description="Its revisions, the newest first.")
    async def revisions(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[TaskRevision]:
        """A page of revisions."""
        saved = info.context.service.saved
        page = await saved.revisions(self.uuid, page_args(first, after, last, before))
        total = Total(partial(saved.count_revisions, self.uuid), info.context.loaders.counts.limit)
        return connection(page, TaskRevision.of, total)

    @strawberry.field(description="Its runs, newest first unless ordered otherwise.")
    async def runs(
        self,
        info: Info,
        filter: RunsThatFit = UNSET,
        order_by: RunsInOrder = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskRun]:
        """A page of runs."""
        page = page_args(first, after, last, before)
        return await runs_below(info, "task_id", self.uuid, run_filter(filter), run_order(order_by), page)


async def load_last_run(info: Info, id: UUID) -> TaskRun | None:
    """The latest run of a task, read together with others at this place."""

    def prepare() -> Read:
        return partial(last_runs, info, columns=selected_columns(info))

    return await info.context.loaders.at(info, id, prepare)


async def load_next_run_at(info: Info, id: UUID) -> datetime | None:
    """When a task runs next, read together with others at this place."""
    return await info.context.loaders.at(info, id, lambda: info.context.service.schedules.next_of_tasks)


async def last_runs(info: Info, ids: Collection[UUID], columns: Collection[str]) -> dict[UUID, TaskRun]:
    """The latest run of each of the tasks that ran."""
    pages = await info.context.service.list_each("task_id", ids, None, NEWEST_FIRST, ONE, columns)
    return {id: TaskRun.of(page.items[0]) for id, page in pages.items() if page.items}


async def read_ahead(info: Info, tasks: Collection[Task]) -> None:
    """Read what the connection that this field returns shows of runs and schedules, before each task is asked for it.

    To wait for two values of each of 50 tasks takes longer than all the rest of such a page.
    """
    ids = [task.uuid for task in tasks]
    reads: dict[str, Callable[[], Awaitable[Mapping[UUID, Any]]]] = {
        "lastRun": lambda: last_runs(info, ids, page_columns(info, "lastRun")),
        "nextRunAt": lambda: info.context.service.schedules.next_of_tasks(ids),
    }
    wanted = page_fields(info).intersection(reads) if ids else ()
    found = await asyncio.gather(*(reads[field]() for field in wanted))
    for task in tasks:
        task.known = {field: values.get(task.uuid) for field, values in zip(wanted, found, strict=True)}


async def load_task(info: Info, id: UUID | None, *, deleted: bool = False) -> Task | None:
    """The task of that id, read together with others at this place; None for no id, and for none of that id."""
    if id is None:
        return None
    saved = info.context.service.saved
    row = await info.context.loaders.at(info, id, lambda: partial(saved.find, deleted=deleted))
    return Task.of(row) if row is not None else None


async def load_revision(info: Info, task_id: UUID | None, version: int | None) -> TaskRevision | None:
    """A revision by its task and number, read together with others at this place."""
    if task_id is None or version is None:
        return None
    saved = info.context.service.saved
    row = await info.context.loaders.at(info, (task_id, version), lambda: saved.revisions_at)
    return TaskRevision.of(row) if row is not None else None
