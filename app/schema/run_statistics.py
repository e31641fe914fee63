"""Statistics of final runs as clients see them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry import UNSET

from app.periods import StatisticsInterval
from app.rollup_reading import StatisticsDimension, StatisticsRank
from app.schema.connections import given
from app.schema.context import Info
from app.schema.definitions import TaskDefinition
from app.schema.runs import TaskRun, load_definition, load_run
from app.schema.saved_tasks import Task, load_task
from app.schema.sharing import shared
from app.schema.vocabulary import describe
from app.service import statistics_reading
from app.service.statistics_reading import StatisticsQuery

describe(
    StatisticsInterval,
    "How long a bucket of statistics is.",
    {
        "QUARTER_HOUR": "A quarter of an hour.",
        "HOUR": "An hour of the time zone's clock.",
        "DAY": "A day of the time zone, from midnight: of 23 or 25 hours when clocks change.",
        "WEEK": "A week of the time zone, from Monday.",
        "MONTH": "A month of the time zone.",
    },
)
describe(
    StatisticsDimension,
    "What statistics are divided by.",
    {
        "TASK": "Saved tasks; runs without one are left out.",
        "DEFINITION": "Definitions.",
        "GROUP": "Groups that the runs' tasks were in; runs of none are left out.",
        "OWNER": "Who owned the runs' tasks; runs without a task are left out.",
    },
)
describe(
    StatisticsRank,
    "What comes first.",
    {
        "RUNS": "That with the most runs.",
        "FAILURES": "That with the most runs that failed, were lost or expired.",
        "TIME": "That whose runs took the longest time, all added up.",
    },
)


@strawberry.input(description="Which final runs are counted; everything given must hold, a list means any of it.")
class StatisticsFilter:
    """A condition on final runs. Each list has up to 100 values."""

    definition_ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of these definitions.")
    task_ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of these saved tasks.")
    groups: list[str] | None = strawberry.field(default=UNSET, description="Their task was in one of these groups.")
    owners: list[str] | None = strawberry.field(
        default=UNSET, description="Their task was owned by one of these, as `USER:ada`."
    )


@strawberry.type(description="How long something took, in milliseconds; each is null when there is nothing to tell of.")
class StatisticsPercentiles:
    """Percentiles and the average."""

    p50: float | None = strawberry.field(description="Half took no longer; within 5 %, as the other percentiles are.")
    p95: float | None = strawberry.field(description="95 of 100 took no longer.")
    p99: float | None = strawberry.field(description="99 of 100 took no longer.")
    average: float | None = strawberry.field(description="The average.")

    @classmethod
    def of(cls, found: statistics_reading.Percentiles) -> StatisticsPercentiles:
        """As the service gives them."""
        return cls(p50=found.p50, p95=found.p95, p99=found.p99, average=found.average)


@strawberry.type(description="What became of some runs.")
class StatisticsMeasures:
    """Counts, rates and times."""

    runs: int = strawberry.field(description="How many there are.")
    succeeded: int = strawberry.field(description="How many of them SUCCEEDED.")
    failed: int = strawberry.field(description="How many of them FAILED.")
    aborted: int = strawberry.field(description="How many of them were ABORTED.")
    lost: int = strawberry.field(description="How many of them were LOST.")
    expired: int = strawberry.field(description="How many of them EXPIRED.")
    success_rate: float | None = strawberry.field(
        description="The part of those not aborted that succeeded, 0 to 1; null when there are none."
    )
    runs_per_hour: float | None = strawberry.field(
        description="How many finished in an hour, of the time that has passed; null when none has."
    )
    duration_ms: StatisticsPercentiles = strawberry.field(
        description="From the first start to the end, of those that started."
    )
    wait_ms: StatisticsPercentiles = strawberry.field(
        description="From when they were due to their first start, of those that started."
    )

    @classmethod
    def of(cls, found: statistics_reading.Measures) -> StatisticsMeasures:
        """As the service gives them."""
        return cls(
            runs=found.runs,
            succeeded=found.succeeded,
            failed=found.failed,
            aborted=found.aborted,
            lost=found.lost,
            expired=found.expired,
            success_rate=found.success_rate,
            runs_per_hour=found.runs_per_hour,
            duration_ms=StatisticsPercentiles.of(found.duration),
            wait_ms=StatisticsPercentiles.of(found.wait),
        )


@strawberry.type(description="What finished within one interval.")
class StatisticsBucket:
    """A bucket; one in which nothing finished is there too."""

    starts_at: datetime = strawberry.field(description="From when.")
    local_start: str = strawberry.field(
        description="From when by the clock of the time zone, as in `2026-10-25T00:00:00+02:00`."
    )
    ends_at: datetime = strawberry.field(description="Until before when.")
    measures: StatisticsMeasures = strawberry.field(description="What became of its runs.")


@strawberry.type(
    description="The time before, to compare with: as long, or as much of it as has passed of the present."
)
class StatisticsPrevious:
    """The period before."""

    since: datetime = strawberry.field(description="From when.")
    until: datetime = strawberry.field(description="Until before when.")
    measures: StatisticsMeasures = strawberry.field(description="What became of its runs.")


@strawberry.type(description="One task, definition, group or owner, over the whole time.")
class StatisticsRanked:
    """A place in a ranking."""

    key: str = strawberry.field(description="The id of the task or definition, or the name of the group or owner.")
    measures: StatisticsMeasures = strawberry.field(description="What became of its runs.")
    by: strawberry.Private[StatisticsDimension]

    @strawberry.field(description="The task, when `by` is TASK and it was not deleted.")
    async def task(self, info: Info) -> Task | None:
        """Read together with the others."""
        return await load_task(info, UUID(self.key)) if self.by is StatisticsDimension.TASK else None

    @strawberry.field(description="The definition, when `by` is DEFINITION and it is published.")
    async def definition(self, info: Info) -> TaskDefinition | None:
        """Read together with the others."""
        return await load_definition(info, self.key) if self.by is StatisticsDimension.DEFINITION else None


@strawberry.type(description="One of the runs that took longest.")
class StatisticsSlowRun:
    """A slow run."""

    run_id: strawberry.ID = strawberry.field(description="Its id.")
    duration_ms: float = strawberry.field(description="How long it took, in milliseconds.")

    @strawberry.field(description="The run; null when it was deleted meanwhile.")
    async def run(self, info: Info) -> TaskRun | None:
        """Read together with the others."""
        return await load_run(info, UUID(self.run_id))


@strawberry.type(description="What became of the runs that finished within a time.")
class Statistics:
    """The answer to one question; each part is read when it is asked for."""

    query: strawberry.Private[StatisticsQuery]
    service: strawberry.Private[statistics_reading.Statistics]
    reading: strawberry.Private[asyncio.Future[statistics_reading.Report] | None] = None

    async def report(self) -> statistics_reading.Report:
        """What the fields but rankings and slowest runs show, read once."""
        if self.reading is None:
            self.reading = asyncio.ensure_future(self.service.of(self.query))
        return await shared(self.reading)

    @strawberry.field(description="The buckets, the oldest first; all that the time touches, up to 1,000.")
    async def buckets(self) -> list[StatisticsBucket]:
        """All of them."""
        return [
            StatisticsBucket(
                starts_at=each.starts_at,
                local_start=each.starts_at.isoformat(),
                ends_at=each.ends_at,
                measures=StatisticsMeasures.of(each.measures),
            )
            for each in (await self.report()).buckets
        ]

    @strawberry.field(description="All buckets together.")
    async def totals(self) -> StatisticsMeasures:
        """The sum."""
        return StatisticsMeasures.of((await self.report()).totals)

    @strawberry.field(description="The time before, to compare with.")
    async def previous(self) -> StatisticsPrevious:
        """The comparison."""
        found = (await self.report()).previous
        return StatisticsPrevious(since=found.since, until=found.until, measures=StatisticsMeasures.of(found.measures))

    @strawberry.field(
        description="Runs that finished before this are counted: now, unless more than 50,000 are yet to be counted."
    )
    async def as_of(self) -> datetime:
        """How far the answer reaches."""
        return (await self.report()).as_of

    @strawberry.field(
        description="Buckets that begin up to this time are cut at full hours or days in UTC, because finer counts "
        "are not kept for so long; null when all are exact."
    )
    async def coarse_before(self) -> datetime | None:
        """Where exactness begins."""
        return (await self.report()).coarse_before

    @strawberry.field(description="The tasks, definitions, groups or owners that come first.")
    async def ranking(
        self,
        by: Annotated[StatisticsDimension, strawberry.argument(description="Of what.")],
        rank: Annotated[StatisticsRank, strawberry.argument(description="What comes first.")] = StatisticsRank.RUNS,
        first: Annotated[int, strawberry.argument(description="How many: 1 to 100.")] = 10,
    ) -> list[StatisticsRanked]:
        """A ranking over the whole time."""
        rows = await self.service.ranking(self.query, by, rank, first)
        return [StatisticsRanked(key=row.key, measures=StatisticsMeasures.of(row.measures), by=by) for row in rows]

    @strawberry.field(description="The runs that took longest.")
    async def slowest(
        self, first: Annotated[int, strawberry.argument(description="How many: 1 to 10.")] = 10
    ) -> list[StatisticsSlowRun]:
        """By their durations."""
        rows = await self.service.slowest(self.query, first)
        return [StatisticsSlowRun(run_id=strawberry.ID(str(row.run_id)), duration_ms=row.duration_ms) for row in rows]


@strawberry.type
class StatisticsQueries:
    """What can be asked about runs that have finished."""

    @strawberry.field(
        description="What became of the runs that finished within a time: by bucket, all together, compared with the "
        "time before, by task, definition, group and owner. Deleted runs stay counted."
    )
    async def statistics(
        self,
        info: Info,
        filter: Annotated[StatisticsFilter | None, strawberry.argument(description="Only runs that fit.")] = UNSET,
        interval: Annotated[
            StatisticsInterval, strawberry.argument(description="How long a bucket is.")
        ] = StatisticsInterval.HOUR,
        time_zone: Annotated[
            str, strawberry.argument(description="Where hours, days, weeks and months begin: an IANA name.")
        ] = "UTC",
        since: Annotated[
            datetime | None,
            strawberry.argument(
                description="From when, moved back to where a bucket begins. By default 6 hours, one day, 30 days, "
                "12 weeks or a year before `until`, by the interval."
            ),
        ] = UNSET,
        until: Annotated[
            datetime | None,
            strawberry.argument(description="Until when, moved on to where a bucket ends; now by default."),
        ] = UNSET,
    ) -> Statistics:
        """Checked at once, so that what is wrong is told before anything is read."""
        found = info.context.service.statistics
        query = _query(filter, interval, time_zone, given(since), given(until))
        await found.check(query)
        return Statistics(query=query, service=found)


def _query(
    filter: StatisticsFilter | None,
    interval: StatisticsInterval,
    time_zone: str,
    since: datetime | None,
    until: datetime | None,
) -> StatisticsQuery:
    chosen = StatisticsFilter() if filter is None or filter is UNSET else filter
    return StatisticsQuery(
        interval=interval,
        time_zone=time_zone,
        since=since,
        until=until,
        definition_ids=given(chosen.definition_ids),
        task_ids=given(chosen.task_ids),
        groups=given(chosen.groups),
        owners=given(chosen.owners),
    )
