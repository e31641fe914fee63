"""``createTask``, ``updateTask``, ``deleteTask``, ``duplicateTask``, ``restoreTaskRevision``: the tasks people own."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.retry import RetryDelays
from app.schema.connections import given, present
from app.schema.context import Info
from app.schema.refusals import InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound
from app.schema.saved_tasks import Task
from app.schema.task_refusals import TaskConflict, TaskNameTaken, TaskNotFound, TaskRevisionNotFound
from app.service.task_fields import TaskChanges, TaskFields


@strawberry.input(description="The delays of a saved task's own retry policy.")
class TaskRetryInput:
    """Delays between attempts."""

    first_delay_seconds: float = strawberry.field(default=1.0, description="The delay before the second attempt.")
    factor: float = strawberry.field(default=2.0, description="By what each further delay is longer, 1 to 100.")
    longest_delay_seconds: float = strawberry.field(default=300.0, description="The longest delay.")
    jitter: bool = strawberry.field(default=True, description="Whether each delay is drawn from its upper half.")

    def delays(self) -> RetryDelays:
        """The application's delays."""
        return RetryDelays(
            first_delay=self.first_delay_seconds,
            factor=self.factor,
            cap=self.longest_delay_seconds,
            jitter=self.jitter,
        )


@strawberry.input(description="A new saved task. What is left out is as the definition says.")
class CreateTaskInput:
    """The fields of a new task."""

    name: str = strawberry.field(description="What people call it, 1 to 200 characters, unique within its group.")
    definition_id: strawberry.ID = strawberry.field(description="The definition that it executes.")
    description: str | None = strawberry.field(default=UNSET, description="What it is for, up to 10,000 characters.")
    input: JSON | None = strawberry.field(default=UNSET, description="What it is executed with.")
    tags: list[str] | None = strawberry.field(default=UNSET, description="Up to 50 words, which its runs get too.")
    group: str | None = strawberry.field(default=UNSET, description="The group that it belongs to, as a pipeline.")
    owner: str | None = strawberry.field(default=UNSET, description="Whose it is, as `USER:ada`; yours by default.")
    enabled: bool | None = strawberry.field(default=UNSET, description="Whether it is executed; it is by default.")
    priority: int | None = strawberry.field(default=UNSET, description="The priority of its runs, -1000 to 1000.")
    queue: str | None = strawberry.field(default=UNSET, description="The queue of its runs.")
    timeout_seconds: float | None = strawberry.field(default=UNSET, description="The longest time for one attempt.")
    max_attempts: int | None = strawberry.field(default=UNSET, description="Attempts for each iteration, 1 to 1000.")
    retry: TaskRetryInput | None = strawberry.field(default=UNSET, description="The delays between attempts.")
    entity_type: str | None = strawberry.field(default=UNSET, description="What sort of thing it is about.")
    entity_id: str | None = strawberry.field(default=UNSET, description="Which of these things it is about.")
    entity_url: str | None = strawberry.field(default=UNSET, description="Where that thing is found.")


@strawberry.input(description="What is to change of a saved task; what is left out stays, null goes back to nothing.")
class UpdateTaskInput:
    """The changes of a task."""

    id: strawberry.ID = strawberry.field(description="The id of the task.")
    version: int = strawberry.field(description="The version that the change is made for, as it was read.")
    name: strawberry.Maybe[str] = strawberry.field(description="Another name.")
    definition_id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="Another definition.")
    description: strawberry.Maybe[str | None] = strawberry.field(description="Another description.")
    input: strawberry.Maybe[JSON | None] = strawberry.field(description="Another input, which replaces the old one.")
    tags: strawberry.Maybe[list[str]] = strawberry.field(description="Other tags.")
    group: strawberry.Maybe[str | None] = strawberry.field(description="Another group.")
    owner: strawberry.Maybe[str] = strawberry.field(description="Another owner, as `USER:ada`.")
    enabled: strawberry.Maybe[bool] = strawberry.field(description="Whether it is executed.")
    priority: strawberry.Maybe[int | None] = strawberry.field(description="Another priority.")
    queue: strawberry.Maybe[str | None] = strawberry.field(description="Another queue.")
    timeout_seconds: strawberry.Maybe[float | None] = strawberry.field(description="Another timeout.")
    max_attempts: strawberry.Maybe[int | None] = strawberry.field(description="Another number of attempts.")
    retry: strawberry.Maybe[TaskRetryInput | None] = strawberry.field(description="Other delays between attempts.")
    entity_type: strawberry.Maybe[str | None] = strawberry.field(description="Another sort of thing.")
    entity_id: strawberry.Maybe[str | None] = strawberry.field(description="Another thing.")
    entity_url: strawberry.Maybe[str | None] = strawberry.field(description="Another place of the thing.")


@strawberry.input(description="Which task to delete.")
class DeleteTaskInput:
    """The arguments of a deletion."""

    id: strawberry.ID = strawberry.field(description="The id of the task.")
    version: int | None = strawberry.field(default=UNSET, description="Refuse when it is not at this version any more.")


