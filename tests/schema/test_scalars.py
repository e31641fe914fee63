"""The scalars: which texts are points in time, and how they come out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from graphql import GraphQLError

from app import clock
from app.schema.scalars import parse_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01t09:30:00z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T10:30:00+01:00", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T00:30:00.5-09:00", datetime(2026, 3, 1, 9, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-03-01T09:30:00.123456789Z", datetime(2026, 3, 1, 9, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_rfc_3339_text_is_a_point_in_time(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T09:30:00", "2026-03-01", "tomorrow", "", 1772357400, None, True,
        "2026-W09-7T09:30:00Z", "20260301T093000+0000",
        "2026-03-01T09:30:00+01", "2026-03-01T09:30Z", "2026-03-01T09:30:00Z ", "\uff12026-03-01T09:30:00Z",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(GraphQLError, match="RFC 3339 text with an offset, as in '2026-03-01T09:30:00Z'"):
        parse_time(value)


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00Z", "2026-03-01T25:00:00Z", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00+23:00"]
)
def test_a_time_that_there_is_not_or_that_cannot_be_shown_is_refused_as_such(text: str) -> None:
    with pytest.raises(GraphQLError, match=f"There is no time '{re.escape(text)}', or none that a DateTime can be"):
        parse_time(text)


def test_times_come_out_in_utc_with_microseconds() -> None:
    moment = datetime(2026, 3, 1, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert clock.text_of(moment) == "2026-03-01T09:30:00.000000Z"
