"""Statistics of final runs: buckets of time, totals beside those of the time before, rankings, the slowest runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.conditions import storable
from app.db import Database
from app.errors import InvalidArgument, TaskDefinitionNotFound
from app.histogram import percentiles
from app.kinds import aware, whole
from app.periods import YEARS, StatisticsInterval, boundaries, ceiling, earlier
from app.rollup_reading import Asked, Figures, RollupReading, Span, StatisticsDimension, StatisticsRank
from app.rollup_statements import SLOWEST
from app.service.declared import as_declared
from app.service.known import KnownDefinitions
from app.service.saved_reading import SavedTaskReading, task_uuid
from app.task_errors import TaskNotFound
from app.time_zones import time_zone_named

MAX_VALUES = 100
MAX_GROUPS = 100
PARTS = (0.5, 0.95, 0.99)
DEFAULT_RANGES = {
    StatisticsInterval.QUARTER_HOUR: timedelta(hours=6),
    StatisticsInterval.HOUR: timedelta(days=1),
    StatisticsInterval.DAY: timedelta(days=30),
    StatisticsInterval.WEEK: timedelta(weeks=12),
    StatisticsInterval.MONTH: timedelta(days=365),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuery:
    """Which final runs are counted, and how they are divided.

    Args:
        interval: how long a bucket is.
        time_zone: the IANA name of the zone in which hours, days, weeks and months begin.
        since, until: the runs that finished from one to before the other; both are moved outward to where a bucket
            begins. By default up to now, from 6 hours (quarters of an hour), one day (hours), 30 days, 12 weeks or a
            year before.
        definition_ids, task_ids, groups, owners: only runs that have one of these values, of every field given; up to
            100 each.
    """

    interval: StatisticsInterval = StatisticsInterval.HOUR
    time_zone: str = "UTC"
    since: datetime | None = None
    until: datetime | None = None
    definition_ids: Sequence[str] | None = None
    task_ids: Sequence[UUID | str] | None = None
    groups: Sequence[str] | None = None
    owners: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that half, 95 % and 99 % of the runs did not exceed, within 5 %; and the exact average."""

    p50: float | None
    p95: float | None
    p99: float | None
    average: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """What became of some runs.

    ``success_rate`` is the part of those that did not end by an abort, 0 to 1; None when there are none.
    ``runs_per_hour`` is None while no time has passed. ``duration`` is from first start to end, ``wait`` from due to
    first start, both of the runs that started.
    """

    succeeded: int
    failed: int
    aborted: int
    lost: int
    expired: int
    runs_per_hour: float | None
    duration: Percentiles
    wait: Percentiles

    @property
    def runs(self) -> int:
        """How many there are."""
        return self.succeeded + self.failed + self.aborted + self.lost + self.expired

    @property
    def success_rate(self) -> float | None:
        """The part of those that say something that succeeded."""
        telling = self.runs - self.aborted
        return self.succeeded / telling if telling else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What finished from ``starts_at`` to before ``ends_at``, both in the query's time zone."""

    starts_at: datetime
    ends_at: datetime
    measures: Measures


