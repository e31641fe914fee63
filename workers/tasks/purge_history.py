"""``purge-history``: removes what the rules of retention let go, or all runs that finished before a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.service import SweepPhase, SweepPosition
from workers import Continue, Progress, Retry, TaskContext, task

MARGIN_SECONDS = 60
BATCHES_A_LINE = 10
A_MOMENT = timedelta(minutes=1)

FinalStatus = Literal["SUCCEEDED", "FAILED", "ABORTED", "LOST", "EXPIRED"]


class PurgeHistoryInput(BaseModel):
    """Which runs to delete."""

    model_config = ConfigDict(extra="forbid")

    older_than: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=36500))] | None = Field(
        default=None,
        description="Delete all runs that finished longer ago than this, whatever the rules of retention say: an "
        "ISO 8601 duration like P30D or PT12H. Without it, the rules are applied.",
    )
    definition_ids: list[str] | None = Field(
        default=None, max_length=1000, description="With older_than: delete only runs of these definitions."
    )
    statuses: list[FinalStatus] | None = Field(
        default=None, description="With older_than: delete only runs with one of these final statuses."
    )
    batch_size: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="How many runs are looked at in one transaction; an abort takes effect between two.",
    )
    dry_run: bool = Field(default=False, description="Count what would be deleted, and delete nothing.")

    @model_validator(mode="after")
    def _chosen_by_age(self) -> PurgeHistoryInput:
        """Rules are applied to all runs, so that what narrows a purge down needs the age."""
        if self.older_than is None and (self.definition_ids is not None or self.statuses is not None):
            raise ValueError("definition_ids and statuses go with older_than; the rules of retention have their own")
        return self


class PurgeHistoryOutput(BaseModel):
    """What was deleted, or would be. After a crash, a batch that was deleted in its very moment may be missing here."""

    dry_run: bool = Field(description="Whether this only counts what would be deleted.")
    finished_before: datetime = Field(description="Runs that finished before this time were looked at.")
    runs: int = Field(description="How many runs.")
    stripped: int = Field(default=0, description="How many runs stay without their logs and iterations.")
    weeks: int = Field(default=0, description="How many weeks of logs and iterations were dropped as a whole.")
    logs: int = Field(description="How many log lines.")
    iterations: int = Field(description="How many iterations, each attempt counted.")
    records: int = Field(
        default=0, description="How many old events of the audit, bulk actions and batches; none with older_than."
    )
    oldest: datetime | None = Field(description="When the first of these runs had finished; null when there was none.")
    newest: datetime | None = Field(description="When the last of these runs had finished; null when there was none.")


class Standing(BaseModel):
    """The state of a run: what is to be deleted, how far it is, and what it counted."""

    finished_before: datetime
    position: tuple[datetime, UUID] | None = None
    swept: SweepPosition | None = None
    first: datetime | None = None
    batches: int = 0
    runs: int = 0
    stripped: int = 0
    weeks: int = 0
    logs: int = 0
    iterations: int = 0
    records: int = 0
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
    """Removes what the rules of retention let go: runs first, then logs and iterations of others, the oldest first.

    Last go old events of the audit, bulk actions and batches, as the settings say. With older_than, all runs that
    finished longer ago go instead, and nothing else. Goes through the history in short transactions that wait for
    nobody. Never deleted are pinned runs, runs that are not final, and those that a live run may still look at: its
    parent, its children, and the runs that it waits for.

    Idempotency keys vanish with their runs: a trigger with such a key makes a new run, so keep runs for longer than
    clients repeat their triggers. A dry run counts first.
    """
    standing = await _standing(ctx, input)
    remove = _apply_rules if input.older_than is None else _purge_batch
    while await remove(ctx, input, standing):
        if standing.batches % BATCHES_A_LINE == 0:
            _say(ctx, input, standing)
        await ctx.checkpoint(state=standing.model_dump(mode="json"), progress=_progress(standing))
        if ctx.is_close_to_timeout(MARGIN_SECONDS):
            return ctx.continue_()
    _say(ctx, input, standing)
    await ctx.checkpoint(progress=Progress(percent=100, message=f"runs: {standing.runs:,}"))
    return PurgeHistoryOutput(
        dry_run=input.dry_run, **standing.model_dump(exclude={"position", "swept", "first", "batches"})
    )


async def _standing(ctx: TaskContext, input: PurgeHistoryInput) -> Standing:
    """Where an earlier attempt stopped, or the start: from then on it is fixed which runs are old enough."""
    if ctx.state is not None:
        return Standing.model_validate(ctx.state)
    now = await ctx.tasks.retention.now()
    if (ahead := ctx.now() - now) > A_MOMENT:
        ctx.log.warning(
            f"PostgreSQL's clock is {ahead / timedelta(days=1):,.3g} days ahead of this machine's, or was put forward "
            f"since this worker started, so history is as old as at {now:%Y-%m-%d %H:%M:%S %Z}. Set the clock that is "
            "wrong (`taskloom doctor`); if PostgreSQL's is right, restart the worker."
        )
    standing = Standing(finished_before=now - (input.older_than or timedelta()))
    doing = "Counting" if input.dry_run else "Deleting"
    what = "what the rules of retention let go at" if input.older_than is None else "runs that finished before"
    ctx.log.info(f"{doing} {what} {standing.finished_before:%Y-%m-%d %H:%M:%S %Z}.")
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


async def _apply_rules(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> bool:
    """Take the next step by the rules of retention; False when nothing is left to do."""
    return await _sweep_step(ctx, input, standing) or await _purge_records(ctx, input, standing)


async def _sweep_step(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> bool:
    """Apply the rules to the next runs; False when there are no more."""
    after = standing.swept or SweepPosition()
    step = await ctx.tasks.retention.sweep(
        standing.finished_before, after=after, limit=input.batch_size, dry_run=input.dry_run
    )
    if step.position is None:
        return False
    standing.swept = step.position
    standing.batches += 1
    standing.stripped += step.stripped
    standing.weeks += step.spans
    standing.runs += step.runs
    standing.logs += step.logs
    standing.iterations += step.iterations
    standing.oldest = min(filter(None, (standing.oldest, step.oldest)), default=None)
    standing.newest = max(filter(None, (standing.newest, step.newest)), default=None)
    return True


async def _purge_records(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> bool:
    """Delete or count what is too old of the audit, of bulk actions and of batches; False when there is no more."""
    purge = ctx.tasks.retention.purge_records
    removed = await purge(standing.finished_before, limit=input.batch_size, dry_run=input.dry_run)
    standing.records = removed if input.dry_run else standing.records + removed
    return bool(removed) and not input.dry_run


def _say(ctx: TaskContext, input: PurgeHistoryInput, standing: Standing) -> None:
    done = "Would delete" if input.dry_run else "Deleted"
    stripped = "" if input.older_than else f"; without either: {standing.stripped:,}; old records: {standing.records:,}"
    ctx.log.info(
        f"{done} so far: runs: {standing.runs:,}; log lines: {standing.logs:,}; "
        f"iterations: {standing.iterations:,}{stripped}."
    )


def _progress(standing: Standing) -> Progress:
    """How much of the time is behind, because how many runs there are would have to be counted first."""
    message = f"runs: {standing.runs:,}"
    if standing.swept is not None:
        where = "whole runs" if standing.swept.phase == SweepPhase.RUNS else "logs and iterations"
        return Progress(message=f"{message}, {standing.stripped:,} without their logs; at {where}")
    if standing.position is None or standing.first is None:
        return Progress(message=message)
    span = (standing.finished_before - standing.first).total_seconds()
    passed = (standing.position[0] - standing.first).total_seconds()
    return Progress(percent=100 * passed / span if span > 0 else None, message=message)
