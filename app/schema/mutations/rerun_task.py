"""``rerunTask``: run something again, as it was or with another input."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.schema.context import Info
from app.schema.refusals import (
    CodeNotLoaded,
    InvalidArgument,
    InvalidTaskInput,
    LimitReached,
    ParentAborted,
    QueueFull,
    TaskDefinitionNotFound,
    TaskRunNotFinal,
    TaskRunNotFound,
    TriggerRefused,
    UniqueConflict,
)
from app.schema.runs import TaskRun
from app.schema.task_refusals import CooldownActive
from app.schema.vocabulary import describe
from app.service import UNSET, RerunFrom

describe(
    RerunFrom,
    "Where a rerun begins.",
    {
        "START": "At the start, with nothing saved.",
        "LAST_STATE": "From the state that the earlier run saved last; that run has to be final.",
    },
)


@strawberry.input(description="Which run to run again, and how.")
class RerunTaskInput:
    """The arguments of a rerun."""

    id: strawberry.ID = strawberry.field(description="The id of the earlier run.")
    input: strawberry.Maybe[JSON | None] = strawberry.field(
        description="Another input; the earlier run's when left out."
    )
    from_: RerunFrom | None = strawberry.field(
        name="from", default=RerunFrom.START, description="Where the new run begins."
    )


@strawberry.type(description="The rerun is stored: a new run with `rerunOf` set.")
class RerunTaskSuccess:
    """A new run."""

    run: TaskRun = strawberry.field(description="The new run.")


RerunTaskResult = Annotated[
    RerunTaskSuccess
    | TaskRunNotFound
    | TaskRunNotFinal
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | UniqueConflict
    | LimitReached
    | QueueFull
    | CooldownActive
    | ParentAborted
    | TriggerRefused
    | CodeNotLoaded,
    strawberry.union("RerunTaskResult", description="The new run, or why there is none."),
]


@strawberry.mutation(description="Run again what an earlier run did: a new run, linked to the earlier one.")
async def rerun_task(
    info: Info, input: Annotated[RerunTaskInput, strawberry.argument(description="Which run, and how.")]
) -> RerunTaskResult:
    """Hand the wish to the service."""
    run = await info.context.service.rerun(
        input.id,
        input=input.input.value if input.input else UNSET,
        from_=input.from_ or RerunFrom.START,
        principal=info.context.principal,
        allow_private=False,
    )
    return RerunTaskSuccess(run=TaskRun.of(run))
