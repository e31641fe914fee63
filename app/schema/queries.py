"""The queries: what can be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.schema.arguments import run_uuid
from app.schema.audit import AuditQueries
from app.schema.batches import BatchQueries
from app.schema.bulk import BulkQueries
from app.schema.children import logs_of
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, page_args
from app.schema.context import Info
from app.schema.definitions import TaskDefinition
from app.schema.error_groups import ErrorGroupQueries
from app.schema.filters import (
    RunsThatFit,
    TaskDefinitionFilter,
    TaskLogFilter,
    TaskRunOrder,
    definition_filter,
    log_filter,
    run_filter,
    run_order,
)
from app.schema.logs import TaskLog
from app.schema.principals import Viewer, principal_of
from app.schema.refusals import InputIssue, InvalidArgument, TaskDefinitionNotFound, issues
from app.schema.retention import RetentionQueries
from app.schema.run_statistics import StatisticsQueries
from app.schema.runs import TaskRun, load_definition, load_run
from app.schema.saved_searches import SavedSearchQueries
from app.schema.schedules import ScheduleQueries
from app.schema.selection import page_columns
from app.schema.task_queries import SavedTaskQueries
from app.schema.transfer import TransferQueries
from app.schema.worker import Worker
from app.version import VERSION

RunId = Annotated[
    strawberry.ID, strawberry.argument(description="The id of the run: a UUID, as triggerTask returned it.")
]
DefinitionId = Annotated[strawberry.ID, strawberry.argument(description="The id of the definition: a slug.")]


@strawberry.type(description="The input was checked; nothing was stored.")
class ValidateTaskInputSuccess:
    """What a trigger with this input would find."""

    is_valid: bool = strawberry.field(description="Whether the definition takes this input.")
    issues: list[InputIssue] = strawberry.field(description="What is wrong with it, up to 20 issues.")


ValidateTaskInputResult = Annotated[
    ValidateTaskInputSuccess | TaskDefinitionNotFound | InvalidArgument,
    strawberry.union("ValidateTaskInputResult", description="What is wrong with an input, or why it was not checked."),
]


@strawberry.type(description="What can be read.")
class Query(
    AuditQueries,
    BatchQueries,
    BulkQueries,
    ErrorGroupQueries,
    RetentionQueries,
    SavedSearchQueries,
    SavedTaskQueries,
    ScheduleQueries,
    TransferQueries,
    StatisticsQueries,
):
    """The root of all queries."""

    @strawberry.field(description="Who is asking, and the version of the server.")
    def viewer(self, info: Info) -> Viewer:
        """The principal of this request."""
        return Viewer(principal=principal_of(str(info.context.principal)), is_anonymous=True, version=VERSION)

    @strawberry.field(description="One task definition; null when none of that id is published.")
    async def task_definition(self, info: Info, id: DefinitionId) -> TaskDefinition | None:
        """A definition by its id, private ones included."""
        return await load_definition(info, id)

    @strawberry.field(description="The task definitions that can be triggered, ordered by id.")
    async def task_definitions(
        self,
        info: Info,
        filter: Annotated[
            TaskDefinitionFilter | None, strawberry.argument(description="Only definitions that fit.")
        ] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskDefinition]:
        """A page of definitions."""
        service, chosen = info.context.service, definition_filter(filter)
        page = await service.definitions(chosen, page_args(first, after, last, before))
        return connection(page, TaskDefinition.of, top(info, partial(service.count_definitions, chosen)))

    @strawberry.field(
        description="One run; null when there is none of that id. Text that is no UUID is refused (BAD_USER_INPUT)."
    )
    async def task_run(self, info: Info, id: RunId) -> TaskRun | None:
        """A run by its id."""
        return await load_run(info, run_uuid(id, "id"))

    @strawberry.field(description="All runs, newest first unless ordered otherwise.")
    async def task_runs(
        self,
        info: Info,
        filter: RunsThatFit = UNSET,
        order_by: Annotated[
            TaskRunOrder | None, strawberry.argument(description="The order; by creation, newest first, by default.")
        ] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskRun]:
        """A page of runs."""
        service, chosen = info.context.service, run_filter(filter)
        args = page_args(first, after, last, before)
        page = await service.list(chosen, run_order(order_by), args, page_columns(info))
        return connection(page, TaskRun.of, top(info, partial(service.count, chosen)))

    @strawberry.field(description="The log lines of one run, in order.")
    async def task_logs(
        self,
        info: Info,
        filter: Annotated[TaskLogFilter, strawberry.argument(description="Of which run, and of what kind.")],
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskLog]:
        """A page of lines; a run that does not exist is refused, instead of having no lines."""
        run_id = run_uuid(filter.run_id, "filter", "runId")
        lines = await logs_of(info, run_id, log_filter(filter), page_args(first, after, last, before))
        if not lines.nodes:
            await info.context.service.get(run_id)
        return lines

    @strawberry.field(description="Check an input against a definition's schema, without triggering anything.")
    async def validate_task_input(
        self,
        info: Info,
        definition_id: DefinitionId,
        input: Annotated[JSON, strawberry.argument(description="The input to check.")],
    ) -> ValidateTaskInputResult:
        """A dry run of a trigger's check."""
        found = await info.context.service.validate(definition_id, input, allow_private=False)
        return ValidateTaskInputSuccess(is_valid=not found, issues=issues(found))

    @strawberry.field(description="The workers that are alive, those that started first at the top.")
    async def workers(self, info: Info) -> list[Worker]:
        """All live workers."""
        return [Worker.of(row) for row in await info.context.service.workers()]


def top(info: Info, count: Callable[[], Awaitable[int]]) -> Total:
    """The total of a list at the root of a query."""
    return Total(count, info.context.loaders.counts.limit)
