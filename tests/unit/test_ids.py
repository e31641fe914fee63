"""Ids of runs tell when they were made, and compare as they were made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app import clock
from app.ids import new_id

HOURS = timedelta(hours=2)


@pytest.mark.parametrize("correction", [timedelta(), HOURS, -HOURS, timedelta(seconds=-1, microseconds=1)])
def test_ids_tell_the_corrected_time_and_later_ones_compare_greater(correction: timedelta) -> None:
    made = [new_id(correction) for _ in range(5000)]
    assert made == sorted(made)
    assert {(id.version, id.variant) for id in made} == {(7, made[0].variant)}
    told = datetime.fromtimestamp((made[-1].int >> 80) / 1000, UTC)
    assert abs(told - clock.now() - correction) < timedelta(seconds=1)
