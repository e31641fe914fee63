"""``abortTask``: stop a run at its next checkpoint."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import UNSET

from app.schema.connections import given
from app.schema.context import Info
from app.schema.refusals import InvalidArgument, TaskRunNotAbortable, TaskRunNotFound
from app.schema.runs import TaskRun


@strawberry.input(description="Which run to abort, and how.")
class AbortTaskInput:
    """The arguments of an abort."""

    id: strawberry.ID = strawberry.field(description="The id of the run.")
    message: str | None = strawberry.field(default=UNSET, description="Why, for whoever looks at the run later.")
    cascade: bool | None = strawberry.field(
        default=True, description="Whether its children, and theirs, are aborted too."
    )
    force: bool | None = strawberry.field(
        default=False, description="Whether to end it without waiting for its next checkpoint."
    )


@strawberry.type(description="The abort is stored: no new attempt of the run will start.")
class AbortTaskSuccess:
    """A run that is aborted, or will be at its next checkpoint."""

    run: TaskRun = strawberry.field(
        description="The run: ABORTED when no worker held it, else ABORTING until it reaches its next checkpoint."
    )


AbortTaskResult = Annotated[
    AbortTaskSuccess | TaskRunNotFound | TaskRunNotAbortable | InvalidArgument,
    strawberry.union("AbortTaskResult", description="The run that is being aborted, or why it is not."),
]


@strawberry.mutation(description="Abort a run: at once while no worker holds it, else at its next checkpoint.")
async def abort_task(
    info: Info, input: Annotated[AbortTaskInput, strawberry.argument(description="Which run, and how.")]
) -> AbortTaskResult:
    """Hand the wish to the service."""
    run = await info.context.service.abort(
        input.id,
        message=given(input.message),
        cascade=input.cascade is not False,
        force=input.force is True,
        principal=info.context.principal,
    )
    return AbortTaskSuccess(run=TaskRun.of(run))
