"""Timelines tell each kind of life from what is stored: nothing that happened is missing, nothing is made up."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from app import RerunFrom, TaskRunNotFound, TaskService, states
from app.auth import Principal, PrincipalKind
from app.settings import Settings
from app.states import Reason, RunError
from app.timeline import TimelineEntry, TimelineEvent
from tests.service.conftest import SUCCEED, Hand
from tests.service.scheduled import execute

ERROR = RunError("OSError", "disk is full")
ADA = Principal(PrincipalKind.USER, "ada")
Told = tuple[str, str, str | None]


async def life(tasks: TaskService, id: UUID) -> list[TimelineEntry]:
    """What is told of a run. Its own entries are in the order of time, and the last one says how it stands."""
    told = await tasks.timelines.of(id)
    own = [entry for entry in told if entry.run_id is None]
    assert [entry.at for entry in own] == sorted(entry.at for entry in own)
    run = await tasks.get(id)
    assert (own[-1].status, own[-1].reason) == (run.status, run.status_reason)
    assert own[-1].at == run.status_changed_at
    assert not own[-1].is_derived
    return told


def short(told: list[TimelineEntry]) -> list[Told]:
    return [(entry.event.value, entry.status.value, entry.reason and entry.reason.value) for entry in told]


TRIGGERED: Told = ("TRIGGERED", "QUEUED", None)
STARTED: Told = ("STARTED", "RUNNING", None)


async def test_a_run_that_succeeds(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo", principal=ADA)
    assert short(await tasks.timelines.of(run.id)) == [TRIGGERED]
    [held] = await hand.claim()
    assert short(await life(tasks, run.id)) == [TRIGGERED, STARTED]
    await held.write(move=SUCCEED)
    told = await life(tasks, run.id)
    assert short(told) == [TRIGGERED, STARTED, ("ENDED", "SUCCEEDED", None)]
    assert (told[0].at, told[0].actor) == (run.created_at, "USER:ada")
    assert [(entry.worker, entry.iteration, entry.attempt) for entry in told[1:]] == [("host:4711", 1, 1)] * 2


async def test_a_run_that_is_retried_and_fails(tasks: TaskService, hand: Hand, settings: Settings) -> None:
    run = await tasks.trigger("echo", max_attempts=3)
    for move in (states.retry(ERROR, 0), states.retry(ERROR, 3600, Reason.RETRY_LATER)):
        [held] = await hand.claim()
        await held.write(move=move)
    told = await life(tasks, run.id)
    assert short(told)[1:] == [
        STARTED, ("ENDED", "WAITING", "RETRY"), STARTED, ("ENDED", "WAITING", "RETRY_LATER"),
    ]  # fmt: skip
    assert [entry.is_derived for entry in told] == [False, False, True, False, False]
    assert (told[2].error or {})["message"] == "disk is full"
    await execute(settings, "UPDATE task_runs SET due_at = now() WHERE id = $1", run.id)
    await hand.lifecycle.dispatch()
    told = await life(tasks, run.id)
    assert short(told)[3:] == [STARTED, ("ENDED", "WAITING", "RETRY_LATER"), ("CHANGED", "QUEUED", "RETRY_LATER")]
    [held] = await hand.claim()
    await held.write(move=states.fail(ERROR, Reason.MAX_ATTEMPTS))
    told = await life(tasks, run.id)
    assert short(told)[-2:] == [STARTED, ("ENDED", "FAILED", "MAX_ATTEMPTS")]
    assert [entry.attempt for entry in told[1:]] == [1, 1, 2, 2, 3, 3]


async def test_a_run_that_continues_and_waits_for_children(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write(move=states.continue_(0))
    [held] = await hand.claim()
    child = await tasks.trigger("echo", parent=run)
    await held.write(move=states.wait((child.id,)))
    assert short(await life(tasks, run.id))[-1] == ("ENDED", "WAITING", "WAITING_FOR_CHILDREN")
    for _ in range(2):
        [held] = await hand.claim()
        await held.write(move=SUCCEED)
    told = await life(tasks, run.id)
    assert short(told) == [
        TRIGGERED, STARTED, ("ENDED", "WAITING", "CONTINUED"), STARTED, ("ENDED", "WAITING", "WAITING_FOR_CHILDREN"),
        STARTED, ("ENDED", "SUCCEEDED", None),
    ]  # fmt: skip
    assert [entry.iteration for entry in told[1:]] == [1, 1, 2, 2, 3, 3]
    assert [entry.is_derived for entry in told] == [False, False, True, False, True, False, False]


async def test_a_run_that_fails_with_a_child_while_nobody_holds_it(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    child = await tasks.trigger("echo", parent=run)
    await held.write(move=states.wait((child.id,), states.FailurePolicy.FAIL_PARENT))
    [held] = await hand.claim()
    await held.write(move=states.fail(ERROR, Reason.ERROR))
    told = await life(tasks, run.id)
    assert short(told)[2:] == [
        ("ENDED", "WAITING", "WAITING_FOR_CHILDREN"), ("CHANGED", "FAILED", "CHILD_FAILED"),
    ]  # fmt: skip
    assert (told[-1].error or {})["type"] == "ChildFailed"


async def test_a_run_that_is_aborted_while_it_is_queued(tasks: TaskService) -> None:
    run = await tasks.trigger("echo")
    await tasks.abort(run.id, message="superseded", principal=ADA)
    told = await life(tasks, run.id)
    assert short(told) == [TRIGGERED, ("ABORT_REQUESTED", "ABORTED", "ABORT_REQUESTED")]
    assert (told[-1].actor, told[-1].message, told[-1].worker) == ("USER:ada", "superseded", None)


@pytest.mark.parametrize(
    ("move", "end"),
    [
        (states.acknowledge_abort(), ("ENDED", "ABORTED", "ABORT_REQUESTED")),
        (states.force_abort(), ("ENDED", "ABORTED", "ABORT_FORCED")),
        (SUCCEED, ("ENDED", "SUCCEEDED", "FINISHED_BEFORE_ABORT")),
    ],
    ids=["acknowledged", "forced", "too late"],
)
async def test_a_run_that_is_to_be_aborted_while_it_runs(
    tasks: TaskService, hand: Hand, move: states.Move, end: Told
) -> None:
    run = await tasks.trigger("echo", max_attempts=2)
    [held] = await hand.claim()
    await held.write(move=states.retry(ERROR, 0))
    [held] = await hand.claim()
    await tasks.abort(run.id, message="enough", principal=ADA)
    asked: Told = ("ABORT_REQUESTED", "ABORTING", "ABORT_REQUESTED")
    assert short(await life(tasks, run.id))[3:] == [STARTED, asked]
    await held.write(move=move)
    told = await life(tasks, run.id)
    assert short(told)[3:] == [STARTED, asked, end]
    assert (told[4].actor, told[4].message) == ("USER:ada", "enough")


async def test_a_run_whose_worker_is_lost_and_that_another_one_gives_back(
    tasks: TaskService, hand: Hand, hire: Any
) -> None:
    run = await tasks.trigger("echo")
    await hand.claim()
    await hand.lifecycle.leave()
    other = hire()
    await other.live()
    await other.lifecycle.reap()
    assert short(await life(tasks, run.id)) == [TRIGGERED, STARTED, ("ENDED", "QUEUED", "WORKER_LOST")]
    [held] = await other.claim()
    await held.write(move=states.interrupt())
    [held] = await other.claim()
    await held.write(move=SUCCEED)
    told = await life(tasks, run.id)
    assert short(told)[2:] == [
        ("ENDED", "QUEUED", "WORKER_LOST"), STARTED, ("ENDED", "QUEUED", "SHUTDOWN"), STARTED,
        ("ENDED", "SUCCEEDED", None),
    ]  # fmt: skip
    assert not any(entry.is_derived for entry in told)


async def test_a_run_that_waits_for_its_time_and_one_that_expires(
    tasks: TaskService, hand: Hand, settings: Settings
) -> None:
    run = await tasks.trigger("echo", delay=3600, ttl=3600)
    later = await tasks.trigger("echo", delay=3600)
    assert short(await tasks.timelines.of(run.id)) == [("TRIGGERED", "SCHEDULED", None)]
    past = "start_at = created_at + interval '1 microsecond', due_at = created_at"
    await execute(settings, f"UPDATE task_runs SET {past}, expires_at = now() WHERE id = $1", run.id)
    await execute(settings, f"UPDATE task_runs SET {past} WHERE id = $1", later.id)
    await hand.lifecycle.dispatch()
    told = await life(tasks, run.id)
    assert short(told) == [
        ("TRIGGERED", "SCHEDULED", None), ("DUE", "QUEUED", None), ("CHANGED", "EXPIRED", "TTL"),
    ]  # fmt: skip
    assert short(await life(tasks, later.id)) == [("TRIGGERED", "SCHEDULED", None), ("CHANGED", "QUEUED", None)]
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    told = await life(tasks, later.id)
    assert short(told)[:3] == [("TRIGGERED", "SCHEDULED", None), ("DUE", "QUEUED", None), STARTED]
    assert [entry.is_derived for entry in told] == [False, True, False, False]


async def test_a_rerun_of_a_rerun_tells_the_whole_chain(tasks: TaskService, hand: Hand, settings: Settings) -> None:
    first = await tasks.trigger("echo", name="first")
    [held] = await hand.claim()
    await held.write(move=states.fail(ERROR, Reason.ERROR))
    second = await tasks.rerun(first.id, principal=ADA)
    third = await tasks.rerun(second.id, from_=RerunFrom.START)
    beside = await tasks.rerun(first.id)
    chains = {
        id: [(entry.event, entry.run_id) for entry in told if entry.run_id]
        for id, told in (await tasks.timelines.of_many([first.id, second.id, third.id])).items()
    }
    before, after = TimelineEvent.RERUN_OF, TimelineEvent.RERUN
    assert chains[first.id] == [(after, second.id), (after, third.id), (after, beside.id)]
    assert chains[second.id] == [(before, first.id), (after, third.id)]
    assert chains[third.id] == [(before, first.id), (before, second.id)]
    told = await tasks.timelines.of(second.id)
    assert (told[0].status, told[0].reason, told[0].at) == ("FAILED", "ERROR", first.created_at)
    assert (told[-1].status, told[1].actor) == ("QUEUED", "USER:ada")
    await execute(settings, "DELETE FROM task_runs WHERE id = $1", second.id)
    assert [entry.run_id for entry in await tasks.timelines.of(third.id)] == [None]


async def test_of_a_run_without_details_the_outline_is_left(tasks: TaskService, hand: Hand, settings: Settings) -> None:
    run = await tasks.trigger("echo")
    for move in (states.continue_(0), SUCCEED):
        [held] = await hand.claim()
        await held.write(move=move)
    await execute(settings, "DELETE FROM task_iterations WHERE run_id = $1", run.id)
    assert short(await life(tasks, run.id)) == [TRIGGERED, STARTED, ("CHANGED", "SUCCEEDED", None)]


async def test_of_many_attempts_the_last_are_told(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    for _ in range(102):
        [held] = await hand.claim()
        await held.write(move=states.continue_(0))
    told = await life(tasks, run.id)
    assert [entry.iteration for entry in told if entry.event is TimelineEvent.ENDED] == list(range(3, 103))
    assert short(told)[:3] == [TRIGGERED, STARTED, STARTED]


async def test_a_run_that_is_not_there_is_refused(tasks: TaskService) -> None:
    for id in (uuid4(), "nonsense"):
        with pytest.raises(TaskRunNotFound):
            await tasks.timelines.of(id)
    assert await tasks.timelines.of_many([uuid4()]) == {}
