"""Bulk actions on saved tasks: ``executeTasks``, ``updateTasks`` and ``moveTasks``."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.models import BulkActionKind
from app.schema.batches import BatchInput, batch_options
from app.schema.bulk import BulkAction, BulkActionResult, BulkActionSuccess, BulkPreview
from app.schema.connections import given
from app.schema.context import Info
from app.schema.mutations.bulk_runs import ALL, DRY_RUN
from app.schema.refusals import ConfirmationRequired, InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound
from app.schema.task_filters import TaskFilter, task_question
from app.service.bulk import TaskBulkChanges
from app.service.bulk import TaskSelection as Selection
from app.service.requests import UNSET as NOT_GIVEN

Arguments = strawberry.argument(description="On which tasks, and how.")


@strawberry.input(description="Saved tasks, by their ids or by a filter.", one_of=True)
class TaskSelection:
    """One of two ways to say which tasks."""

    ids: strawberry.Maybe[list[strawberry.ID]] = strawberry.field(description="Tasks of these ids, up to 10,000.")
    filter: strawberry.Maybe[TaskFilter] = strawberry.field(description="Tasks that fit now, up to 10,000.")


@strawberry.input(description="Which tasks to execute, and how.")
class ExecuteTasksInput:
    """The arguments of a bulk execution."""

    select: TaskSelection = strawberry.field(description="Which tasks.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    input: strawberry.Maybe[JSON] = strawberry.field(
        description="Merged into each task's input as a JSON merge patch (RFC 7386): null removes a member."
    )
    tags: list[str] | None = strawberry.field(default=UNSET, description="Words that each run gets besides its task's.")
    priority: int | None = strawberry.field(default=UNSET, description="Another priority, -1000 to 1000.")
    force: bool | None = strawberry.field(
        default=False, description="Whether to execute also those that are disabled, or meant for schedules alone."
    )
    batch: BatchInput | None = strawberry.field(default=UNSET, description="How the batch of the runs is made.")
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


ExecuteTasksResult = Annotated[
    BulkActionSuccess
    | BulkPreview
    | ConfirmationRequired
    | InvalidArgument
    | TaskDefinitionNotFound
    | InvalidTaskInput,
    strawberry.union(
        "ExecuteTasksResult",
        description="The bulk action, what it would do in a dry run, or why there is none. TaskDefinitionNotFound and "
        "InvalidTaskInput are about what should follow the batch.",
    ),
]


@strawberry.mutation(description="Execute many saved tasks, each once, as a batch.")
async def execute_tasks(info: Info, input: Annotated[ExecuteTasksInput, Arguments]) -> ExecuteTasksResult:
    """Hand the wish to the service."""
    selection = selection_of(input.select, input.all)
    if input.dry_run:
        return await _preview(info, BulkActionKind.EXECUTE_TASKS, selection)
    action = await info.context.service.batches.execute(
        selection,
        batch_options(input.batch),
        **_how(input),
        principal=info.context.principal,
        allow_private=False,
    )
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


def _how(input: ExecuteTasksInput) -> dict[str, Any]:
    return {
        "input": input.input.value if input.input else NOT_GIVEN,
        "tags": given(input.tags) or (),
        "priority": given(input.priority),
        "force": input.force is True,
    }


@strawberry.input(description="What is to change of many tasks; what is left out stays as it is.")
class TaskBulkChangesInput:
    """The changes."""

    add_tags: list[str] | None = strawberry.field(default=UNSET, description="Words that each task gets.")
    remove_tags: list[str] | None = strawberry.field(default=UNSET, description="Words that each task loses.")
    group: strawberry.Maybe[str | None] = strawberry.field(description="The group; null is none.")
    owner: strawberry.Maybe[str] = strawberry.field(description="The owner, as `KIND:id`.")
    enabled: strawberry.Maybe[bool] = strawberry.field(description="Whether they are enabled.")
    priority: strawberry.Maybe[int | None] = strawberry.field(description="The priority; null is the definition's.")


@strawberry.input(description="Which tasks to change, and how.")
class UpdateTasksInput:
    """The arguments of a bulk change."""

    select: TaskSelection = strawberry.field(description="Which tasks.")
    changes: TaskBulkChangesInput = strawberry.field(description="What is to change.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(description="Change many saved tasks, each by a revision of its own.")
async def update_tasks(info: Info, input: Annotated[UpdateTasksInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    selection, changes = selection_of(input.select, input.all), changes_of(input.changes)
    if input.dry_run:
        return await _preview(info, BulkActionKind.UPDATE_TASKS, selection)
    action = await info.context.service.bulk.update_tasks(selection, changes, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


@strawberry.input(description="Which tasks to move, and where.")
class MoveTasksInput:
    """The arguments of a move."""

    select: TaskSelection = strawberry.field(description="Which tasks.")
    group: str | None = strawberry.field(description="The group that they belong to from now on; null is none.")
    all: bool | None = strawberry.field(default=False, description=ALL)
    dry_run: bool | None = strawberry.field(default=False, description=DRY_RUN)


@strawberry.mutation(
    description="Move many saved tasks into a group. One whose name is taken there stays, and is told."
)
async def move_tasks(info: Info, input: Annotated[MoveTasksInput, Arguments]) -> BulkActionResult:
    """Hand the wish to the service."""
    selection = selection_of(input.select, input.all)
    if input.dry_run:
        return await _preview(info, BulkActionKind.UPDATE_TASKS, selection)
    action = await info.context.service.bulk.move_tasks(selection, input.group, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))


def selection_of(select: TaskSelection, all: bool | None) -> Selection:
    """The application's selection of tasks."""
    ids = select.ids.value if select.ids else None
    question = task_question(select.filter.value) if select.filter else None
    return Selection(ids=ids, question=question, all=all is True)


def changes_of(source: TaskBulkChangesInput) -> TaskBulkChanges:
    """The application's changes."""
    maybe = {"group": source.group, "owner": source.owner, "is_enabled": source.enabled, "priority": source.priority}
    values: dict[str, Any] = {name: value.value for name, value in maybe.items() if value}
    return TaskBulkChanges(add_tags=given(source.add_tags) or (), remove_tags=given(source.remove_tags) or (), **values)


async def _preview(info: Info, kind: BulkActionKind, selection: Selection) -> BulkPreview:
    total, sample = await info.context.service.bulk.preview_tasks(selection, principal=info.context.principal)
    return BulkPreview.of_tasks(kind, total, sample)


TASK_BULK_MUTATIONS = [execute_tasks, update_tasks, move_tasks]
