"""Statistics say what there was: exactly, in every time zone, for each task, definition, group and owner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from app import TaskService, clock
from app.db import Database
from app.errors import InvalidArgument, TaskDefinitionNotFound, TaskError
from app.periods import StatisticsInterval
from app.rollup_reading import StatisticsDimension, StatisticsRank
from app.rollups import Rollups
from app.service.statistics_reading import StatisticsQuery
from app.task_errors import TaskNotFound
from tests.service import finished
from tests.service.finished import Finished, assert_measured, at_random, count_all, plain, within

DAY = timedelta(days=1)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")
TASKS = finished.some_tasks(5)
FILTERS: dict[str, tuple[dict[str, Any], Callable[[Finished], bool]]] = {
    "everything": ({}, lambda run: True),
    "a definition": ({"definition_ids": ["a"]}, lambda run: run.definition == "a"),
    "definitions": ({"definition_ids": ["a", "c"]}, lambda run: run.definition in "ac"),
    "a task": ({"task_ids": [TASKS[0]["task"]]}, lambda run: run.task == TASKS[0]["task"]),
    "a group": ({"groups": ["mail"]}, lambda run: run.group == "mail"),
    "an owner": ({"owners": ["USER:ada"]}, lambda run: run.owner == "USER:ada"),
    "both": ({"owners": ["USER:ada"], "definition_ids": ["b"]}, lambda r: (r.owner, r.definition) == ("USER:ada", "b")),
    "nothing": ({"groups": ["nobody's"]}, lambda run: False),
}  # fmt: skip


@pytest.fixture
async def runs(db: Database, tasks: TaskService) -> list[Finished]:
    """The runs of ten days, most of them counted in small batches, the last ones not yet."""
    for definition in "abc":
        await publish(db, definition)
    now = clock.now()
    early, late = (
        at_random(now - 10 * DAY, now - DAY / 4, 1500, 1, TASKS),
        at_random(now - DAY / 4, now, 100, 2, TASKS),
    )
    await finished.store(db, [*early, *late])
    await count_all(db, 130, (DAY / 4).total_seconds())
    return [*early, *late]


async def publish(db: Database, definition_id: str) -> None:
    """Let there be a definition."""
    async with db.pipe() as pipe:
        await pipe.execute(
            """
            INSERT INTO task_definitions (id, title, module, version, input_schema, queue, priority, max_iterations,
                max_attempts, is_private, checks_trigger)
            VALUES ($1::text, $1::text, 'm', '1', '{}', 'default', 0, 1, 1, false, false) ON CONFLICT DO NOTHING""",
            definition_id,
        )


async def test_every_bucket_holds_exactly_what_finished_in_it(tasks: TaskService, runs: list[Finished]) -> None:
    since = clock.now() - 9 * DAY
    asked = [(StatisticsInterval.DAY, zone, each) for zone in ZONES for each in FILTERS.values()]
    for interval, name, (values, fits) in [*asked, (StatisticsInterval.HOUR, "UTC", FILTERS["everything"])]:
        query = StatisticsQuery(interval=interval, time_zone=name, since=since, **values)
        report = await tasks.statistics.of(query)
        for bucket in report.buckets:
            assert_measured(bucket.measures, within(runs, bucket.starts_at, bucket.ends_at, fits))
        first, last = report.buckets[0], report.buckets[-1]
        assert first.starts_at <= since < first.ends_at <= last.starts_at <= report.as_of < last.ends_at
        assert_measured(report.totals, within(runs, first.starts_at, last.ends_at, fits))
        before = report.previous
        assert_measured(before.measures, within(runs, before.since, before.until, fits))
        assert report.coarse_before is None


@pytest.mark.parametrize(
    "interval", [StatisticsInterval.QUARTER_HOUR, StatisticsInterval.WEEK, StatisticsInterval.MONTH]
)
async def test_the_shortest_and_the_long_intervals_count_as_well(
    tasks: TaskService, runs: list[Finished], interval: StatisticsInterval
) -> None:
    query = StatisticsQuery(interval=interval, time_zone="Asia/Kathmandu", since=clock.now() - 4 * DAY)
    for bucket in (await tasks.statistics.of(query)).buckets:
        assert_measured(bucket.measures, within(runs, bucket.starts_at, bucket.ends_at, lambda run: True))


@pytest.mark.parametrize("by", list(StatisticsDimension))
async def test_a_ranking_counts_each_key_and_puts_the_first_ones_first(
    tasks: TaskService, runs: list[Finished], by: StatisticsDimension
) -> None:
    query = StatisticsQuery(interval=StatisticsInterval.DAY, time_zone="Asia/Kolkata", since=clock.now() - 9 * DAY)
    report = await tasks.statistics.of(query)
    since, until = report.buckets[0].starts_at, report.buckets[-1].ends_at
    of = {"TASK": lambda r: r.task and str(r.task), "DEFINITION": lambda r: r.definition}
    key = {**of, "GROUP": lambda r: r.group, "OWNER": lambda r: r.owner}[by.value]
    for values, fits in FILTERS.values():
        chosen = [run for run in within(runs, since, until, fits) if key(run)]
        ranked = await tasks.statistics.ranking(StatisticsQuery(**{**query_fields(query), **values}), by)
        assert {row.key for row in ranked} == {key(run) for run in chosen}
        for row in ranked:
            assert_measured(row.measures, [run for run in chosen if key(run) == row.key])
        numbers = [row.measures.runs for row in ranked]
        assert numbers == sorted(numbers, reverse=True)
    worst = await tasks.statistics.ranking(query, by, StatisticsRank.FAILURES, first=1)
    failed = [row.measures.failed + row.measures.lost + row.measures.expired for row in worst]
    everything = await tasks.statistics.ranking(query, by, first=100)
    assert failed == [max(r.measures.failed + r.measures.lost + r.measures.expired for r in everything)]


def query_fields(query: StatisticsQuery) -> dict[str, Any]:
    return {"interval": query.interval, "time_zone": query.time_zone, "since": query.since}


async def test_the_slowest_runs_are_named_also_those_that_are_gone(
    tasks: TaskService, runs: list[Finished], db: Database
) -> None:
    query = StatisticsQuery(interval=StatisticsInterval.DAY, since=clock.now() - 9 * DAY)
    since = (await tasks.statistics.of(query)).buckets[0].starts_at
    for values, fits in FILTERS.values():
        chosen = [run for run in within(runs, since, clock.now(), fits) if run.duration is not None]
        expected = sorted(chosen, key=lambda run: -(run.duration or 0))[:10]
        found = await tasks.statistics.slowest(StatisticsQuery(**{**query_fields(query), **values}))
        assert [row.run_id for row in found] == [run.id for run in expected]
    await delete(db, [run.id for run in runs])
    assert len(await tasks.statistics.slowest(query)) == 10


@pytest.mark.parametrize("month", [3, 10])
async def test_the_days_on_which_clocks_change_have_23_and_25_hours(
    tasks: TaskService, db: Database, month: int
) -> None:
    # Counted in Berlin's days: 24 hours at a time step over the short one, where it is half past eleven at night.
    today = clock.now().astimezone(ZoneInfo("Europe/Berlin")).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - number * DAY for number in range(8, 390)]
    night = next(day for day in days if day.month == month and day.utcoffset() != (day + DAY).utcoffset())
    # One run in each half hour of the night before, the day of the change, and the day after.
    begin = (night - DAY).astimezone(UTC)
    await finished.store(db, [plain(begin + number * timedelta(minutes=30)) for number in range(3 * 48)])
    await count_all(db)
    query = StatisticsQuery(
        interval=StatisticsInterval.DAY, time_zone="Europe/Berlin", since=begin, until=begin + 3 * DAY
    )
    buckets = (await tasks.statistics.of(query)).buckets
    hours = [23, 24] if month == 3 else [25, 24]
    assert [bucket.measures.runs for bucket in buckets[:3]] == [48, 2 * hours[0], min(2 * hours[1], 96 - 2 * hours[0])]
    assert [(b.ends_at.astimezone(UTC) - b.starts_at.astimezone(UTC)) / timedelta(hours=1) for b in buckets[:3]] == [
        24,
        *hours,
    ]
    assert all((bucket.starts_at.hour, bucket.starts_at.minute) == (0, 0) for bucket in buckets)
    assert buckets[1].measures.runs_per_hour == 2.0


async def test_what_is_deleted_stays_counted_whether_it_was_counted_before_or_not(
    tasks: TaskService, runs: list[Finished], db: Database
) -> None:
    query = StatisticsQuery(interval=StatisticsInterval.DAY, since=clock.now() - 11 * DAY)
    await delete(db, [run.id for run in runs[::2]])
    await delete(db, [run.id for run in runs[:10]])
    for _ in range(2):
        report = await tasks.statistics.of(query)
        assert_measured(report.totals, runs)
        for values, fits in FILTERS.values():
            part = await tasks.statistics.of(StatisticsQuery(**{**query_fields(query), **values}))
            assert_measured(part.totals, [run for run in runs if fits(run)])
        await count_all(db)


async def test_an_empty_bucket_is_there_with_zeros_and_no_rates(tasks: TaskService, db: Database) -> None:
    now = clock.now()
    await finished.store(db, [plain(now - 3 * DAY)])
    report = await tasks.statistics.of(StatisticsQuery(interval=StatisticsInterval.DAY, since=now - 4 * DAY))
    assert [bucket.measures.runs for bucket in report.buckets] == [0, 1, 0, 0, 0]
    empty = report.buckets[2].measures
    assert (empty.success_rate, empty.duration.p50, empty.duration.average, empty.runs_per_hour) == (
        None,
        None,
        None,
        0.0,
    )


async def test_the_time_before_is_cut_where_the_present_cuts_the_range(tasks: TaskService, db: Database) -> None:
    now = clock.now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = now - today
    await finished.store(
        db, [plain(today - 1.01 * DAY), plain(today - DAY + passed / 2), plain(today - timedelta(seconds=1))]
    )
    report = await tasks.statistics.of(StatisticsQuery(interval=StatisticsInterval.DAY, since=today + passed / 2))
    assert report.previous.since == today - DAY
    assert timedelta(0) <= report.previous.until - (now - DAY) <= timedelta(minutes=15, seconds=30)
    whole = await tasks.statistics.of(StatisticsQuery(interval=StatisticsInterval.DAY, since=today - DAY, until=today))
    assert (whole.previous.since, whole.previous.until) == (today - 2 * DAY, today - DAY)
    assert (whole.totals.runs, whole.previous.measures.runs) == (2, 1)


async def test_old_buckets_are_cut_at_full_days_once_finer_counts_are_gone(tasks: TaskService, db: Database) -> None:
    now = clock.now().replace(hour=12, minute=0, second=0, microsecond=0)
    times = [now - 500 * DAY, now - 60 * DAY, now - 3 * DAY]
    await finished.store(db, [plain(time) for time in times])
    await count_all(db)
    rollups = Rollups(db)
    while await rollups.forget():
        pass
    async with db.pipe() as pipe:
        left = await pipe.fetch("SELECT minutes, count(*) AS number FROM run_rollups GROUP BY minutes ORDER BY minutes")
    assert [(row["minutes"], row["number"]) for row in left] == [(15, 2), (60, 4), (1440, 6)]
    for days, coarse in ((500, True), (60, False), (3, False)):
        query = StatisticsQuery(
            interval=StatisticsInterval.DAY,
            time_zone="Asia/Tokyo",
            since=now - days * DAY,
            until=now - (days - 1) * DAY,
        )
        report = await tasks.statistics.of(query)
        assert (report.totals.runs, report.coarse_before is not None) == (1, coarse)


async def test_more_than_fifty_thousand_uncounted_runs_are_told_by_how_far_the_answer_reaches(
    tasks: TaskService, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    await finished.store(db, [plain(now - timedelta(minutes=20 - n)) for n in range(10)])
    monkeypatch.setattr("app.rollup_reading.TAIL", 5)
    report = await tasks.statistics.of(StatisticsQuery())
    assert report.totals.runs == 5
    assert report.as_of == now - timedelta(minutes=16)
    await count_all(db)
    report = await tasks.statistics.of(StatisticsQuery())
    assert (report.totals.runs, report.as_of > now) == (10, True)


NOW = datetime(2026, 6, 1, tzinfo=UTC)
REFUSED: dict[str, tuple[dict[str, Any], type[TaskError], str]] = {
    "a zone": ({"time_zone": "Europe/Berlino"}, InvalidArgument, "Did you mean 'Europe/Berlin'?"),
    "an empty range": ({"since": NOW, "until": NOW}, InvalidArgument, "'since' must be earlier than 'until'"),
    "too many buckets": (
        {"since": NOW - 42 * DAY, "until": NOW},
        InvalidArgument,
        "more than 1000 buckets of one HOUR",
    ),
    "a time without a zone": ({"since": datetime(2026, 1, 1)}, InvalidArgument, "'since' has no timezone"),
    "a year": ({"since": datetime(1999, 1, 1, tzinfo=UTC)}, InvalidArgument, "the years 2000 to 2199"),
    "a definition": ({"definition_ids": ["nobody"]}, TaskDefinitionNotFound, "no task definition 'nobody'"),
    "a task": ({"task_ids": [uuid4()]}, TaskNotFound, "There is no task"),
    "an id": ({"task_ids": ["x"]}, TaskNotFound, "There is no task 'x'"),
    "a NUL": ({"groups": ["a\0"]}, InvalidArgument, "NUL"),
    "too many": ({"owners": ["USER:a"] * 101}, InvalidArgument, "at most 100"),
}


@pytest.mark.parametrize(("values", "refusal", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_answered_is_refused_with_what_is_allowed(
    tasks: TaskService, values: dict[str, Any], refusal: type[TaskError], words: str
) -> None:
    for ask in (tasks.statistics.of, tasks.statistics.slowest):
        with pytest.raises(refusal, match=words):
            await ask(StatisticsQuery(**values))


@pytest.mark.parametrize("first", [0, 101])
async def test_a_ranking_is_bounded(tasks: TaskService, first: int) -> None:
    with pytest.raises(InvalidArgument, match="from 1 to 100"):
        await tasks.statistics.ranking(StatisticsQuery(), StatisticsDimension.TASK, first=first)
    with pytest.raises(InvalidArgument, match="from 1 to 10"):
        await tasks.statistics.slowest(StatisticsQuery(), first=first)


async def test_a_definition_and_a_task_that_are_gone_keep_their_history(tasks: TaskService, db: Database) -> None:
    runs = at_random(clock.now() - DAY, clock.now(), 30, 3, TASKS)
    await finished.store(db, runs)
    await count_all(db)
    query = StatisticsQuery(definition_ids=["a"], task_ids=[TASKS[0]["task"]], since=clock.now() - 2 * DAY)
    expected = [run for run in runs if run.definition == "a" and run.task == TASKS[0]["task"]]
    assert_measured((await tasks.statistics.of(query)).totals, expected)


async def delete(db: Database, run_ids: list[Any]) -> None:
    """Delete runs as purges do."""
    from app.history import History

    async with db.pipe() as pipe:
        history = History(pipe)
        await history.delete([row["id"] for row in await history.lock(run_ids)])
