"""``executeTask``: run a saved task, as it is or a little differently."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.schema.connections import present
from app.schema.context import Info
from app.schema.mutations.trigger_task import TriggerTaskSuccess, with_durations
from app.schema.refusals import (
    CodeNotLoaded,
    IdempotencyConflict,
    InvalidArgument,
    InvalidTaskInput,
    LimitReached,
    QueueFull,
    TaskDefinitionNotFound,
    TriggerRefused,
    UniqueConflict,
)
from app.schema.runs import TaskRun
from app.schema.task_refusals import CooldownActive, TaskDisabled, TaskNotFound
from app.service import UniquePolicy
from app.service.executing import Overrides


@strawberry.input(description="Which task to execute, and what this run does otherwise than the task says.")
class ExecuteTaskInput:
    """The arguments of an execution."""

    id: strawberry.ID = strawberry.field(description="The id of the task.")
    input: strawberry.Maybe[JSON] = strawberry.field(
        description="Merged into the task's input as a JSON merge patch (RFC 7386): null removes a member."
    )
    replace_input: bool | None = strawberry.field(
        default=False, description="Whether `input` takes the place of the task's input instead."
    )
    name: str | None = strawberry.field(default=UNSET, description="What people call the run.")
    tags: list[str] | None = strawberry.field(default=UNSET, description="Words that it gets besides the task's.")
    priority: int | None = strawberry.field(default=UNSET, description="Another priority.")
    queue: str | None = strawberry.field(default=UNSET, description="Another queue.")
    timeout_seconds: float | None = strawberry.field(default=UNSET, description="Another timeout.")
    max_attempts: int | None = strawberry.field(default=UNSET, description="Another number of attempts.")
    delay_seconds: float | None = strawberry.field(default=UNSET, description="Start so many seconds from now.")
    start_at: datetime | None = strawberry.field(default=UNSET, description="Start at this time.")
    ttl_seconds: float | None = strawberry.field(
        default=UNSET, description="The run expires when it has not started so many seconds after its start time."
    )
    idempotency_key: str | None = strawberry.field(
        default=UNSET, description="A second execution with the same key and input returns the first one's run."
    )
    unique_key: str | None = strawberry.field(
        default=UNSET,
        description="1 to 255 characters. At most one run of the definition that is not final holds the same key.",
    )
    unique_policy: UniquePolicy | None = strawberry.field(
        default=UNSET,
        description="What becomes of the execution while another run holds its `uniqueKey`; by default REJECT.",
    )
    force: bool | None = strawberry.field(
        default=False, description="Whether to execute it also when it is disabled, or meant for schedules alone."
    )


ExecuteTaskResult = Annotated[
    TriggerTaskSuccess
    | TaskNotFound
    | TaskDisabled
    | CooldownActive
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | IdempotencyConflict
    | UniqueConflict
    | LimitReached
    | QueueFull
    | TriggerRefused
    | CodeNotLoaded,
    strawberry.union("ExecuteTaskResult", description="The run of the task, or why there is none."),
]


@strawberry.mutation(description="Run a saved task. When this succeeds, the run is stored.")
async def execute_task(
    info: Info, input: Annotated[ExecuteTaskInput, strawberry.argument(description="Which task, and how.")]
) -> ExecuteTaskResult:
    """Hand the wish to the service."""
    context, force = info.context, input.force is True
    triggered = await context.service.saved.execute(
        input.id, overrides_of(input), force=force, principal=context.principal
    )
    return TriggerTaskSuccess(run=TaskRun.of(triggered.run), deduplicated=triggered.deduplicated)


def overrides_of(input: ExecuteTaskInput) -> Overrides:
    """The service's overrides from what a client sent; null is the same as left out, but for the input."""
    values = present(input)
    values.pop("id")
    values.pop("force", None)
    values["replace_input"] = input.replace_input is True
    if "input" in values:
        values["input"] = values["input"].value
    return Overrides(**with_durations(values))
