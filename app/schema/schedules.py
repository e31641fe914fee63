"""Schedules as clients see them, what became of their ticks, and the queries that read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app import schedules
from app.errors import InvalidArgument as BadArgument
from app.ids import parse_id
from app.kinds import whole
from app.models import CatchUpPolicy, OverlapPolicy, PauseReason, ScheduleStatus, TickOutcome, TickReason
from app.schedules import timing_of
from app.schema.arguments import given_id
from app.schema.children import runs_below, total
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, given, page_args, present
from app.schema.context import Info
from app.schema.principals import Principal, principal_of
from app.schema.refusals import InvalidArgument
from app.schema.runs import TaskRun, load_run
from app.schema.saved_tasks import Task, load_task
from app.schema.vocabulary import describe
from app.ticks import ScheduleKind, Timing

describe(
    ScheduleKind,
    "How a schedule says when it ticks.",
    {"CRON": "By a cron expression.", "INTERVAL": "By a fixed interval from an anchor.", "ONCE": "At a single time."},
)
describe(
    ScheduleStatus,
    "Whether a schedule ticks.",
    {"ACTIVE": "It ticks.", "PAUSED": "It does not tick until it is resumed.", "ENDED": "It has no tick left."},
)
describe(
    PauseReason,
    "Why a schedule is paused.",
    {
        "REQUESTED": "Somebody paused it.",
        "FAILURES": "As many of its runs failed in a row as it allows.",
        "OWNER": "The principal that its runs act on behalf of may not act any more.",
        "TASK_DELETED": "Its task was deleted.",
    },
)
describe(
    OverlapPolicy,
    "What a tick does while an earlier run of its schedule is not final.",
    {
        "SKIP": "Nothing.",
        "BUFFER_ONE": "One tick waits until that run is final; the others are skipped.",
        "BUFFER_ALL": "Ticks wait, up to 1000 of them, and run one after the other.",
        "ABORT_RUNNING": "It aborts that run and runs.",
        "ALLOW_ALL": "It runs beside it.",
    },
)
describe(
    CatchUpPolicy,
    "What becomes of ticks that no worker was there for; up to a minute late is on time.",
    {"NONE": "They are missed.", "LAST": "The last one within the window runs.", "ALL": "All within the window run."},
)
describe(
    TickOutcome,
    "What became of a tick.",
    {
        "RAN": "It made a run.",
        "WAITING": "It waits until an earlier run is final.",
        "SKIPPED": "It made no run, for the reason given.",
        "MISSED": "No worker was there in time.",
    },
)
describe(
    TickReason,
    "Why a tick made no run.",
    {
        "OVERLAP": "An earlier run of the schedule was not final.",
        "BUFFER_FULL": "As many ticks waited as may.",
        "PAUSED": "The schedule was paused or deleted while the tick waited.",
        "FAILURES": "As many runs had failed in a row as the schedule allows; it was paused.",
        "OWNER": "The schedule's owner may not act any more; it was paused.",
        "TASK_DISABLED": "The task is disabled.",
        "TASK_DELETED": "The task was deleted.",
        "REFUSED": "The trigger was refused, as by the input's schema, a limit or the definition's own check.",
        "TOO_LATE": "It was later than the catch-up policy allows.",
        "CAUGHT_UP": "A later tick made up for it.",
    },
)


@strawberry.type(description="What became of a tick of a schedule, or of several in a row that were missed.")
class ScheduleTick:
    """One line of a schedule's history."""

    tick_at: datetime = strawberry.field(description="The planned time.")
    last_tick_at: datetime = strawberry.field(description="The last of the ticks that this line stands for.")
    ticks: int = strawberry.field(description="How many ticks it stands for; 1000 may be more.")
    outcome: TickOutcome = strawberry.field(description="What became of it.")
    reason: TickReason | None = strawberry.field(description="Why it made no run; null when it made one or waits.")
    message: str | None = strawberry.field(description="The reason in words.")
    decided_at: datetime = strawberry.field(description="When this was decided.")
    run_id: strawberry.Private[UUID | None]

    @classmethod
    def of(cls, row: Any) -> ScheduleTick:
        """The line from its row."""
        return cls(
            tick_at=row.tick_at, last_tick_at=row.last_tick_at, ticks=row.ticks, outcome=TickOutcome(row.outcome),
            reason=TickReason(row.reason) if row.reason else None, message=row.message, decided_at=row.decided_at,
            run_id=row.run_id,
        )  # fmt: skip

    @strawberry.field(description="The run that it made; null when it made none, or the run was purged.")
    async def run(self, info: Info) -> TaskRun | None:
        """Loaded together for all lines of an answer."""
        return await load_run(info, self.run_id)


