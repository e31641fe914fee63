"""Groups of errors as clients see them: failures that have the same cause."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from strawberry import UNSET

from app import error_groups
from app.error_groups import ErrorGroupOrderField
from app.paging import OrderDirection
from app.schema.arguments import given_id
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, given, page_args, present
from app.schema.context import Info
from app.schema.runs import TaskRun, load_definition, load_run
from app.schema.saved_tasks import Task, load_task
from app.schema.vocabulary import describe

if TYPE_CHECKING:
    from app.schema.definitions import TaskDefinition

describe(
    ErrorGroupOrderField,
    "What error groups can be ordered by.",
    {
        "LAST_SEEN": "When a run failed so last.",
        "FIRST_SEEN": "When a run failed so for the first time.",
        "COUNT": "How many runs failed so.",
    },
)


@strawberry.type(description="A saved task whose runs failed in the way of an error group.")
class AffectedTask:
    """A task and how often its runs failed."""

    task_id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The id of the task.")
    count: int = strawberry.field(description="How many of its runs failed so within the last 90 days.")
    last_seen: datetime = strawberry.field(description="When one of them did so last.")

    @strawberry.field(description="The task, which may be deleted.")
    async def task(self, info: Info) -> Task | None:
        """Loaded together for all tasks of an answer."""
        return await load_task(info, self.task_id, deleted=True)


@strawberry.type(
    description="Failures that have the same cause as far as text can tell: the same definition, type of error, "
    "message (without numbers, ids, times, paths and quoted values) and place in the task's code. Runs that are FAILED "
    "or LOST are in one, a second or two after their end; ABORTED and EXPIRED runs are in none."
)
class ErrorGroup:
    """A group of failures, and how many of those that were asked for there are."""

    id: strawberry.ID = strawberry.field(
        description="Its id: 16 hexadecimal digits that stand for definition, type, message and place."
    )
    definition_id: strawberry.ID = strawberry.field(description="The id of the definition whose runs failed.")
    error_type: str = strawberry.field(
        description="The name of the error's type; of LOST runs `WorkerLost` or `MaxInterruptions`."
    )
    message: str = strawberry.field(
        description="The error's message with what differs from run to run replaced, as in `disk <n> is full`."
    )
    place: str | None = strawberry.field(
        description="File and function of the innermost line of the task's own code; null without a traceback."
    )
    count: int = strawberry.field(
        description="How many runs failed so; of those that the list's filter by time or task lets count."
    )
    first_seen: datetime = strawberry.field(description="When the first of them did.")
    last_seen: datetime = strawberry.field(description="When the last of them did.")
    sample_run_id: strawberry.Private[UUID]

    @classmethod
    def of(cls, row: error_groups.CountedGroup) -> ErrorGroup:
        """The group from its row."""
        return cls(
            id=strawberry.ID(row.id),
            definition_id=strawberry.ID(row.definition_id),
            error_type=row.error_type,
            message=row.message,
            place=row.place,
            count=row.count,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            sample_run_id=row.sample_run_id,
        )

    @strawberry.field(description="What its runs execute; null when the definition is no longer published.")
    async def definition(
        self, info: Info
    ) -> Annotated[TaskDefinition, strawberry.lazy("app.schema.definitions")] | None:
        """Loaded together for all groups of an answer."""
        return await load_definition(info, self.definition_id)

    @strawberry.field(
        description="The run that failed so last; null when it was purged. `taskRuns(filter: { errorGroup })` has all."
    )
    async def sample_run(self, info: Info) -> TaskRun | None:
        """Loaded together for all groups of an answer."""
        return await load_run(info, self.sample_run_id)

    @strawberry.field(
        description="The saved tasks whose runs failed so within the last 90 days, up to 20, most failures first."
    )
    async def affected_tasks(self, info: Info) -> list[AffectedTask]:
        """Loaded together for all groups of an answer."""
        errors = info.context.service.errors
        rows = await info.context.loaders.shared("affected tasks", str(self.id), errors.tasks_of)
        return [AffectedTask(task_id=row.task_id, count=row.count, last_seen=row.last_seen) for row in rows]


@strawberry.input(
    description="Which error groups fit, and which of their failures count; everything given must hold, and a list "
    "means any of its values."
)
class ErrorGroupFilter:
    """A condition on groups and on the failures in them."""

    definition_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Of any of these definitions."
    )
    error_types: list[str] | None = strawberry.field(default=UNSET, description="With any of these types of errors.")
    task_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Counting only runs of these saved tasks."
    )
    groups: list[str] | None = strawberry.field(
        default=UNSET, description="Counting only runs of saved tasks that were in any of these groups."
    )
    owners: list[str] | None = strawberry.field(
        default=UNSET, description="Counting only runs of saved tasks that any of these owned, as in `USER:ada`."
    )
    since: datetime | None = strawberry.field(
        default=UNSET,
        description="Counting only failures from the beginning of the hour (of UTC) that this time lies in; the hours "
        "are kept for 90 days.",
    )
    until: datetime | None = strawberry.field(
        default=UNSET, description="Counting only failures up to the end of the hour (of UTC) that this time lies in."
    )


@strawberry.input(description="The order of a list of error groups.")
class ErrorGroupOrder:
    """An order of groups."""

    field: ErrorGroupOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Which end comes first.")


def group_filter(source: ErrorGroupFilter | None) -> error_groups.ErrorGroupFilter:
    """The application's filter of groups. Raises ``InvalidArgument`` for an id that is no UUID."""
    values: dict[str, Any] = present(source) if given(source) else {}
    if "task_ids" in values:
        values["task_ids"] = [given_id(id, "filter", "taskIds") for id in values["task_ids"]]
    return error_groups.ErrorGroupFilter(**values)


def group_order(source: ErrorGroupOrder | None) -> error_groups.ErrorGroupOrder:
    """The application's order of groups; those seen last first by default."""
    return error_groups.ErrorGroupOrder(source.field, source.direction) if source else error_groups.ErrorGroupOrder()


async def load_error_group(info: Info, id: str | None) -> ErrorGroup | None:
    """The group of that id, read together with others; None for no id, and for none of that id."""
    if id is None:
        return None
    row = await info.context.loaders.shared("error groups", id, info.context.service.errors.find)
    return ErrorGroup.of(row) if row is not None else None


@strawberry.type
class ErrorGroupQueries:
    """What can be read of failures."""

    @strawberry.field(description="One error group with all of its failures; null when there is none of that id.")
    async def error_group(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the group.")]
    ) -> ErrorGroup | None:
        """A group by its id."""
        return await load_error_group(info, id)

    @strawberry.field(description="Failures by their cause, those seen last first unless ordered otherwise.")
    async def error_groups(
        self,
        info: Info,
        filter: Annotated[
            ErrorGroupFilter | None, strawberry.argument(description="Only groups and failures that fit.")
        ] = UNSET,
        order_by: Annotated[
            ErrorGroupOrder | None,
            strawberry.argument(description="The order; by default those seen last first."),
        ] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[ErrorGroup]:
        """A page of groups."""
        errors, chosen = info.context.service.errors, group_filter(filter)
        page = await errors.groups(chosen, group_order(given(order_by)), page_args(first, after, last, before))
        return connection(page, ErrorGroup.of, Total(partial(errors.count, chosen), info.context.loaders.counts.limit))