@dataclass(frozen=True, slots=True)
class Previous:
    """The time before: as many buckets, or as much of the last one as has passed of it now."""

    since: datetime
    until: datetime
    measures: Measures


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to a query.

    Runs that finished before ``as_of`` are in it; that is now, unless housekeeping has more than 50,000 runs to catch
    up with. Buckets that begin before ``coarse_before`` (None: there are none) are cut at full hours or days in UTC,
    because finer counts are not kept for so long.
    """

    as_of: datetime
    coarse_before: datetime | None
    buckets: list[Bucket]
    totals: Measures
    previous: Previous


@dataclass(frozen=True, slots=True)
class Ranked:
    """One task, definition, group or owner, by its id or name."""

    key: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class SlowRun:
    """One of the runs that took longest; it may be gone by now."""

    run_id: UUID
    duration_ms: float


@dataclass(frozen=True, slots=True)
class _Range:
    """A query that was checked: of which runs, and where its buckets begin and end."""

    asked: Asked
    edges: list[datetime]
    previous: datetime
    now: datetime

    @property
    def spans(self) -> list[Span]:
        """The buckets."""
        return list(zip(self.edges, self.edges[1:], strict=False))

    @property
    def whole(self) -> Span:
        """From the first to the last."""
        return self.edges[0], self.edges[-1]

    @property
    def before(self) -> Span:
        """The time to compare with."""
        since, until = self.whole
        if until <= self.now:
            return self.previous, since
        return self.previous, min(since, self.previous + (ceiling(self.now, 15) - since))


@as_declared
class Statistics:
    """What ``tasks.statistics`` can tell."""

    def __init__(self, db: Database, known: KnownDefinitions, saved: SavedTaskReading) -> None:
        self._db = db
        self._known = known
        self._saved = saved

    async def check(self, query: StatisticsQuery) -> None:
        """See whether a query is allowed, and what it names exists.

        Raises:
            InvalidArgument: an unknown time zone, a range that is empty or has more than 1,000 buckets, a value that
                cannot be one.
            TaskNotFound, TaskDefinitionNotFound: there is none, and never was one that was counted.
        """
        await self._checked(query)

    async def of(self, query: StatisticsQuery) -> Report:
        """Buckets, totals, and the totals of the time before. Raises as ``check`` does.

        Example:
            report = await tasks.statistics.of(StatisticsQuery(interval=StatisticsInterval.DAY, time_zone="Asia/Tokyo"))
            rates = [bucket.measures.success_rate for bucket in report.buckets]
        """
        asked = await self._checked(query)
        async with self._db.read() as session:
            reading = RollupReading(session)
            await reading.begin()
            asked = replace(asked, now=reading.known.now)
            found = await reading.figures(asked.asked, asked.spans)
            before = await reading.figures(asked.asked, [asked.before])
            as_of = await reading.as_of(asked.whole)
            coarse = [edge for edge in asked.edges if reading.is_coarse(asked.asked, edge)]
        figures = [found.get((number, None), Figures()) for number in range(len(asked.spans))]
        return Report(
            as_of,
            coarse[-1] if coarse else None,
            [_bucket(span, each, asked.now, query.time_zone) for span, each in zip(asked.spans, figures, strict=True)],
            _measures(_sum(figures), asked.whole, asked.now),
            Previous(*asked.before, _measures(before.get((0, None), Figures()), asked.before, asked.now)),
        )

    async def ranking(
        self,
        query: StatisticsQuery,
        by: StatisticsDimension,
        rank: StatisticsRank = StatisticsRank.RUNS,
        first: int = 10,
    ) -> list[Ranked]:
        """The tasks, definitions, groups or owners that come first, over the whole range. Raises as ``check`` does.

        Example:
            worst = await tasks.statistics.ranking(query, StatisticsDimension.TASK, StatisticsRank.FAILURES)
        """
        whole(first, "first", 1, MAX_GROUPS)
        asked = await self._checked(query)
        async with self._db.read() as session:
            reading = RollupReading(session)
            await reading.begin()
            by_key = replace(asked.asked, by=by)
            keys = await reading.ranked(by_key, asked.whole, rank, first)
            found = await reading.figures(by_key.only(_values(by, keys)), [asked.whole]) if keys else {}
        return [Ranked(str(key), _measures(found[0, key], asked.whole, reading.known.now)) for key in keys]

    async def slowest(self, query: StatisticsQuery, first: int = SLOWEST) -> list[SlowRun]:
        """The runs that took longest, up to ten. Raises as ``check`` does.

        Example:
            [slowest] = await tasks.statistics.slowest(query, first=1)
        """
        whole(first, "first", 1, SLOWEST)
        asked = await self._checked(query)
        async with self._db.read() as session:
            reading = RollupReading(session)
            await reading.begin()
            return [SlowRun(*row) for row in await reading.slowest(asked.asked, asked.whole, first)]

    # Beneath.

    async def _checked(self, query: StatisticsQuery) -> _Range:
        asked = await self._range(query)
        for definition_id in query.definition_ids or ():
            await self._check_definition(definition_id)
        ids = [task_uuid(id) for id in query.task_ids or ()]
        found = set(await self._saved.find(ids, deleted=True)) if ids else set[UUID]()
        for id in ids:
            if id not in found and not await self._is_counted("task_rollups WHERE task_id = $1", id):
                raise TaskNotFound(id, path=("filter", "taskIds"))
        return asked

    async def _range(self, query: StatisticsQuery) -> _Range:
        where, now = time_zone_named(query.time_zone), await self._db.clock.time()
        until = _moment(query.until, "until") or now
        since = _moment(query.since, "since") or until - DEFAULT_RANGES[query.interval]
        if since >= until:
            raise InvalidArgument("'since' must be earlier than 'until'.", path=("since",))
        edges = boundaries(since, until, query.interval, where)
        return _Range(_asked(query), edges, earlier(edges[0], len(edges) - 1, query.interval, where), now)

    async def _check_definition(self, definition_id: str) -> None:
        if definition_id in await self._known.find([definition_id]):
            return
        there = "run_rollups WHERE scope = 'DEFINITION' AND key = $1"
        if not await self._is_counted(there, storable(definition_id)):
            raise TaskDefinitionNotFound(definition_id, path=("filter", "definitionIds"))

    async def _is_counted(self, there: str, key: Any) -> bool:
        async with self._db.read() as session:
            return await RollupReading(session).is_there(there, key)


def _asked(query: StatisticsQuery) -> Asked:
    given = {
        StatisticsDimension.TASK: ("taskIds", query.task_ids),
        StatisticsDimension.DEFINITION: ("definitionIds", query.definition_ids),
        StatisticsDimension.GROUP: ("groups", query.groups),
        StatisticsDimension.OWNER: ("owners", query.owners),
    }
    values: dict[StatisticsDimension, Sequence[Any]] = {}
    for dimension, (field, listed) in given.items():
        if listed is None:
            continue
        if len(listed) > MAX_VALUES:
            raise InvalidArgument(
                f"'{field}' lists {len(listed)} values, but at most {MAX_VALUES} are allowed.", path=("filter", field)
            )
        values[dimension] = _values(dimension, listed)
    return Asked(values)


def _values(dimension: StatisticsDimension, listed: Sequence[Any]) -> list[Any]:
    if dimension is StatisticsDimension.TASK:
        return [task_uuid(id) for id in listed]
    return [storable(value) for value in listed if value]


def _moment(moment: datetime | None, field: str) -> datetime | None:
    if moment is None:
        return None
    if not YEARS[0] <= aware(moment, field).year <= YEARS[1]:
        raise InvalidArgument(f"'{field}' must lie in the years {YEARS[0]} to {YEARS[1]}.", path=(field,))
    return moment.astimezone(UTC)


def _bucket(span: Span, figures: Figures, now: datetime, time_zone: str) -> Bucket:
    where = time_zone_named(time_zone)
    return Bucket(span[0].astimezone(where), span[1].astimezone(where), _measures(figures, span, now))


def _measures(figures: Figures, span: Span, now: datetime) -> Measures:
    numbers = (figures.succeeded, figures.failed, figures.aborted, figures.lost, figures.expired)
    hours = (min(span[1], now) - span[0]) / timedelta(hours=1)
    return Measures(
        *numbers,
        sum(numbers) / hours if hours > 0 else None,
        _percentiles(figures.durations, figures.duration_ms),
        _percentiles(figures.waits, figures.wait_ms),
    )


def _percentiles(bins: Any, total_ms: float) -> Percentiles:
    number = sum(bins.values())
    p50, p95, p99 = percentiles(bins, PARTS)
    return Percentiles(p50, p95, p99, total_ms / number if number else None)


def _sum(figures: Sequence[Figures]) -> Figures:
    durations, waits = Counter[int](), Counter[int]()
    for each in figures:
        durations.update(each.durations)
        waits.update(each.waits)
    return Figures(
        sum(each.succeeded for each in figures),
        sum(each.failed for each in figures),
        sum(each.aborted for each in figures),
        sum(each.lost for each in figures),
        sum(each.expired for each in figures),
        sum(each.duration_ms for each in figures),
        sum(each.wait_ms for each in figures),
        durations,
        waits,
    )
