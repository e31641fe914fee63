"""Aborts: at once where nobody holds the run, asked for where a worker does, and real once acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from app import TaskRunStatus, TaskRunStatusReason, TaskService, states
from app.auth import Principal, PrincipalKind
from app.errors import InvalidArgument, TaskRunNotAbortable, TaskRunNotFound
from app.events import Events
from app.settings import Settings
from app.states import FINAL
from tests.service.conftest import SUCCEED, Hand

ADA = Principal(PrincipalKind.USER, "ada")


@pytest.mark.parametrize("delay", [0, 60], ids=["queued", "scheduled"])
async def test_a_run_that_nobody_holds_is_aborted_at_once(tasks: TaskService, delay: float) -> None:
    run = await tasks.trigger("echo", delay=delay)
    aborted = await tasks.abort(run.id, message="superseded", principal=ADA)
    assert (aborted.status, aborted.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_REQUESTED)
    assert (aborted.abort_message, aborted.abort_requested_by) == ("superseded", "USER:ada")
    assert aborted.finished_at is not None
    assert aborted.error is None


async def test_a_waiting_run_is_aborted_at_once(tasks: TaskService, hand: Hand) -> None:
    await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write(move=states.continue_(60))
    assert (await tasks.get(held.id)).status is TaskRunStatus.WAITING
    assert (await tasks.abort(held.id)).status is TaskRunStatus.ABORTED


async def test_a_run_that_a_worker_holds_is_asked_to_abort_and_its_worker_hears_of_it(
    tasks: TaskService, hand: Hand, settings: Settings
) -> None:
    await tasks.trigger("echo")
    [held] = await hand.claim()
    events = Events(settings.redis_url)
    listener = events.worker_listener(hand.owner)
    async with listener.subscribe() as heard:
        assert await heard.changed(5) is None  # the subscription stands
        asked = await tasks.abort(held.id, message="stop")
        assert await heard.changed(5) == {held.id}
    await listener.close()
    await events.close()
    assert (asked.status, asked.finished_at, asked.abort_forced) == (TaskRunStatus.ABORTING, None, False)
    assert await hand.lifecycle.aborting() == {held.id: False}


async def test_asking_again_changes_nothing_unless_force_is_new(tasks: TaskService, hand: Hand) -> None:
    await tasks.trigger("echo")
    [held] = await hand.claim()
    first = await tasks.abort(held.id, message="one")
    second = await tasks.abort(held.id, message="two")
    assert second.model_dump() == first.model_dump()
    forced = await tasks.abort(held.id, force=True, principal=ADA)
    assert (forced.abort_forced, forced.abort_message, forced.abort_requested_by) == (True, "one", "USER:ada")
    assert forced.status is TaskRunStatus.ABORTING


async def test_a_final_run_cannot_be_aborted_and_stays_as_it_is(tasks: TaskService, hand: Hand) -> None:
    await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    before = await tasks.get(held.id)
    with pytest.raises(TaskRunNotAbortable, match="SUCCEEDED"):
        await tasks.abort(held.id)
    assert (await tasks.get(held.id)).model_dump() == before.model_dump()


@pytest.mark.parametrize("id", [uuid4(), "no uuid"], ids=["unknown", "no uuid"])
async def test_an_unknown_run_cannot_be_aborted(tasks: TaskService, id: object) -> None:
    with pytest.raises(TaskRunNotFound):
        await tasks.abort(id)  # type: ignore[arg-type]


async def test_a_message_that_is_too_long_is_refused_and_nothing_is_aborted(tasks: TaskService) -> None:
    run = await tasks.trigger("echo")
    with pytest.raises(InvalidArgument, match="1000"):
        await tasks.abort(run.id, message="x" * 1001)
    assert (await tasks.get(run.id)).status is TaskRunStatus.QUEUED


async def test_an_abort_takes_all_descendants_along(tasks: TaskService, hand: Hand) -> None:
    root = await tasks.trigger("echo", priority=10)
    [held] = await hand.claim()
    child = await tasks.trigger("echo", parent=root, delay=60)
    grandchild = await tasks.trigger("echo", parent=child)
    stranger = await tasks.trigger("echo")
    await tasks.abort(held.id)
    runs = await tasks.find([root.id, child.id, grandchild.id, stranger.id])
    statuses = [runs[id].status for id in (root.id, child.id, grandchild.id, stranger.id)]
    assert [str(status) for status in statuses] == ["ABORTING", "ABORTED", "ABORTED", "QUEUED"]


async def test_an_abort_without_cascade_leaves_the_children_alone(tasks: TaskService) -> None:
    root = await tasks.trigger("echo", delay=60)
    child = await tasks.trigger("echo", parent=root)
    await tasks.abort(root.id, cascade=False)
    assert (await tasks.get(child.id)).status is TaskRunStatus.QUEUED


async def test_final_descendants_stay_final(tasks: TaskService, hand: Hand) -> None:
    root = await tasks.trigger("echo", delay=60)
    child = await tasks.trigger("echo", parent=root)
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    await tasks.abort(root.id)
    assert (await tasks.get(child.id)).status is TaskRunStatus.SUCCEEDED


async def test_an_abort_that_races_with_claims_is_always_real(
    tasks: TaskService, hand: Hand, hire: Callable[..., Hand]
) -> None:
    runs = await asyncio.gather(*(tasks.trigger("echo") for _ in range(100)))
    workers = [hand, hire(), hire()]
    aborts = (tasks.abort(run.id) for run in runs)
    claims = (workers[n % 3].claim(5) for n in range(20))
    # A run that is given back between two looks of an abort would escape both.
    brief = (claimed_and_given_back(workers[n % 3]) for n in range(300))
    aborted = (await asyncio.gather(*aborts, *claims, *brief))[:100]
    assert {run.status for run in aborted} <= {TaskRunStatus.ABORTED, TaskRunStatus.ABORTING}  # type: ignore[union-attr]
    stored = await tasks.find([run.id for run in runs])
    for run in stored.values():
        assert (run.status in FINAL) == (run.lease_owner is None)
        assert run.status in (TaskRunStatus.ABORTED, TaskRunStatus.ABORTING)
    assert await hire().claim(100) == []


async def claimed_and_given_back(worker: Hand) -> None:
    for held in await worker.claim():
        await held.write(move=states.interrupt())


async def test_aborts_of_overlapping_families_at_once_all_succeed(tasks: TaskService) -> None:
    roots = []
    for _ in range(10):
        root = await tasks.trigger("echo", delay=60)
        children = await asyncio.gather(*(tasks.trigger("echo", parent=root) for _ in range(10)))
        roots.append((root, children))
    wishes = [run for root, children in roots for run in (*children[::-1], root)]
    answers = await asyncio.gather(*(tasks.abort(run.id) for run in wishes), return_exceptions=True)
    assert all(not isinstance(answer, Exception) or isinstance(answer, TaskRunNotAbortable) for answer in answers)
    assert {run.status for run in (await tasks.find([run.id for run in wishes])).values()} == {TaskRunStatus.ABORTED}
