"""Buckets lie side by side, begin where a clock on the wall says so, and touch the whole range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidArgument
from app.periods import MAX_BUCKETS, StatisticsInterval, boundaries, earlier

I = StatisticsInterval  # noqa: E741
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Africa/Cairo",
)
TIMES = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
LENGTHS = {I.QUARTER_HOUR: 2, I.HOUR: 9, I.DAY: 200, I.WEEK: 1500, I.MONTH: 6000}


@given(st.sampled_from(list(I)), st.sampled_from(ZONES), TIMES, st.floats(0.001, 1))
@example(I.DAY, "Pacific/Apia", datetime(2011, 12, 1, tzinfo=UTC), 0.3).via("a day that was left out")
def test_buckets_follow_on_each_other_and_hold_the_range(
    interval: StatisticsInterval, name: str, since: datetime, part: float
) -> None:
    zone = ZoneInfo(name)
    until = since + timedelta(days=LENGTHS[interval]) * part
    edges = boundaries(since, until, interval, zone)
    assert edges[0] <= since < edges[1]
    assert edges[-2] < until <= edges[-1]
    assert edges == sorted(set(edges))
    assert all(edge.minute % 15 == edge.second == edge.microsecond == 0 for edge in edges)
    locals_ = [edge.astimezone(zone) for edge in edges]
    if interval is I.HOUR:
        assert all(local.minute == 0 for local in locals_)
    if interval is I.WEEK:
        assert all(local.weekday() == 0 for local in locals_)
    if interval is I.MONTH:
        assert all(local.day == 1 for local in locals_)
    assert earlier(edges[-1], len(edges) - 1, interval, zone) <= edges[0] + timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29), 23),
        ("Europe/Berlin", datetime(2026, 10, 25), 25),
        ("Australia/Lord_Howe", datetime(2026, 4, 5), 24.5),
        ("America/Sao_Paulo", datetime(2018, 11, 4), 23),
        ("Pacific/Apia", datetime(2011, 12, 29), 24),
    ],
)
def test_a_day_on_which_clocks_change_is_as_long_as_it_was(name: str, day: datetime, hours: float) -> None:
    zone = ZoneInfo(name)
    noon = day.replace(hour=12, tzinfo=zone).astimezone(UTC)
    edges = boundaries(noon, noon + timedelta(seconds=1), I.DAY, zone)
    assert (edges[1] - edges[0]) / timedelta(hours=1) == hours


def test_there_are_as_many_buckets_as_allowed_and_no_more() -> None:
    since, zone = datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC")
    assert len(boundaries(since, since + timedelta(hours=MAX_BUCKETS), I.HOUR, zone)) == MAX_BUCKETS + 1
    with pytest.raises(InvalidArgument, match="more than 1000 buckets of one HOUR"):
        boundaries(since, since + timedelta(hours=MAX_BUCKETS, seconds=1), I.HOUR, zone)
