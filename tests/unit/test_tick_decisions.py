"""What becomes of a tick, as a table: each row is a standing and what is decided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.models import CatchUpPolicy, OverlapPolicy, PauseReason, TickOutcome, TickReason
from app.tick_decisions import MOST_WAITING, Standing, decide, decide_waiting
from app.ticks import Timing

TICK = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RAN, WAITING = (TickOutcome.RAN, None), (TickOutcome.WAITING, None)
SKIPPED, MISSED = TickOutcome.SKIPPED, TickOutcome.MISSED


def standing(**changes: Any) -> Standing:
    given = {"schedule_id": UUID(int=1), "timing": Timing(cron="@hourly"), "tick": TICK, "now": TICK, **changes}
    return Standing(**given)


@pytest.mark.parametrize(
    ("changes", "expected", "last", "following"),
    [
        ({}, RAN, 0, 1),
        ({"now": TICK + timedelta(seconds=60)}, RAN, 0, 1),
        ({"is_running": True}, (SKIPPED, TickReason.OVERLAP), 0, 1),
        ({"is_running": True, "overlap": OverlapPolicy.BUFFER_ONE}, WAITING, 0, 1),
        ({"waiting": 1, "overlap": OverlapPolicy.BUFFER_ONE}, (SKIPPED, TickReason.BUFFER_FULL), 0, 1),
        ({"waiting": 9, "overlap": OverlapPolicy.BUFFER_ALL}, WAITING, 0, 1),
        ({"waiting": MOST_WAITING, "overlap": OverlapPolicy.BUFFER_ALL}, (SKIPPED, TickReason.BUFFER_FULL), 0, 1),
        ({"is_running": True, "overlap": OverlapPolicy.ALLOW_ALL}, RAN, 0, 1),
        ({"is_running": True, "overlap": OverlapPolicy.ABORT_RUNNING}, RAN, 0, 1),
        ({"is_enabled": False}, (SKIPPED, TickReason.TASK_DISABLED), 0, 1),
        ({"has_task": False}, (SKIPPED, TickReason.TASK_DELETED), 0, None),
        ({"objection": "Gone."}, (SKIPPED, TickReason.OWNER), 0, None),
        ({"max_failures": 2, "failures": 1}, RAN, 0, 1),
        ({"max_failures": 2, "failures": 2}, (SKIPPED, TickReason.FAILURES), 0, None),
        ({"now": TICK + timedelta(minutes=2), "catch_up": CatchUpPolicy.NONE}, (MISSED, TickReason.TOO_LATE), 0, 1),
        ({"now": TICK + 3.5 * HOUR, "catch_up": CatchUpPolicy.NONE}, (MISSED, TickReason.TOO_LATE), 3, 4),
        ({"now": TICK + 3.5 * HOUR}, (MISSED, TickReason.CAUGHT_UP), 2, 3),
        ({"now": TICK + 0.5 * HOUR}, RAN, 0, 1),
        ({"now": TICK + 3.5 * HOUR, "catch_up": CatchUpPolicy.ALL}, RAN, 0, 1),
        (
            {"now": TICK + 3.5 * HOUR, "catch_up": CatchUpPolicy.ALL, "window": HOUR},
            (MISSED, TickReason.TOO_LATE),
            2,
            3,
        ),
    ],
)
def test_a_tick_is_decided_by_how_its_schedule_stands(
    changes: dict[str, Any], expected: tuple[Any, Any], last: int, following: int | None
) -> None:
    decision = decide(standing(**changes))
    assert (decision.outcome, decision.reason) == expected
    assert decision.last == TICK + last * HOUR
    assert decision.next == (None if following is None else TICK + following * HOUR)
    assert decision.aborts == (changes.get("overlap") is OverlapPolicy.ABORT_RUNNING)


def test_what_objects_to_a_tick_pauses_its_schedule_and_what_skips_one_does_not() -> None:
    assert decide(standing(objection="Gone.")).pause is PauseReason.OWNER
    assert decide(standing(has_task=False)).pause is PauseReason.TASK_DELETED
    assert decide(standing(is_enabled=False)).pause is None


def test_a_tick_that_has_waited_runs_unless_something_objects() -> None:
    assert decide_waiting(standing()).outcome is TickOutcome.RAN
    assert decide_waiting(standing(is_enabled=False)).reason is TickReason.TASK_DISABLED
    assert decide_waiting(standing(objection="Gone.")).reason is TickReason.OWNER


def test_the_last_tick_of_a_schedule_has_none_after_it() -> None:
    decision = decide(standing(timing=Timing(at=TICK)))
    assert (decision.outcome, decision.next) == (TickOutcome.RAN, None)
