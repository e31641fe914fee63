"""The mutations of schedules: make, change, delete, pause, resume and trigger them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.models import CatchUpPolicy, OverlapPolicy
from app.schema.connections import given
from app.schema.context import Info
from app.schema.refusals import (
    CodeNotLoaded,
    IdempotencyConflict,
    InvalidArgument,
    InvalidTaskInput,
    LimitReached,
    QueueFull,
    TaskDefinitionNotFound,
    TriggerRefused,
)
from app.schema.runs import TaskRun
from app.schema.schedules import Schedule, TimingInput, seconds, timing_values
from app.schema.task_refusals import CooldownActive, ScheduleConflict, ScheduleNotFound, TaskNotFound
from app.service import UNSET as UNCHANGED
from app.service.scheduling import ScheduleChanges
from app.ticks import Timing

SAME = ("name", "overlap", "catch_up", "max_failures", "input", "owner")
"""What the input and the service call alike."""
JITTER = "Runs start up to so many seconds after their ticks, 0 to 86400 and no more than the interval."
FAILURES = "Pause after so many failures in a row, 1 to 1000; null is never."


@strawberry.input(description="Which task to schedule, and when.")
class CreateScheduleInput:
    """A new schedule."""

    task_id: strawberry.ID = strawberry.field(description="The saved task.")
    timing: TimingInput = strawberry.field(description="When it ticks.")
    name: str | None = strawberry.field(default=UNSET, description="What people call it, 1 to 200 characters.")
    time_zone: str = strawberry.field(default="UTC", description="The IANA time zone of a cron expression.")
    starts_at: datetime | None = strawberry.field(default=UNSET, description="It ticks from this time on.")
    ends_at: datetime | None = strawberry.field(default=UNSET, description="It ticks before this time.")
    jitter_seconds: float = strawberry.field(default=0.0, description=JITTER)
    overlap: OverlapPolicy = strawberry.field(
        default=OverlapPolicy.SKIP, description="What a tick does while an earlier run is not final."
    )
    catch_up: CatchUpPolicy = strawberry.field(
        default=CatchUpPolicy.LAST, description="What becomes of ticks that no worker was there for."
    )
    catch_up_seconds: float = strawberry.field(default=86400.0, description="How late a tick may still run.")
    max_failures: int | None = strawberry.field(default=UNSET, description=FAILURES)
    input: JSON | None = strawberry.field(default=UNSET, description="Instead of the task's input.")
    owner: str | None = strawberry.field(
        default=UNSET, description="On whose behalf its runs act, as in `SERVICE:ci`; by default who asks."
    )


@strawberry.input(description="What to change of a schedule; what is left out stays as it is.")
class UpdateScheduleInput:
    """The new values."""

    id: strawberry.ID = strawberry.field(description="The schedule.")
    version: int = strawberry.field(description="The version that was read.")
    timing: strawberry.Maybe[TimingInput] = strawberry.field(description="When it ticks.")
    name: strawberry.Maybe[str | None] = strawberry.field(description="What people call it.")
    time_zone: strawberry.Maybe[str] = strawberry.field(description="The IANA time zone of a cron expression.")
    starts_at: strawberry.Maybe[datetime | None] = strawberry.field(description="It ticks from this time on.")
    ends_at: strawberry.Maybe[datetime | None] = strawberry.field(description="It ticks before this time.")
    jitter_seconds: strawberry.Maybe[float] = strawberry.field(description=JITTER)
    overlap: strawberry.Maybe[OverlapPolicy] = strawberry.field(
        description="What a tick does while an earlier run is not final."
    )
    catch_up: strawberry.Maybe[CatchUpPolicy] = strawberry.field(
        description="What becomes of ticks that no worker was there for."
    )
    catch_up_seconds: strawberry.Maybe[float] = strawberry.field(description="How late a tick may still run.")
    max_failures: strawberry.Maybe[int | None] = strawberry.field(description=FAILURES)
    input: strawberry.Maybe[JSON | None] = strawberry.field(description="Instead of the task's input; null is none.")
    owner: strawberry.Maybe[str] = strawberry.field(description="On whose behalf its runs act.")


@strawberry.input(description="Which schedule.")
class ScheduleIdInput:
    """A schedule by its id."""

    id: strawberry.ID = strawberry.field(description="The schedule.")


@strawberry.input(description="Which schedule to pause, and why.")
class PauseScheduleInput:
    """A schedule and a reason."""

    id: strawberry.ID = strawberry.field(description="The schedule.")
    message: str | None = strawberry.field(default=UNSET, description="Why, up to 1000 characters.")


@strawberry.input(description="Which schedule to run now.")
class TriggerScheduleInput:
    """A schedule and a key."""

    id: strawberry.ID = strawberry.field(description="The schedule.")
    idempotency_key: str | None = strawberry.field(
        default=UNSET, description="Triggering again with this key gives the same run."
    )


@strawberry.type(description="The schedule is stored.")
class ScheduleSuccess:
    """A schedule after a change."""

    schedule: Schedule = strawberry.field(description="The schedule as it is now.")


@strawberry.type(description="The schedule is gone; its runs and what became of its ticks stay.")
class DeleteScheduleSuccess:
    """A schedule that is no more."""

    id: strawberry.ID = strawberry.field(description="The id that it had.")


@strawberry.type(description="The run is stored.")
class TriggerScheduleSuccess:
    """A run beside the ticks."""

    run: TaskRun = strawberry.field(description="The run.")


CreateScheduleResult = Annotated[
    ScheduleSuccess | TaskNotFound | TaskDefinitionNotFound | InvalidTaskInput | InvalidArgument,
    strawberry.union("CreateScheduleResult", description="The new schedule, or why there is none."),
]
UpdateScheduleResult = Annotated[
    ScheduleSuccess
    | ScheduleNotFound
    | ScheduleConflict
    | TaskNotFound
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument,
    strawberry.union("UpdateScheduleResult", description="The changed schedule, or why it was not changed."),
]
ChangeScheduleResult = Annotated[
    ScheduleSuccess | ScheduleNotFound | InvalidArgument,
    strawberry.union("ChangeScheduleResult", description="The schedule, or why it was not paused or resumed."),
]
DeleteScheduleResult = Annotated[
    DeleteScheduleSuccess | ScheduleNotFound,
    strawberry.union("DeleteScheduleResult", description="What was deleted, or why nothing was."),
]
TriggerScheduleResult = Annotated[
    TriggerScheduleSuccess
    | ScheduleNotFound
    | TaskNotFound
    | TaskDefinitionNotFound
    | InvalidTaskInput
    | InvalidArgument
    | IdempotencyConflict
    | LimitReached
    | QueueFull
    | CooldownActive
    | TriggerRefused
    | CodeNotLoaded,
    strawberry.union("TriggerScheduleResult", description="The run, or why there is none."),
]


@strawberry.mutation(description="Schedule a saved task; its first tick is the first one after now.")
async def create_schedule(
    info: Info, input: Annotated[CreateScheduleInput, strawberry.argument(description="Which task, and when.")]
) -> CreateScheduleResult:
    """Hand the wish to the service."""
    bounds = {"starts_at": given(input.starts_at), "ends_at": given(input.ends_at)}
    timing = Timing(
        **timing_values(input.timing), time_zone=input.time_zone, jitter=seconds(input.jitter_seconds), **bounds
    )
    same = {name: given(getattr(input, name)) for name in SAME}
    made = await info.context.service.schedules.create(
        input.task_id, timing, catch_up_window=input.catch_up_seconds, principal=info.context.principal, **same
    )
    return ScheduleSuccess(schedule=Schedule.of(made))


@strawberry.mutation(description="Change a schedule that still has the version that was read.")
async def update_schedule(
    info: Info, input: Annotated[UpdateScheduleInput, strawberry.argument(description="Which schedule, and what.")]
) -> UpdateScheduleResult:
    """Hand the wish to the service."""
    changes = _changes(input)
    changed = await info.context.service.schedules.update(
        input.id, input.version, changes, principal=info.context.principal
    )
    return ScheduleSuccess(schedule=Schedule.of(changed))


def _changes(input: UpdateScheduleInput) -> ScheduleChanges:
    timing: dict[str, Any] = timing_values(input.timing.value) if input.timing else {}
    for name in ("time_zone", "starts_at", "ends_at"):
        if (found := getattr(input, name)) is not None:
            timing[name] = found.value
    if input.jitter_seconds is not None:
        timing["jitter"] = seconds(input.jitter_seconds.value)
    values = {name: found.value for name in SAME if (found := getattr(input, name)) is not None}
    if input.catch_up_seconds is not None:
        values["catch_up_window"] = input.catch_up_seconds.value
    return ScheduleChanges(timing=timing or UNCHANGED, **values)


@strawberry.mutation(description="Delete a schedule; its runs stay.")
async def delete_schedule(
    info: Info, input: Annotated[ScheduleIdInput, strawberry.argument(description="Which schedule.")]
) -> DeleteScheduleResult:
    """Hand the wish to the service."""
    gone = await info.context.service.schedules.delete(input.id, principal=info.context.principal)
    return DeleteScheduleSuccess(id=strawberry.ID(str(gone.id)))


@strawberry.mutation(description="Pause a schedule; ticks of that time are not caught up.")
async def pause_schedule(
    info: Info, input: Annotated[PauseScheduleInput, strawberry.argument(description="Which schedule, and why.")]
) -> ChangeScheduleResult:
    """Hand the wish to the service."""
    paused = await info.context.service.schedules.pause(
        input.id, message=given(input.message), principal=info.context.principal
    )
    return ScheduleSuccess(schedule=Schedule.of(paused))


@strawberry.mutation(description="Let a paused schedule go on with its first tick after now.")
async def resume_schedule(
    info: Info, input: Annotated[ScheduleIdInput, strawberry.argument(description="Which schedule.")]
) -> ChangeScheduleResult:
    """Hand the wish to the service."""
    resumed = await info.context.service.schedules.resume(input.id, principal=info.context.principal)
    return ScheduleSuccess(schedule=Schedule.of(resumed))


@strawberry.mutation(description="Run a schedule's task now, beside its ticks and whatever its overlap policy says.")
async def trigger_schedule(
    info: Info, input: Annotated[TriggerScheduleInput, strawberry.argument(description="Which schedule.")]
) -> TriggerScheduleResult:
    """Hand the wish to the service."""
    run = await info.context.service.schedules.trigger(
        input.id, idempotency_key=given(input.idempotency_key), principal=info.context.principal
    )
    return TriggerScheduleSuccess(run=TaskRun.of(run))


SCHEDULING = (
    create_schedule,
    update_schedule,
    delete_schedule,
    pause_schedule,
    resume_schedule,
    trigger_schedule,
)
"""All of them."""