@strawberry.type(description="When a saved task is triggered, again and again or once.")
class Schedule:
    """A schedule."""

    id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The schedule's id: a UUID.")
    task_id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The id of the task that it triggers.")
    name: str | None = strawberry.field(description="What people call it.")
    kind: ScheduleKind = strawberry.field(description="How it says when it ticks.")
    cron: str | None = strawberry.field(description="Its cron expression, or alias.")
    every_seconds: float | None = strawberry.field(description="Its interval, in seconds.")
    anchor_at: datetime | None = strawberry.field(description="One of the ticks of its interval.")
    at: datetime | None = strawberry.field(description="Its single time.")
    time_zone: str = strawberry.field(description="The IANA time zone in which its cron expression is read.")
    starts_at: datetime | None = strawberry.field(description="It ticks from this time on; null is at once.")
    ends_at: datetime | None = strawberry.field(description="It ticks before this time; null is for ever.")
    jitter_seconds: float = strawberry.field(
        description="Its runs start up to so many seconds after their ticks, each by a time of its own."
    )
    overlap: OverlapPolicy = strawberry.field(description="What a tick does while an earlier run is not final.")
    catch_up: CatchUpPolicy = strawberry.field(description="What becomes of ticks that no worker was there for.")
    catch_up_seconds: float = strawberry.field(description="How late a tick may still run.")
    max_failures: int | None = strawberry.field(
        description="After so many failures in a row it is paused, at its next tick; null is never."
    )
    input: JSON | None = strawberry.field(description="Its own input, instead of the task's; null when it has none.")
    owner: Principal = strawberry.field(description="On whose behalf its runs act.")
    status: ScheduleStatus = strawberry.field(description="Whether it ticks.")
    pause_reason: PauseReason | None = strawberry.field(description="Why it is paused; null when it is not.")
    pause_message: str | None = strawberry.field(description="Why it is paused, in words.")
    next_run_at: datetime | None = strawberry.field(
        description="When its next run starts: the next tick with its jitter; null when there is none."
    )
    version: int = strawberry.field(description="The version that an update has to name.")
    created_at: datetime = strawberry.field(description="When it was made.")
    created_by: Principal = strawberry.field(description="Who made it.")
    updated_at: datetime = strawberry.field(description="When people last changed it.")
    updated_by: Principal = strawberry.field(description="Who changed it last.")
    timing: strawberry.Private[Timing]
    next_tick_at: strawberry.Private[datetime | None]

    @classmethod
    def of(cls, row: Any) -> Schedule:
        """The schedule from its row."""
        same = (
            "id", "task_id", "name", "cron", "every_seconds", "anchor_at", "time_zone", "starts_at", "ends_at",
            "jitter_seconds", "catch_up_seconds", "max_failures", "input", "pause_message", "version", "created_at",
            "updated_at", "next_tick_at",
        )  # fmt: skip
        timing = timing_of(row)
        return cls(
            **{name: getattr(row, name) for name in same},
            at=row.once_at, timing=timing, kind=timing.kind, overlap=OverlapPolicy(row.overlap),
            catch_up=CatchUpPolicy(row.catch_up), status=ScheduleStatus(row.status),
            pause_reason=PauseReason(row.pause_reason) if row.pause_reason else None, next_run_at=row.next_due_at,
            owner=principal_of(row.owner), created_by=principal_of(row.created_by),
            updated_by=principal_of(row.updated_by),
        )  # fmt: skip

    @strawberry.field(description="The task that it triggers; null when that was deleted.")
    async def task(self, info: Info) -> Task | None:
        """Loaded together for all schedules of an answer."""
        return await load_task(info, self.task_id)

    @strawberry.field(description="Its next ticks, without jitter; none while it does not tick.")
    def next_runs(
        self, count: Annotated[int, strawberry.argument(description="How many: 1 to 100.")] = 5
    ) -> list[datetime]:
        """Worked out from the next one on."""
        whole(count, "count", 1, 100)
        following = self.timing.after(self.next_tick_at) if self.next_tick_at else iter(())
        first = [self.next_tick_at] if self.next_tick_at else []
        return [*first, *(tick for _, tick in zip(range(count - 1), following, strict=False))]

    @strawberry.field(description="What became of its ticks, the latest first; kept for 30 days.")
    async def ticks(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[ScheduleTick]:
        """Loaded together for all schedules of an answer."""
        asked, page = info.context.service.schedules, page_args(first, after, last, before)
        found = await info.context.loaders.at(info, self.id, lambda: lambda ids: asked.tick_pages(ids, page))
        return connection(found, ScheduleTick.of, total(info, self.id, asked.count_ticks))

    @strawberry.field(description="Its runs, the newest first.")
    async def runs(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[TaskRun]:
        """Loaded together for all schedules of an answer."""
        from app.run_filters import RunOrder

        page = page_args(first, after, last, before)
        return await runs_below(info, "schedule_id", self.id, None, RunOrder(), page)


@strawberry.input(description="A fixed interval, which never drifts.")
class IntervalInput:
    """An interval and one of its ticks."""

    seconds: float = strawberry.field(description="The interval in seconds, 1 to 366 days.")
    anchor_at: datetime | None = strawberry.field(
        default=UNSET, description="One of the ticks, earlier or later than now; midnight UTC of 1970 by default."
    )


@strawberry.input(one_of=True, description="When a schedule ticks, in one of three ways.")
class TimingInput:
    """A cron expression, an interval, or a single time."""

    cron: strawberry.Maybe[str] = strawberry.field(
        description="Five fields as in `30 2 * * MON-FRI`, or @yearly, @monthly, @weekly, @daily, @hourly."
    )
    every: strawberry.Maybe[IntervalInput] = strawberry.field(description="A fixed interval.")
    at: strawberry.Maybe[datetime] = strawberry.field(description="A single time.")


@strawberry.input(description="Which schedules fit; everything given must hold, and a list means any of its values.")
class ScheduleFilter:
    """A condition on schedules."""

    task_ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of any of these tasks.")
    statuses: list[ScheduleStatus] | None = strawberry.field(default=UNSET, description="In any of these statuses.")
    owners: list[str] | None = strawberry.field(
        default=UNSET, description="Acting on behalf of any of these principals, as in `USER:ada`."
    )


@strawberry.input(description="When a schedule would tick that is not saved.")
class PreviewScheduleInput:
    """A timing to look at."""

    timing: TimingInput = strawberry.field(description="When it ticks.")
    time_zone: str = strawberry.field(default="UTC", description="The IANA time zone of a cron expression.")
    starts_at: datetime | None = strawberry.field(default=UNSET, description="It ticks from this time on.")
    ends_at: datetime | None = strawberry.field(default=UNSET, description="It ticks before this time.")
    count: int = strawberry.field(default=5, description="How many ticks to show, 1 to 100.")


@strawberry.type(description="The schedule could be saved.")
class PreviewScheduleSuccess:
    """The ticks to come."""

    next_runs: list[datetime] = strawberry.field(description="The next ticks, without jitter.")


PreviewScheduleResult = Annotated[
    PreviewScheduleSuccess | InvalidArgument,
    strawberry.union("PreviewScheduleResult", description="The ticks to come, or what is wrong."),
]


@strawberry.type
class ScheduleQueries:
    """What can be read about schedules."""

    @strawberry.field(description="One schedule; null when there is none of that id.")
    async def schedule(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the schedule.")]
    ) -> Schedule | None:
        """A schedule by its id."""
        return await load_schedule(info, parse_id(id))

    @strawberry.field(description="All schedules, the newest first.")
    async def schedules(
        self,
        info: Info,
        filter: Annotated[ScheduleFilter | None, strawberry.argument(description="Only schedules that fit.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[Schedule]:
        """A page of schedules."""
        asked, chosen = info.context.service.schedules, _chosen(filter)
        page = await asked.list(chosen, page_args(first, after, last, before))
        counted = Total(lambda: asked.count(chosen), info.context.loaders.counts.limit)
        return connection(page, Schedule.of, counted)

    @strawberry.field(description="When a schedule would tick that is not saved.")
    async def preview_schedule(
        self,
        info: Info,
        input: Annotated[PreviewScheduleInput, strawberry.argument(description="When it would tick.")],
    ) -> PreviewScheduleResult:
        """A dry run of ``createSchedule``."""
        times = {name: given(getattr(input, name)) for name in ("starts_at", "ends_at")}
        timing = Timing(**timing_values(input.timing), time_zone=input.time_zone, **times)
        return PreviewScheduleSuccess(next_runs=await info.context.service.schedules.preview(timing, input.count))


async def load_schedule(info: Info, id: UUID | None) -> Schedule | None:
    """The schedule of that id, read together with others at this place; None for no id."""
    if id is None:
        return None
    row = await info.context.loaders.at(info, id, lambda: info.context.service.schedules.find)
    return Schedule.of(row) if row is not None else None


def timing_values(source: TimingInput) -> dict[str, Any]:
    """The fields of ``Timing`` that the input names."""
    if source.cron:
        return {"cron": source.cron.value}
    if source.at:
        return {"at": source.at.value}
    assert source.every
    return {"every": seconds(source.every.value.seconds), "anchor": given(source.every.value.anchor_at)}


def seconds(number: float) -> timedelta:
    """A length of time. Raises ``InvalidArgument`` for one that is longer than any."""
    try:
        return timedelta(seconds=number)
    except (OverflowError, ValueError):
        raise BadArgument(f"{number:g} seconds are longer than any time can be.", path=("input",)) from None


def _chosen(source: ScheduleFilter | None) -> schedules.ScheduleFilter | None:
    if not given(source):
        return None
    values = present(source) if source else {}
    if "task_ids" in values:
        values["task_ids"] = [given_id(id, "filter", "taskIds") for id in values["task_ids"]]
    return schedules.ScheduleFilter(**values)
