"""``updateRetention``, ``resetRetention``, ``pinRun`` and ``unpinRun``: what is kept, and for how long."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.schema.context import Info
from app.schema.refusals import InvalidArgument, TaskDefinitionNotFound, TaskRunNotFound
from app.schema.retention import RetentionRule
from app.schema.runs import TaskRun
from app.service.requests import UNSET


@strawberry.input(description="What to change of a rule of retention; what is left out stays as it is.")
class UpdateRetentionInput:
    """The new values."""

    definition_id: strawberry.ID | None = strawberry.field(
        default=None, description="Whose rule; the default when left out. A new one begins as a copy of the default."
    )
    succeeded_logs_days: strawberry.Maybe[float | None] = strawberry.field(
        description="For how many days SUCCEEDED runs keep logs and iterations, 0 to 36500; null is for ever."
    )
    failed_logs_days: strawberry.Maybe[float | None] = strawberry.field(
        description="The same for runs that ended in any other way."
    )
    runs_days: strawberry.Maybe[float | None] = strawberry.field(
        description="For how many days runs are kept, no less than their logs; null is for ever."
    )
    keep_last: strawberry.Maybe[int] = strawberry.field(
        description="How many of the newest runs of each definition and task are kept in any case, 0 to 1000."
    )


@strawberry.type(description="The rule is stored; the next purge goes by it.")
class UpdateRetentionSuccess:
    """A changed rule."""

    rule: RetentionRule = strawberry.field(description="The rule as it is now.")


UpdateRetentionResult = Annotated[
    UpdateRetentionSuccess | TaskDefinitionNotFound | InvalidArgument,
    strawberry.union("UpdateRetentionResult", description="The changed rule, or why it was not changed."),
]


@strawberry.mutation(description="Change for how long finished runs, and what they wrote, are kept.")
async def update_retention(
    info: Info, input: Annotated[UpdateRetentionInput, strawberry.argument(description="Whose rule, and what of it.")]
) -> UpdateRetentionResult:
    """Hand the wish to the service."""
    rule = await info.context.service.retention.update(
        input.definition_id,
        succeeded_logs_days=input.succeeded_logs_days.value if input.succeeded_logs_days else UNSET,
        failed_logs_days=input.failed_logs_days.value if input.failed_logs_days else UNSET,
        runs_days=input.runs_days.value if input.runs_days else UNSET,
        keep_last=input.keep_last.value if input.keep_last else UNSET,
        principal=info.context.principal,
    )
    return UpdateRetentionSuccess(rule=RetentionRule.of(rule))


@strawberry.input(description="Which rule to take back.")
class ResetRetentionInput:
    """Whose rule."""

    definition_id: strawberry.ID | None = strawberry.field(
        default=None, description="Whose rule; the default when left out."
    )


@strawberry.type(description="There is no such rule any more.")
class ResetRetentionSuccess:
    """What counts now."""

    rule: RetentionRule = strawberry.field(description="The rule that counts now.")


ResetRetentionResult = Annotated[
    ResetRetentionSuccess | InvalidArgument,
    strawberry.union("ResetRetentionResult", description="The rule that counts now, or why nothing was reset."),
]


@strawberry.mutation(description="Let the default count for a definition again, or bring back the default's defaults.")
async def reset_retention(
    info: Info, input: Annotated[ResetRetentionInput, strawberry.argument(description="Whose rule.")]
) -> ResetRetentionResult:
    """Hand the wish to the service."""
    rule = await info.context.service.retention.reset(input.definition_id, principal=info.context.principal)
    return ResetRetentionSuccess(rule=RetentionRule.of(rule))


@strawberry.input(description="Which run to pin.")
class PinRunInput:
    """Which run."""

    id: strawberry.ID = strawberry.field(description="The id of the run.")


@strawberry.type(description="The run is kept, with all that belongs to it, until it is unpinned.")
class PinRunSuccess:
    """A pinned run."""

    run: TaskRun = strawberry.field(description="The run.")


PinRunResult = Annotated[
    PinRunSuccess | TaskRunNotFound, strawberry.union("PinRunResult", description="The run, or why it is not pinned.")
]


@strawberry.mutation(description="Keep a run with its logs and iterations: nothing removes it until it is unpinned.")
async def pin_run(
    info: Info, input: Annotated[PinRunInput, strawberry.argument(description="Which run.")]
) -> PinRunResult:
    """Hand the wish to the service."""
    service = info.context.service
    pinned = await service.retention.pin(input.id, principal=info.context.principal)
    return PinRunSuccess(run=TaskRun.of(await service.get(pinned)))


@strawberry.input(description="Which run to unpin.")
class UnpinRunInput:
    """Which run."""

    id: strawberry.ID = strawberry.field(description="The id of the run.")


@strawberry.type(description="The rules of retention count for the run again.")
class UnpinRunSuccess:
    """A run without a pin."""

    run: TaskRun = strawberry.field(description="The run.")


UnpinRunResult = Annotated[
    UnpinRunSuccess | TaskRunNotFound,
    strawberry.union("UnpinRunResult", description="The run, or why it is not unpinned."),
]


@strawberry.mutation(description="Let the rules of retention count for a run again.")
async def unpin_run(
    info: Info, input: Annotated[UnpinRunInput, strawberry.argument(description="Which run.")]
) -> UnpinRunResult:
    """Hand the wish to the service."""
    service = info.context.service
    unpinned = await service.retention.unpin(input.id, principal=info.context.principal)
    return UnpinRunSuccess(run=TaskRun.of(await service.get(unpinned)))


MUTATIONS = [update_retention, reset_retention, pin_run, unpin_run]
