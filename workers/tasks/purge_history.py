"""``purge-history``: deletes runs that finished long ago, with their logs and iterations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from workers import Continue, Progress, Retry, TaskContext, task

MARGIN_SECONDS = 60
BATCHES_A_LINE = 10

FinalStatus = Literal["SUCCEEDED", "FAILED", "ABORTED", "LOST", "EXPIRED"]


class PurgeHistoryInput(BaseModel):
    """Which runs to delete."""

    model_config = ConfigDict(extra="forbid")

    older_than: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=36500))] = Field(
        default=timedelta(days=30),
        description="How long runs are kept after they have finished, as an ISO 8601 duration like P30D or PT12H.",
    )
    definition_ids: list[str] | None = Field(
        default=None, max_length=1000, description="Delete only runs of these definitions; without it, of all."
    )
    statuses: list[FinalStatus] | None = Field(
        default=None, description="Delete only runs with one of these final statuses; without it, with any."
    )
    batch_size: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="How many runs are looked at in one transaction; an abort takes effect between two.",
    )
    dry_run: bool = Field(default=False, description="Count what would be deleted, and delete nothing.")


class PurgeHistoryOutput(BaseModel):
    """What was deleted, or would be. After a crash, a batch that was deleted in its very moment may be missing here."""

    dry_run: bool = Field(description="Whether this only counts what would be deleted.")
    finished_before: datetime = Field(description="Runs that finished before this time were looked at.")
    runs: int = Field(description="How many runs.")
    logs: int = Field(description="How many log lines of these runs.")
    iterations: int = Field(description="How many iterations of these runs, each attempt counted.")
    oldest: datetime | None = Field(description="When the first of these runs had finished; null when there was none.")
    newest: datetime | None = Field(description="When the last of these runs had finished; null when there was none.")


class Standing(BaseModel):
    """The state of a run: what is to be deleted, how far it is, and what it counted."""

    finished_before: datetime
    position: tuple[datetime, UUID] | None = None
    first: datetime | None = None
    batches: int = 0
    runs: int = 0
    logs: int = 0
    iterations: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None


@task(
    id="purge-history",
    title="Purge old runs",
    tags=("maintenance",),
    max_iterations=1000,
    timeout=timedelta(minutes=15),
    retry=Retry(max_attempts=5, first_delay=2.0),
)
async def purge_history(ctx: TaskContext, input: PurgeHistoryInput) -> PurgeHistoryOutput | Continue:
    """Deletes runs that finished longer ago than they are kept, with their logs and iterations, the oldest first.

    Goes through the history in short transactions that wait for nobody. Never deleted are runs that are not final, and
    those that a live run may still look at: its parent, its children, and the runs that it waits for.

    Idempotency keys vanish with their runs: a trigger with such a key makes a new run, so keep runs for longer than
    clients repeat their triggers. A dry run counts first.
    """
    standing = _standing(ctx, input)
    while await _purge_batch(ctx, input, standing):
        if standing.batches % BATCHES_A_LINE == 0:
            _say(ctx, input, standing)
        await ctx.checkpoint(state=standing.model_dump(mode="json"), progress=_progress(standing))
        if ctx.is_close_to_timeout(MARGIN_SECONDS):
            return ctx.continue_()
    _say(ctx, input, standing)
    await ctx.checkpoint(progress=Progress(percent=100, message=f"{standing.runs:,} runs"))
    return PurgeHistoryOutput(dry_run=input.dry_run, **standing.model_dump(exclude={"position", "first", "batches"}))


def _standing(ctx: TaskContext, input: PurgeHistoryInput) -> Standing:
    """Where an earlier attempt stopped, or the start: from then on it is fixed which runs are old enough."""
    if ctx.state is not None:
        return Standing.model_validate(ctx.state)
    standing = Standing(finished_before=ctx.now() - input.older_than)
    doing = "Counting" if input.dry_run else "Deleting"
    ctx.log.info(f"{doing} runs that finished before {standing.finished_before:%Y-%m-%d %H:%M:%S %Z}.")
    return standing


async def _purge_batch(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> bool:
    """Delete or count one batch; False when there was nothing left to look at."""
    result = await ctx.tasks.purge(
        standing.finished_before,
        definition_ids=input.definition_ids,
        statuses=input.statuses,
        limit=input.batch_size,
        dry_run=input.dry_run,
        after=standing.position,
    )
    if result.position is None:
        return False
    standing.position = result.position
    standing.first = standing.first or result.position[0]
    standing.batches += 1
    standing.runs += result.runs
    standing.logs += result.logs
    standing.iterations += result.iterations
    standing.oldest = standing.oldest or result.oldest
    standing.newest = result.newest or standing.newest
    return True


def _say(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> None:
    done = "Would delete" if input.dry_run else "Deleted"
    ctx.log.info(
        f"{done} {standing.runs:,} runs so far, with {standing.logs:,} log lines "
        f"and {standing.iterations:,} iterations."
    )


def _progress(standing: Standing) -> Progress:
    """How much of the time is behind, because how many runs there are would have to be counted first."""
    message = f"{standing.runs:,} runs"
    if standing.position is None or standing.first is None:
        return Progress(message=message)
    span = (standing.finished_before - standing.first).total_seconds()
    passed = (standing.position[0] - standing.first).total_seconds()
    return Progress(percent=100 * passed / span if span > 0 else None, message=message)
