"""``triggerTasks``: start many runs at once."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import UNSET

from app.errors import TaskError
from app.schema.batches import Batch, BatchInput, batch_options
from app.schema.context import Info
from app.schema.mutations.trigger_task import TriggerTaskInput, TriggerTaskResult, TriggerTaskSuccess, request_of
from app.schema.refusals import InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound, as_data
from app.schema.runs import TaskRun
from app.service import Triggered


@strawberry.input(description="Many runs to trigger.")
class TriggerTasksInput:
    """The arguments of a bulk trigger."""

    tasks: list[TriggerTaskInput] = strawberry.field(description="What to run: 1 to 10,000 items.")
    batch: BatchInput | None = strawberry.field(default=UNSET, description="How the batch of these runs is made.")


@strawberry.type(description="Every item was looked at; each has a result of its own.")
class TriggerTasksSuccess:
    """What became of each item."""

    results: list[TriggerTaskResult] = strawberry.field(
        description="The result of each item, in the order of the input. A refused item refuses none of the others."
    )
    batch: Batch = strawberry.field(description="The batch that the new runs belong to.")


TriggerTasksResult = Annotated[
    TriggerTasksSuccess | InvalidArgument | TaskDefinitionNotFound | InvalidTaskInput,
    strawberry.union("TriggerTasksResult", description="The results of a bulk trigger, or why it was not begun."),
]


@strawberry.mutation(description="Trigger up to 10,000 runs at once; one bad item refuses none of the others.")
async def trigger_tasks(
    info: Info, input: Annotated[TriggerTasksInput, strawberry.argument(description="What to run.")]
) -> TriggerTasksResult:
    """Hand all requests to the service together."""
    context = info.context
    requests = [request_of(task) for task in input.tasks]
    batch, results = await context.service.batches.trigger(
        requests, batch_options(input.batch), principal=context.principal, allow_private=False
    )
    each = [_result(position, result) for position, result in enumerate(results)]
    return TriggerTasksSuccess(results=each, batch=Batch.of(batch))


def _result(position: int, result: Triggered | TaskError) -> TriggerTaskResult:
    if isinstance(result, TaskError):
        return as_data(result, below=("input", "tasks", str(position)))  # pyright: ignore[reportReturnType]
    return TriggerTaskSuccess(run=TaskRun.of(result.run), deduplicated=result.deduplicated)
