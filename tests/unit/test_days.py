"""When "today" begins, also on days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.task_filters import midnight

DAYS = {
    "an ordinary day": ("Europe/Berlin", "2026-02-03T12:00", "2026-02-02T23:00"),
    "spring, in the evening": ("Europe/Berlin", "2026-03-29T21:59", "2026-03-28T23:00"),
    "spring, the day after": ("Europe/Berlin", "2026-03-29T22:00", "2026-03-29T22:00"),
    "autumn, in the hour that comes twice": ("Europe/Berlin", "2026-10-25T01:30", "2026-10-24T22:00"),
    "autumn, in the evening": ("Europe/Berlin", "2026-10-25T22:59", "2026-10-24T22:00"),
    "autumn, the day after": ("Europe/Berlin", "2026-10-25T23:00", "2026-10-25T23:00"),
    "midnight comes twice, after the first": ("America/Havana", "2026-11-01T04:30", "2026-11-01T04:00"),
    "midnight comes twice, after the second": ("America/Havana", "2026-11-01T05:30", "2026-11-01T04:00"),
    "midnight is left out": ("Africa/Cairo", "2026-04-24T06:00", "2026-04-23T22:00"),
    "the other side of the world": ("Pacific/Auckland", "2026-04-05T11:00", "2026-04-04T11:00"),
}


@pytest.mark.parametrize(("time_zone", "now", "begun"), DAYS.values(), ids=DAYS)
def test_a_day_begins_at_its_first_moment_in_its_time_zone(time_zone: str, now: str, begun: str) -> None:
    found = midnight(datetime.fromisoformat(now).replace(tzinfo=UTC), time_zone)
    assert found == datetime.fromisoformat(begun).replace(tzinfo=UTC)
