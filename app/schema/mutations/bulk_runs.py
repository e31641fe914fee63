"""Bulk actions on runs: ``abortTasks``, ``rerunTasks``, ``deleteTaskRuns``, ``stopAllTasks``, ``clearExecutions``,
``abortBulkAction``, and ``abortBatch``."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import UNSET

from app.models import BulkActionKind
from app.run_filters import RunFilter
from app.schema.bulk import BulkAction, BulkActionResult, BulkActionSuccess, BulkPreview
from app.schema.connections import given
from app.schema.context import Info
from app.schema.filters import TaskRunFilter, run_filter
from app.schema.mutations.rerun_task import RerunFrom
from app.schema.refusals import BatchNotAbortable, BatchNotFound, BulkActionNotAbortable, BulkActionNotFound
from app.service.bulk import RunSelection

Arguments = strawberry.argument(description="On which runs, and how.")


@strawberry.input(description="Runs, by their ids or by a filter.", one_of=True)
class TaskRunSelection:
    """One of two ways to say which runs."""

    ids: strawberry.Maybe[list[strawberry.ID]] = strawberry.field(description="Runs of these ids, up to 10,000.")
    filter: strawberry.Maybe[TaskRunFilter] = strawberry.field(
        description="Runs that fit now; what is triggered later is not touched."
    )


ALL = "Says that a filter which every run fits is meant as it is."
DRY_RUN = "Only say what would be done, and do nothing."


@strawberry.input(description="Which runs to abort, and how.")
class AbortTasksInput:
    """The arguments of a bulk abort."""

    select: TaskRunSelection = strawberry.field(description="Which runs; of a filter only those that are not final.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    message: str | None = strawberry.field(default=UNSET, description="Why, for whoever looks at the runs later.")
    cascade: bool | None = strawberry.field(
        default=True, description="Whether their children, and theirs, are aborted too."
    )
    force: bool | None = strawberry.field(
        default=False, description="Whether to end them without waiting for their next checkpoint."
    )
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(description="Abort many runs. Those that a worker holds stop at their next checkpoint.")
async def abort_tasks(info: Info, input: Annotated[AbortTasksInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    bulk, selection = info.context.service.bulk, selection_of(input.select, input.all)
    if input.dry_run:
        return BulkPreview.of(await bulk.preview(BulkActionKind.ABORT_RUNS, selection))
    action = await bulk.abort_runs(
        selection,
        message=given(input.message),
        cascade=input.cascade is not False,
        force=input.force is True,
        principal=info.context.principal,
    )
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Which runs to run again, and how.")
class RerunTasksInput:
    """The arguments of a bulk rerun."""

    select: TaskRunSelection = strawberry.field(description="Which runs.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    from_: RerunFrom | None = strawberry.field(
        name="from", default=RerunFrom.START, description="Where the new runs begin."
    )
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(description="Run many runs again, each once: new runs with `rerunOf` set.")
async def rerun_tasks(info: Info, input: Annotated[RerunTasksInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    bulk, selection = info.context.service.bulk, selection_of(input.select, input.all)
    if input.dry_run:
        return BulkPreview.of(await bulk.preview(BulkActionKind.RERUN_RUNS, selection))
    start = input.from_ or RerunFrom.START
    action = await bulk.rerun_runs(selection, from_=start, principal=info.context.principal, allow_private=False)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Which final runs to delete.")
class DeleteTaskRunsInput:
    """The arguments of a bulk deletion."""

    select: TaskRunSelection = strawberry.field(description="Which runs; of a filter only those that are final.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(
    description="Delete final runs with their logs and iterations. Pinned runs, and those that a live run may still "
    "look at, stay."
)
async def delete_task_runs(info: Info, input: Annotated[DeleteTaskRunsInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    bulk, selection = info.context.service.bulk, selection_of(input.select, input.all)
    if input.dry_run:
        return BulkPreview.of(await bulk.preview(BulkActionKind.DELETE_RUNS, selection))
    action = await bulk.delete_runs(selection, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Whether stopping everything is meant, and how.")
class StopAllTasksInput:
    """The arguments of a full stop."""

    confirm: str | None = strawberry.field(
        default=UNSET, description='"stop all tasks", to say that this is meant; not needed for a dry run.'
    )
    message: str | None = strawberry.field(default=UNSET, description="Why, for whoever looks at the runs later.")
    force: bool | None = strawberry.field(
        default=False, description="Whether to end the runs without waiting for their next checkpoint."
    )
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(
    description="Abort every run that is not final, those with a start time ahead included, and end all other bulk "
    "actions. Tasks, schedules and configurations stay."
)
async def stop_all_tasks(info: Info, input: Annotated[StopAllTasksInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    bulk = info.context.service.bulk
    if input.dry_run:
        return BulkPreview.of(await bulk.preview(BulkActionKind.STOP_ALL))
    action = await bulk.stop_all(
        confirm=given(input.confirm) or "",
        message=given(input.message),
        force=input.force is True,
        principal=info.context.principal,
    )
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Whether clearing is meant, and of which runs.")
class ClearExecutionsInput:
    """The arguments of clearing."""

    confirm: str | None = strawberry.field(
        default=UNSET, description='"clear executions", to say that this is meant; not needed for a dry run.'
    )
    filter: TaskRunFilter | None = strawberry.field(default=UNSET, description="Only runs that fit; all without it.")
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(description="Delete all final runs with their logs, or those that fit a filter. Live runs stay.")
async def clear_executions(info: Info, input: Annotated[ClearExecutionsInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    bulk, filter = info.context.service.bulk, run_filter(input.filter)
    if input.dry_run:
        selection = RunSelection(filter=filter or RunFilter(), all=True)
        return BulkPreview.of(await bulk.preview(BulkActionKind.CLEAR_EXECUTIONS, selection))
    confirm = given(input.confirm) or ""
    action = await bulk.clear_executions(confirm=confirm, filter=filter, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Which bulk action to abort.")
class AbortBulkActionInput:
    """The arguments of the abort of a bulk action."""

    id: strawberry.ID = strawberry.field(description="The id of the bulk action.")


AbortBulkActionResult = Annotated[
    BulkActionSuccess | BulkActionNotFound | BulkActionNotAbortable,
    strawberry.union("AbortBulkActionResult", description="The bulk action that was ended, or why it was not."),
]


@strawberry.mutation(description="End a bulk action where it is: what it has done stays done.")
async def abort_bulk_action(
    info: Info, input: Annotated[AbortBulkActionInput, strawberry.argument(description="Which bulk action.")]
) -> AbortBulkActionResult:
    """Hand the wish to the service."""
    action = await info.context.service.bulk.abort(input.id, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Which batch to abort.")
class AbortBatchInput:
    """The arguments of the abort of a batch."""

    id: strawberry.ID = strawberry.field(description="The id of the batch.")


AbortBatchResult = Annotated[
    BulkActionSuccess | BatchNotFound | BatchNotAbortable,
    strawberry.union("AbortBatchResult", description="The bulk action that aborts the runs, or why there is none."),
]


@strawberry.mutation(description="Abort the runs of a batch that are not final; what would follow the batch does not.")
async def abort_batch(
    info: Info, input: Annotated[AbortBatchInput, strawberry.argument(description="Which batch.")]
) -> AbortBatchResult:
    """Hand the wish to the service."""
    action = await info.context.service.batches.abort(input.id, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


def selection_of(select: TaskRunSelection, all: bool | None) -> RunSelection:
    """The application's selection of runs."""
    ids = select.ids.value if select.ids else None
    filter = run_filter(select.filter.value) if select.filter else None
    return RunSelection(ids=ids, filter=filter, all=all is True)


BULK_MUTATIONS = [
    abort_batch,
    abort_tasks,
    rerun_tasks,
    delete_task_runs,
    stop_all_tasks,
    clear_executions,
    abort_bulk_action,
]