@strawberry.input(description="Which task to copy.")
class DuplicateTaskInput:
    """The arguments of a copy."""

    id: strawberry.ID = strawberry.field(description="The id of the task.")
    name: str | None = strawberry.field(
        default=UNSET,
        description="The name of the copy; by default that of the task with `(copy)`, `(copy 2)` and so on.",
    )


@strawberry.input(description="Which revision of a task to go back to.")
class RestoreTaskRevisionInput:
    """The arguments of a restoration."""

    id: strawberry.ID = strawberry.field(description="The id of the task, which may be deleted: it comes back.")
    revision: int = strawberry.field(description="The number of the revision.")
    version: int | None = strawberry.field(default=UNSET, description="Refuse when it is not at this version any more.")


@strawberry.type(description="The task is stored, with a revision that says what was done.")
class SaveTaskSuccess:
    """A task as it stands now."""

    task: Task = strawberry.field(description="The task.")


@strawberry.type(description="The task is deleted; its runs and revisions stay.")
class DeleteTaskSuccess:
    """A task that is gone."""

    id: strawberry.ID = strawberry.field(description="The id of the task that was deleted.")


CreateTaskResult = Annotated[
    SaveTaskSuccess | TaskDefinitionNotFound | InvalidTaskInput | InvalidArgument | TaskNameTaken,
    strawberry.union("CreateTaskResult", description="The new task, or why there is none."),
]
UpdateTaskResult = Annotated[
    SaveTaskSuccess
    | TaskNotFound
    | TaskConflict
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | TaskNameTaken,
    strawberry.union("UpdateTaskResult", description="The task as it is now, or why it was not changed."),
]
DeleteTaskResult = Annotated[
    DeleteTaskSuccess | TaskNotFound | TaskConflict,
    strawberry.union("DeleteTaskResult", description="What was deleted, or why nothing was."),
]
DuplicateTaskResult = Annotated[
    SaveTaskSuccess | TaskNotFound | TaskDefinitionNotFound | InvalidTaskInput | InvalidArgument | TaskNameTaken,
    strawberry.union("DuplicateTaskResult", description="The copy, or why there is none."),
]
RestoreTaskRevisionResult = Annotated[
    SaveTaskSuccess
    | TaskNotFound
    | TaskRevisionNotFound
    | TaskConflict
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | TaskNameTaken,
    strawberry.union("RestoreTaskRevisionResult", description="The task as it is now, or why it was not restored."),
]


@strawberry.mutation(description="Save a task: a named configuration of a definition.")
async def create_task(
    info: Info, input: Annotated[CreateTaskInput, strawberry.argument(description="What it is.")]
) -> CreateTaskResult:
    """Hand the fields to the service."""
    fields: Any = TaskFields(**_fields(present(input)))
    task = await info.context.service.saved.create(fields, principal=info.context.principal, allow_private=False)
    return SaveTaskSuccess(task=Task.of(task))


@strawberry.mutation(description="Change a task, unless somebody else has changed it since it was read.")
async def update_task(
    info: Info, input: Annotated[UpdateTaskInput, strawberry.argument(description="Which task, and what changes.")]
) -> UpdateTaskResult:
    """Hand what was given to the service."""
    values = {name: value.value for name, value in vars(input).items() if _is_given(value)}
    changes = TaskChanges(**_fields(values))
    context = info.context
    task = await context.service.saved.update(
        input.id, input.version, changes, principal=context.principal, allow_private=False
    )
    return SaveTaskSuccess(task=Task.of(task))


@strawberry.mutation(description="Delete a task; its runs and revisions stay.")
async def delete_task(
    info: Info, input: Annotated[DeleteTaskInput, strawberry.argument(description="Which task.")]
) -> DeleteTaskResult:
    """Hand the wish to the service."""
    context = info.context
    id = await context.service.saved.delete(input.id, version=given(input.version), principal=context.principal)
    return DeleteTaskSuccess(id=strawberry.ID(str(id)))


@strawberry.mutation(description="Save a copy of a task, which is yours and has no runs.")
async def duplicate_task(
    info: Info, input: Annotated[DuplicateTaskInput, strawberry.argument(description="Which task.")]
) -> DuplicateTaskResult:
    """Hand the wish to the service."""
    context = info.context
    task = await context.service.saved.duplicate(input.id, name=given(input.name), principal=context.principal)
    return SaveTaskSuccess(task=Task.of(task))


@strawberry.mutation(description="Make a task again what it was at an earlier revision, as a new revision.")
async def restore_task_revision(
    info: Info, input: Annotated[RestoreTaskRevisionInput, strawberry.argument(description="Which task, and where to.")]
) -> RestoreTaskRevisionResult:
    """Hand the wish to the service."""
    context, version = info.context, given(input.version)
    task = await context.service.saved.restore(input.id, input.revision, version=version, principal=context.principal)
    return SaveTaskSuccess(task=Task.of(task))


def _is_given(value: Any) -> bool:
    return isinstance(value, strawberry.Some)


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """What was given, as the service calls it."""
    found = {_CALLED.get(name, name): value for name, value in values.items()}
    if found.get("retry") is not None:
        found["retry"] = found["retry"].delays()
    return found


_CALLED = {"enabled": "is_enabled", "timeout_seconds": "timeout"}

MUTATIONS = [create_task, update_task, delete_task, duplicate_task, restore_task_revision]
