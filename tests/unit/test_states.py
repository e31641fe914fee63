"""The state machine, move by move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app import states
from app.ids import new_id
from app.states import FINAL, HELD, LIVE, UNHELD, IllegalMove, Move, Reason, RunError, Status

ERROR = RunError("ValueError", "no")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

MOVES: dict[str, Move] = {
    "become_due": states.become_due(),
    "claim": states.claim(),
    "succeed": states.succeed("1"),
    "fail": states.fail(ERROR, Reason.ERROR),
    "retry": states.retry(ERROR, 5),
    "continue": states.continue_(5),
    "continue at once": states.continue_(0),
    "wait": states.wait((new_id(),)),
    "interrupt": states.interrupt(),
    "expire_lease": states.expire_lease(),
    "ask_abort": states.ask_abort(),
    "abort": states.abort(),
    "acknowledge_abort": states.acknowledge_abort(),
    "force_abort": states.force_abort(),
    "expire": states.expire(),
    "fail_with_child": states.fail_with_child(ERROR),
}

TABLE = {
    # from RUNNING, from ABORTING
    "succeed": (Status.SUCCEEDED, Status.SUCCEEDED),
    "fail": (Status.FAILED, Status.FAILED),
    "retry": (Status.WAITING, Status.ABORTED),
    "continue": (Status.WAITING, Status.ABORTED),
    "continue at once": (Status.QUEUED, Status.ABORTED),
    "wait": (Status.WAITING, Status.ABORTED),
    "interrupt": (Status.QUEUED, Status.ABORTED),
    "expire_lease": (Status.QUEUED, Status.ABORTED),
}


@pytest.mark.parametrize("name", MOVES)
def test_no_move_leaves_a_final_status(name: str) -> None:
    for status in FINAL:
        with pytest.raises(IllegalMove):
            MOVES[name].land(status)


@pytest.mark.parametrize("status", sorted(LIVE))
def test_every_live_status_has_a_way_to_a_final_one(status: Status) -> None:
    reached, edge = {status}, {status}
    while edge:
        steps = {
            move.land(at, max_interruptions=1).status for at in edge for move in MOVES.values() if at in move.sources
        }
        edge = steps - reached
        reached |= steps
    assert reached & FINAL


@pytest.mark.parametrize(("name", "landings"), TABLE.items())
def test_what_a_worker_reports_lands_where_the_diagram_says(name: str, landings: tuple[Status, Status]) -> None:
    running, aborting = landings
    assert MOVES[name].land(Status.RUNNING, max_interruptions=1).status is running
    assert MOVES[name].land(Status.ABORTING, max_interruptions=1).status is aborting


@pytest.mark.parametrize("name", MOVES)
def test_no_new_attempt_follows_an_acknowledged_abort(name: str) -> None:
    move = MOVES[name]
    if Status.ABORTING in move.sources:
        assert move.land(Status.ABORTING, max_interruptions=99).status in FINAL


@pytest.mark.parametrize("name", MOVES)
def test_only_the_claim_starts_an_attempt(name: str) -> None:
    landed = {MOVES[name].land(status, max_interruptions=9).status for status in MOVES[name].sources}
    assert (Status.RUNNING in landed) == (name == "claim")


def test_a_run_that_finishes_before_it_sees_the_abort_says_so() -> None:
    landing = states.succeed(None).land(Status.ABORTING)
    assert (landing.status, landing.reason) == (Status.SUCCEEDED, Reason.FINISHED_BEFORE_ABORT)


@pytest.mark.parametrize("name", ["interrupt", "expire_lease"])
def test_interruptions_are_bounded_by_their_own_limit(name: str) -> None:
    move = MOVES[name]
    assert move.is_interruption
    assert move.land(Status.RUNNING, interruptions=19, max_interruptions=20).status is Status.QUEUED
    assert move.land(Status.RUNNING, interruptions=20, max_interruptions=20).status is Status.LOST


@pytest.mark.parametrize("name", sorted(set(MOVES) - {"interrupt", "expire_lease"}))
def test_everything_else_is_no_interruption(name: str) -> None:
    assert not MOVES[name].is_interruption


def test_an_abort_is_immediate_where_nobody_holds_the_run_and_asked_where_somebody_does() -> None:
    assert states.abort().sources == UNHELD
    assert states.ask_abort().sources == HELD - {Status.ABORTING}


def test_a_run_waits_for_its_start_only_when_that_lies_in_the_future() -> None:
    assert states.initial(NOW + timedelta(seconds=1), NOW) is Status.SCHEDULED
    assert states.initial(NOW, NOW) is Status.QUEUED


def test_an_interrupted_attempt_stays_the_same_attempt_and_a_retry_is_a_new_one() -> None:
    assert not states.interrupt().next_attempt
    assert states.retry(ERROR, 0).next_attempt
    assert states.continue_(0).next_iteration
