"""``triggerTask``: start a run."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.schema.connections import present
from app.schema.context import Info
from app.schema.refusals import (
    CodeNotLoaded,
    IdempotencyConflict,
    InvalidArgument,
    InvalidTaskInput,
    LimitReached,
    ParentAborted,
    QueueFull,
    ServiceUnavailable,
    TaskDefinitionNotFound,
    TaskRunNotFound,
    TriggerRefused,
    UniqueConflict,
)
from app.schema.runs import TaskRun
from app.schema.task_refusals import CooldownActive
from app.service import TriggerRequest, UniquePolicy

_DURATIONS = {f"{name}_seconds": name for name in ("delay", "timeout", "ttl")}


@strawberry.input(description="What to run, with what, and when. What is left out is as the definition says.")
class TriggerTaskInput:
    """The arguments of a trigger."""

    definition_id: strawberry.ID = strawberry.field(description="The definition to run, as in `checksum-tree`.")
    input: JSON | None = strawberry.field(
        default=UNSET, description="What to run it with: it has to fit the definition's `inputSchema`. Up to 256 KB."
    )
    name: str | None = strawberry.field(
        default=UNSET, description="What people call the run, 1 to 200 characters; by default the definition's title."
    )
    delay_seconds: float | None = strawberry.field(
        default=UNSET, description="Start so many seconds from now, 0 or more. Not together with `startAt`."
    )
    start_at: datetime | None = strawberry.field(
        default=UNSET, description="Start at this time; at once when it has passed. Not together with `delaySeconds`."
    )
    priority: int | None = strawberry.field(
        default=UNSET, description="-1000 to 1000; among due runs the higher goes first."
    )
    tags: list[str] | None = strawberry.field(
        default=UNSET, description="Words to find the run by: up to 50 different ones of 1 to 100 characters."
    )
    queue: str | None = strawberry.field(default=UNSET, description="The queue whose workers may execute it.")
    parent_id: strawberry.ID | None = strawberry.field(
        default=UNSET, description="The run that it belongs to; aborting that one aborts this one too."
    )
    timeout_seconds: float | None = strawberry.field(
        default=UNSET, description="The longest time for one attempt at one iteration, in seconds, above 0."
    )
    max_attempts: int | None = strawberry.field(
        default=UNSET, description="How many attempts each iteration may have, the first included: 1 to 1000."
    )
    ttl_seconds: float | None = strawberry.field(
        default=UNSET, description="The run expires when it has not started so many seconds after its start time."
    )
    idempotency_key: str | None = strawberry.field(
        default=UNSET,
        description="1 to 255 characters. A second trigger with the same key and input returns the first one's run.",
    )
    unique_key: str | None = strawberry.field(
        default=UNSET,
        description="1 to 255 characters. At most one run of the definition that is not final holds the same key.",
    )
    unique_policy: UniquePolicy | None = strawberry.field(
        default=UNSET,
        description="What becomes of the trigger while another run holds its `uniqueKey`; by default REJECT.",
    )


@strawberry.type(description="The trigger is stored: the run will be executed, whatever happens to this server.")
class TriggerTaskSuccess:
    """A run that exists now."""

    run: TaskRun = strawberry.field(description="The run.")
    deduplicated: bool = strawberry.field(
        description="Whether an earlier trigger had made it: with the same idempotency key, or RETURN_EXISTING."
    )


TriggerTaskResult = Annotated[
    TriggerTaskSuccess
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | TaskRunNotFound
    | IdempotencyConflict
    | UniqueConflict
    | LimitReached
    | QueueFull
    | CooldownActive
    | ParentAborted
    | TriggerRefused
    | CodeNotLoaded
    | ServiceUnavailable,
    strawberry.union(
        "TriggerTaskResult",
        description="The run that was triggered, or why none was. ServiceUnavailable comes with triggerTasks only.",
    ),
]


@strawberry.mutation(description="Trigger a run of a definition. When this succeeds, the run is stored.")
async def trigger_task(
    info: Info, input: Annotated[TriggerTaskInput, strawberry.argument(description="What to run, and when.")]
) -> TriggerTaskResult:
    """Hand one request to the service."""
    context = info.context
    triggered = await context.service.submit(request_of(input), principal=context.principal, allow_private=False)
    return TriggerTaskSuccess(run=TaskRun.of(triggered.run), deduplicated=triggered.deduplicated)


def request_of(input: TriggerTaskInput) -> TriggerRequest:
    """The service's request from what a client sent; null is the same as left out."""
    return TriggerRequest(**with_durations(present(input)))


def with_durations(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments as the service names them: durations without their unit, which is the second."""
    return {_DURATIONS.get(name, name): value for name, value in values.items()}
