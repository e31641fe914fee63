"""Times between two moments, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.clock import elapsed_ms, now

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_every_time_of_whole_microseconds_has_three_decimals_at_most() -> None:
    for microseconds in range(0, 100_000, 7):
        took = elapsed_ms(START, START + timedelta(microseconds=microseconds))
        assert took == round(microseconds / 1000, 3)
        assert len(str(took).partition(".")[2]) <= 3


def test_there_is_none_before_the_start_and_nothing_negative_when_clocks_differ() -> None:
    assert elapsed_ms(None, START) is None
    assert elapsed_ms(START, START - timedelta(seconds=1)) == 0.0


def test_without_an_end_it_lasts_until_now() -> None:
    began = now() - timedelta(hours=1)
    took = elapsed_ms(began, None)
    assert took is not None
    assert 3_600_000 <= took <= (now() - began) / timedelta(milliseconds=1)
