"""The database's time by this machine's clock: corrected where that is wrong, left alone where nobody can tell."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from app import clock
from app.database_clock import DatabaseClock
from app.errors import ServiceUnavailable

NOTHING = timedelta()
HOURS, DAYS = timedelta(hours=2), timedelta(days=10)
A_LITTLE = timedelta(milliseconds=50)
SLACK = timedelta(seconds=1)


class Database:
    """Answers with its time, which is ahead of the machine's, unless it is away; counts how often it was asked."""

    def __init__(self, ahead: timedelta = NOTHING) -> None:
        self.ahead = ahead
        self.is_away = False
        self.asked = 0

    async def time(self) -> tuple[datetime, datetime]:
        self.asked += 1
        asked = clock.now()
        await asyncio.sleep(0)
        if self.is_away:
            raise ServiceUnavailable
        return asked + self.ahead, asked


@pytest.mark.parametrize("ahead", [NOTHING, A_LITTLE, -A_LITTLE])
async def test_a_clock_that_is_right_is_left_alone(ahead: timedelta) -> None:
    assert await DatabaseClock(Database(ahead).time).correction() == NOTHING


@pytest.mark.parametrize("ahead", [HOURS, -HOURS])
async def test_a_clock_that_is_wrong_is_corrected_and_the_correction_does_not_jump(ahead: timedelta) -> None:
    database = Database(ahead)
    theirs = DatabaseClock(database.time, known_seconds=0)
    correction = await theirs.correction()
    assert abs(correction - ahead) < SLACK
    assert abs(theirs.now() - clock.now() - ahead) < SLACK
    database.ahead += A_LITTLE / 10
    assert await theirs.correction() == correction
    assert database.asked == 2


@pytest.mark.parametrize("wrong", [HOURS, timedelta(seconds=5)])
async def test_a_clock_that_was_put_right_is_not_corrected_any_more(wrong: timedelta) -> None:
    database = Database(wrong)
    theirs = DatabaseClock(database.time, known_seconds=0)
    assert abs(await theirs.correction() - wrong) < SLACK
    database.ahead = A_LITTLE / 10
    assert await theirs.correction() == NOTHING


def test_an_answer_that_took_ten_seconds_tells_no_more_than_it_can() -> None:
    theirs = DatabaseClock(Database().time)
    for seconds, ahead in ((-9, 0), (9, 14), (12, 14), (0, 0)):
        theirs.set_by(clock.now() + timedelta(seconds=seconds), clock.now() - timedelta(seconds=10))
        assert abs(theirs.now() - clock.now() - timedelta(seconds=ahead)) < SLACK, seconds


@pytest.mark.parametrize(
    ("ahead", "leap", "steady"),
    [
        (NOTHING, timedelta(minutes=50), timedelta(minutes=50)),
        (NOTHING, DAYS, NOTHING),
        (-HOURS, HOURS, -HOURS),
        (HOURS, NOTHING, NOTHING),
        (NOTHING, -DAYS, -DAYS),
    ],
)
async def test_what_cannot_be_undone_goes_by_a_clock_put_back_or_a_little_forward_and_by_none_that_leaps_ahead(
    ahead: timedelta, leap: timedelta, steady: timedelta
) -> None:
    database = Database(ahead)
    theirs = DatabaseClock(database.time, known_seconds=0)
    await theirs.correction()
    database.ahead += leap
    assert abs(await theirs.steady_time() - clock.now() - steady) < SLACK


async def test_many_at_once_and_whoever_comes_soon_after_cost_one_question() -> None:
    database = Database(HOURS)
    theirs = DatabaseClock(database.time)
    corrections = await asyncio.gather(*(theirs.correction() for _ in range(100)))
    assert len({*corrections, await theirs.correction()}) == 1
    assert database.asked == 1


async def test_who_was_told_the_time_need_not_ask() -> None:
    database = Database()
    theirs = DatabaseClock(database.time)
    theirs.set_by(clock.now() + HOURS, clock.now())
    assert abs(await theirs.correction() - HOURS) < SLACK
    assert database.asked == 0


async def test_a_time_that_was_never_known_is_refused_and_one_that_was_known_will_do_while_the_database_is_away() -> (
    None
):
    database = Database(HOURS)
    database.is_away = True
    theirs = DatabaseClock(database.time, known_seconds=0)
    with pytest.raises(ServiceUnavailable):
        await theirs.correction()
    database.is_away = False
    correction = await theirs.correction()
    database.is_away = True
    assert [await theirs.correction() for _ in range(3)] == [correction] * 3
    assert database.asked == 3, "a database that is away is asked once a second"
