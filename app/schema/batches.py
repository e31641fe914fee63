"""Batches as clients see them: runs that were triggered together, and what follows the last of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.batches import Tally
from app.run_filters import RunOrder
from app.schema.arguments import given_id
from app.schema.children import runs_below
from app.schema.connections import After, Before, Connection, First, Last, given, page_args
from app.schema.context import Info
from app.schema.principals import Principal, principal_of
from app.schema.runs import TaskRun, load_run
from app.schema.vocabulary import TaskRunStatus, describe
from app.service.batches import BatchOptions, OnComplete


class BatchStatus(StrEnum):
    """Where a batch stands."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


describe(
    BatchStatus,
    "Where a batch stands.",
    {
        "RUNNING": "Some of its runs are not final, or more may come.",
        "COMPLETED": "All its runs are final, in whatever status.",
        "ABORTED": "Somebody aborted it: its runs stop, and nothing follows.",
    },
)


@strawberry.input(description="What is triggered, once, when all runs of a batch are final.")
class BatchOnCompleteInput:
    """A definition and its input."""

    definition_id: strawberry.ID = strawberry.field(description="The definition to run.")
    input: JSON | None = strawberry.field(
        default=UNSET, description="What to run it with; it is checked before anything is triggered."
    )


@strawberry.input(description="How the batch is made that the runs belong to.")
class BatchInput:
    """A batch's name, and what follows it."""

    name: str | None = strawberry.field(default=UNSET, description="What people call it, 1 to 200 characters.")
    on_complete: BatchOnCompleteInput | None = strawberry.field(
        default=UNSET, description="What is triggered, once, when all its runs are final; not after an abort."
    )


def batch_options(source: BatchInput | None) -> BatchOptions:
    """The application's options of a batch."""
    if not given(source) or source is None:
        return BatchOptions()
    follows: Any = given(source.on_complete)
    return BatchOptions(
        name=given(source.name),
        on_complete=OnComplete(follows.definition_id, given(follows.input)) if follows else None,
    )


@strawberry.type(description="How many runs of a batch stand in one status.")
class BatchCount:
    """A number of runs."""

    status: TaskRunStatus = strawberry.field(description="The status.")
    count: int = strawberry.field(description="How many runs.")


@strawberry.type(description="What follows a batch.")
class BatchOnComplete:
    """A definition, its input, and the run that came of it."""

    definition_id: strawberry.ID = strawberry.field(description="The definition that is run.")
    input: JSON = strawberry.field(description="What it is run with.")
    error: str | None = strawberry.field(description="Why it was not triggered when its time came; null otherwise.")
    run_id: strawberry.Private[UUID | None]

    @strawberry.field(description="The run; null until all runs of the batch are final.")
    async def run(self, info: Info) -> TaskRun | None:
        """Loaded together for all batches of an answer."""
        return await load_run(info, self.run_id)


@strawberry.type(description="Runs that were triggered together.")
class Batch:
    """A batch."""

    id: UUID = strawberry.field(graphql_type=strawberry.ID, description="Its id.")
    name: str | None = strawberry.field(description="What people call it.")
    total: int | None = strawberry.field(description="How many runs were triggered; null while more may come.")
    created_at: datetime = strawberry.field(description="When it was made.")
    created_by: Principal = strawberry.field(description="Who made it.")
    aborted_at: datetime | None = strawberry.field(description="When it was aborted.")
    aborted_by: Principal | None = strawberry.field(description="Who aborted it; null when nobody did.")
    on_complete: BatchOnComplete | None = strawberry.field(description="What follows it; null for nothing.")
    is_sealed: strawberry.Private[bool]

    @classmethod
    def of(cls, row: Any) -> Batch:
        """The batch from its row."""
        return cls(
            id=row.id,
            name=row.name,
            total=row.total,
            created_at=row.created_at,
            created_by=principal_of(row.created_by),
            aborted_at=row.aborted_at,
            aborted_by=principal_of(row.aborted_by) if row.aborted_by else None,
            on_complete=_follower(row),
            is_sealed=row.sealed_at is not None,
        )

    async def tally(self, info: Info) -> Tally:
        """How its runs stand; read once for an answer."""
        batches = info.context.service.batches
        return await info.context.loaders.shared("batch tallies", self.id, batches.tallies)

    @strawberry.field(description="Where it stands.")
    async def status(self, info: Info) -> BatchStatus:
        """From its runs."""
        if self.aborted_at is not None:
            return BatchStatus.ABORTED
        done = self.is_sealed and not (await self.tally(info)).live
        return BatchStatus.COMPLETED if done else BatchStatus.RUNNING

    @strawberry.field(description="How many of its runs stand in each status; runs that were deleted do not count.")
    async def counts(self, info: Info) -> list[BatchCount]:
        """In the order of the statuses."""
        counts = (await self.tally(info)).counts
        return [BatchCount(status=status, count=counts[status]) for status in TaskRunStatus if status in counts]

    @strawberry.field(description="How many of its runs are final.")
    async def finished(self, info: Info) -> int:
        """From its runs."""
        return (await self.tally(info)).final

    @strawberry.field(description="How far it is, 0 to 100.")
    async def percent(self, info: Info) -> float:
        """From its runs."""
        tally = await self.tally(info)
        runs = tally.final + tally.live
        return 100.0 * tally.final / runs if runs else 100.0 if self.is_sealed else 0.0

    @strawberry.field(description="When the last of its runs became final; null while some are not.")
    async def completed_at(self, info: Info) -> datetime | None:
        """From its runs."""
        tally = await self.tally(info)
        return tally.last_finished_at if self.is_sealed and not tally.live else None

    @strawberry.field(description="Its runs, newest first.")
    async def runs(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[TaskRun]:
        """Loaded together for all batches of an answer."""
        page = page_args(first, after, last, before)
        return await runs_below(info, "batch_id", self.id, None, RunOrder(), page)


def _follower(row: Any) -> BatchOnComplete | None:
    if row.complete_definition_id is None:
        return None
    return BatchOnComplete(
        definition_id=row.complete_definition_id,
        input=row.complete_input,
        error=row.complete_error,
        run_id=row.complete_run_id,
    )


@strawberry.type
class BatchQueries:
    """What can be read of batches."""

    @strawberry.field(description="One batch; null when there is none of that id.")
    async def batch(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the batch.")]
    ) -> Batch | None:
        """A batch by its id."""
        batch_id = given_id(id, "id")
        found = (await info.context.service.batches.find([batch_id])).get(batch_id)
        return Batch.of(found) if found else None
