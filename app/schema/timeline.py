"""The timeline of a run as clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from app import timeline
from app.schema.context import Info
from app.schema.principals import Principal, principal_of
from app.schema.run_parts import TaskRunError
from app.schema.vocabulary import TaskRunStatus, TaskRunStatusReason, describe
from app.timeline import TimelineEvent

if TYPE_CHECKING:
    from app.schema.runs import TaskRun

describe(
    TimelineEvent,
    "What happened to a run.",
    {
        "RERUN_OF": "An earlier run was triggered, which this one goes back to by reruns.",
        "TRIGGERED": "It was triggered.",
        "DUE": "The time came for which it was triggered.",
        "STARTED": "A worker began an attempt at an iteration.",
        "ENDED": "The attempt ended, and with it perhaps the run.",
        "ABORT_REQUESTED": "Somebody asked to abort it, which ended it at once where no worker held it.",
        "CHANGED": "Its status changed otherwise: it became due again, expired, or failed with a child.",
        "RERUN": "A later run was triggered that goes back to this one by reruns.",
    },
    name="TaskRunTimelineEvent",
)


@strawberry.type(
    description="One thing that happened to a run, told from what is stored of it. Kept exactly: the trigger, begin "
    "and end of each attempt, the last wish to abort, the last change of the status. Not kept: when a run that slept "
    "became due again, and whether it slept or went right back to its queue after an attempt that is not the last."
)
class TaskRunTimelineEntry:
    """An entry of a timeline."""

    at: datetime = strawberry.field(description="When it happened.")
    event: TimelineEvent = strawberry.field(description="What happened.")
    status: TaskRunStatus = strawberry.field(
        description="The status that the run got by that; of RERUN_OF and RERUN, where the other run stands now."
    )
    reason: TaskRunStatusReason | None = strawberry.field(description="Why; null when the status says it all.")
    actor: Principal | None = strawberry.field(description="Who did it; null for the engine.")
    worker: str | None = strawberry.field(description="The worker of the attempt, as `host:pid`.")
    iteration: int | None = strawberry.field(description="Which iteration the attempt was made at.")
    attempt: int | None = strawberry.field(description="Which attempt at the iteration it was.")
    error: TaskRunError | None = strawberry.field(description="What went wrong.")
    message: str | None = strawberry.field(description="Why it was to be aborted, in the words of who asked.")
    is_derived: bool = strawberry.field(
        description="Whether the time (of DUE) or the status (of ENDED: WAITING may have been QUEUED) is worked out "
        "and not kept."
    )
    run_id: strawberry.Private[UUID | None]

    @classmethod
    def of(cls, entry: timeline.TimelineEntry) -> TaskRunTimelineEntry:
        """The entry as the service tells it."""
        return cls(
            at=entry.at,
            event=entry.event,
            status=entry.status,
            reason=entry.reason,
            actor=principal_of(entry.actor) if entry.actor else None,
            worker=entry.worker,
            iteration=entry.iteration,
            attempt=entry.attempt,
            error=TaskRunError.of(entry.error),
            message=entry.message,
            is_derived=entry.is_derived,
            run_id=entry.run_id,
        )

    @strawberry.field(description="The other run, of RERUN_OF and RERUN.")
    async def run(self, info: Info) -> Annotated[TaskRun, strawberry.lazy("app.schema.runs")] | None:
        """Loaded together for all entries of an answer."""
        from app.schema.runs import load_run

        return await load_run(info, self.run_id)


async def timeline_of(info: Info, run_id: UUID) -> list[TaskRunTimelineEntry]:
    """What happened to a run; told together for all runs of an answer."""
    timelines = info.context.service.timelines
    entries = await info.context.loaders.shared("timelines", run_id, timelines.of_many)
    return [TaskRunTimelineEntry.of(entry) for entry in entries or ()]
