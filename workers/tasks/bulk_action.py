"""``bulk-action``: goes on with an action on many runs or tasks where the process that began it left it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from workers import Continue, Progress, Retry, TaskContext, task

MARGIN_SECONDS = 60


class BulkActionInput(BaseModel):
    """Which bulk action."""

    model_config = ConfigDict(extra="forbid")

    id: UUID = Field(description="The id of the bulk action.")


class BulkActionOutput(BaseModel):
    """How the bulk action ended."""

    status: str | None = Field(description="The status of the action; null where there is no such action.")
    done: int = Field(default=0, description="How many items were acted on.")
    failed: int = Field(default=0, description="How many items could not be acted on.")


@task(
    id="bulk-action",
    title="Bulk action",
    tags=("maintenance",),
    priority=1000,
    private=True,
    max_iterations=1000,
    timeout=timedelta(minutes=15),
    retry=Retry(max_attempts=10, first_delay=1.0),
)
async def bulk_action(ctx: TaskContext, input: BulkActionInput) -> BulkActionOutput | Continue:
    """Acts on the items of a bulk action, some hundreds in each transaction.

    How far the action is stands in its own row and not in the state of this run, so that a killed worker's successor
    goes on from the last transaction that was committed.
    """
    while (action := await ctx.tasks.bulk.step(input.id)) is not None:
        done = action.done + action.failed
        message = f"{action.done:,} done, {action.failed:,} failed"
        await ctx.checkpoint(progress=Progress(current=done, total=action.total, message=message))
        if action.finished_at is not None:
            ctx.log.info(f"{action.kind} is {action.status}: {message}.")
            return BulkActionOutput(status=action.status, done=action.done, failed=action.failed)
        if ctx.is_close_to_timeout(MARGIN_SECONDS):
            return ctx.continue_()
    return BulkActionOutput(status=None)
