"""When schedules tick: cron, intervals, single times, both DST nights, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidArgument
from app.ticks import ALIASES, MOST_COUNTED, Timing, check

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"
SCHEDULE = UUID("0199c0de-0000-7000-8000-000000000000")


def local(cron: str, since: datetime, number: int, zone: str = BERLIN) -> list[str]:
    """The next ticks of an expression, as the clock on the wall shows them."""
    ticks = islice(Timing(cron=cron, time_zone=zone).after(since), number)
    return [tick.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z") for tick in ticks]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        # A fixed time that does not exist comes when the clocks have been put forward.
        ("30 2 * * *", ["29 03:00+0200", "30 02:30+0200"]),
        # Two that do not exist come as one.
        ("15,45 2 * * *", ["29 03:00+0200", "30 02:15+0200", "30 02:45+0200"]),
        ("0 2,3 * * *", ["29 03:00+0200", "30 02:00+0200"]),
        # A pattern of minutes or hours goes by what the clock shows, and that hour is not shown.
        ("*/30 2 * * *", ["30 02:00+0200"]),
    ],
)
def test_in_the_night_that_lacks_an_hour_a_fixed_time_comes_late_and_a_pattern_leaves_it_out(
    cron: str, expected: list[str]
) -> None:
    assert local(cron, SPRING, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["25 02:30+0200", "26 02:30+0100"]),
        ("0 2,3 * * *", ["25 02:00+0200", "25 03:00+0100", "26 02:00+0100"]),
        ("*/30 2 * * *", ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100", "26 02:00+0100"]),
    ],
)
def test_in_the_night_that_has_an_hour_twice_a_fixed_time_comes_once_and_a_pattern_twice(
    cron: str, expected: list[str]
) -> None:
    assert local(cron, AUTUMN, len(expected)) == expected


def test_from_within_the_second_hour_a_fixed_time_of_the_first_one_is_not_given_again() -> None:
    within = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert local("45 2 * * *", within, 1) == ["26 02:45+0100"]


ZONES = st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
FIELDS = (
    ["*", "*/7", "0", "5,40"],
    ["*", "*/5", "2", "1-3", "0,23"],
    ["*", "1", "L", "29"],
    ["*", "2", "3,10"],
)
CRONS = st.tuples(*map(st.sampled_from, FIELDS), st.sampled_from(["*", "MON-FRI", "0", "5#2"])).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(cron=CRONS, zone=ZONES, moment=MOMENTS)
def test_ticks_of_cron_come_in_order_after_the_moment_and_the_same_from_wherever_one_looks(
    cron: str, zone: str, moment: datetime
) -> None:
    timing = Timing(cron=cron, time_zone=zone)
    ticks = list(islice(timing.after(moment), 5))
    assert all(earlier < later for earlier, later in zip([moment, *ticks], ticks, strict=False))
    for earlier, later in pairwise(ticks):
        assert timing.next(earlier) == later
    assert all(tick.second == 0 and tick.tzinfo is UTC for tick in ticks)


@given(moment=MOMENTS, anchor=MOMENTS, seconds=st.integers(1, 31_000_000))
def test_ticks_of_an_interval_never_drift_from_their_anchor(moment: datetime, anchor: datetime, seconds: int) -> None:
    every = timedelta(seconds=seconds)
    timing = Timing(every=every, anchor=anchor)
    tick = timing.next(moment)
    assert tick is not None
    assert moment < tick <= moment + every
    assert (tick - anchor) % every == timedelta(0)
    assert timing.last(tick) == tick


def test_a_single_time_comes_once_and_start_and_end_bound_the_ticks() -> None:
    later = NOW + timedelta(hours=5)
    assert list(Timing(at=later).after(NOW)) == [later]
    assert list(Timing(at=later).after(later)) == []
    bounded = Timing(cron="@hourly", starts_at=NOW + timedelta(hours=2), ends_at=NOW + timedelta(hours=4))
    assert list(bounded.after(NOW)) == [NOW + timedelta(hours=2), NOW + timedelta(hours=3)]


def test_the_last_tick_is_found_however_rare_and_missed_ones_are_counted_to_a_limit() -> None:
    assert Timing(cron="0 0 29 2 *").last(NOW) == datetime(2024, 2, 29, tzinfo=UTC)
    assert Timing(cron="@hourly").last(NOW) == NOW
    assert Timing(at=NOW + timedelta(days=1)).last(NOW) is None
    assert Timing(cron="* * * * *").count(NOW, NOW + timedelta(minutes=9)) == 10
    assert Timing(every=timedelta(seconds=1)).count(NOW, NOW + timedelta(days=99)) == MOST_COUNTED


@given(tick=MOMENTS)
def test_jitter_is_the_same_for_everybody_and_stays_within_its_bound(tick: datetime) -> None:
    timing = Timing(cron="@hourly", jitter=timedelta(minutes=5))
    due = timing.due_at(SCHEDULE, tick)
    assert tick <= due < tick + timedelta(minutes=5)
    assert due == timing.due_at(SCHEDULE, tick.astimezone(ZoneInfo(BERLIN)))
    assert due != timing.due_at(UUID(int=1), tick)


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_can_be_used(alias: str) -> None:
    assert check(Timing(cron=alias), NOW) > NOW


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        (Timing(), "exactly one"),
        (Timing(cron="@daily", at=NOW), "exactly one"),
        (Timing(cron="* * * *"), "has 4 fields, but must have 5: minute"),
        (Timing(cron="0 * * * * *"), "has 6 fields"),
        (Timing(cron="61 * * * *"), "The minute of the cron expression"),
        (Timing(cron="0 25 * * *"), "The hour of"),
        (Timing(cron="0 0 31 2 *"), "The day of month of"),
        (Timing(cron="0 0 * 13 *"), "The month of"),
        (Timing(cron="0 0 * * FOO"), "The day of week of"),
        (Timing(cron="@reboot"), "no alias of cron. There are @yearly"),
        (Timing(cron="0 " * 200), "400 characters"),
        (Timing(cron="@daily", time_zone="Europe/Berln"), "Did you mean 'Europe/Berlin'"),
        (Timing(cron="@daily", time_zone="../etc/passwd"), "IANA name"),
        (Timing(every=timedelta(milliseconds=5)), "1 second to 366 days"),
        (Timing(every=timedelta(seconds=10), jitter=timedelta(seconds=11)), "must be 0 to 10"),
        (Timing(at=NOW), "never tick"),
        (Timing(at=datetime(2027, 1, 1)), "no timezone"),
        (Timing(cron="@daily", ends_at=NOW), "never tick"),
        (Timing(cron="@daily", starts_at=NOW, ends_at=NOW), "later than 'startsAt'"),
        (Timing(cron="@daily", starts_at=datetime(1, 1, 1, tzinfo=UTC)), "years 1970 to 2199"),
    ],
)
def test_what_cannot_tick_is_refused_with_what_is_wrong(timing: Timing, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message.replace("(", r"\(")):
        check(timing, NOW)


@given(text=st.text(alphabet="0123456789*,-/#LW @MONabc", max_size=30))
@settings(max_examples=500, deadline=None)
def test_any_text_is_either_a_schedule_or_refused_by_name(text: str) -> None:
    with suppress(InvalidArgument):
        check(Timing(cron=text), NOW)
