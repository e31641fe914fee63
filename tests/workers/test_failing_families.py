"""Parents that fail with a child, when several things happen at once or the one who would tell them dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from app import states
from app.errors import TaskRunNotAbortable
from app.settings import Settings
from app.states import FailurePolicy, Move, Reason, Status
from tests.service.lossy import Lossy, lossy
from tests.workers.test_state_machine import BROKEN, Bench, bench
from workers.held import HeldRun

ROUNDS = 15
FAIL = states.fail(BROKEN, Reason.ERROR)
Holder = tuple[int, HeldRun]
"""A worker's number, and what it holds of a run."""


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[Bench]:
    async with bench(settings) as make:
        both = make()
        await both.start()
        yield both


async def held(both: Bench, worker: int, parent: UUID | None = None) -> Holder:
    """A run that a worker has claimed."""
    run = await both.tasks.trigger("modelled", parent=parent)
    [row] = await both.workers[worker][1].claim_rung([f"{run.id}:0"])
    return worker, HeldRun(row)


async def settle(both: Bench, holder: Holder, move: Move) -> Any:
    worker, run = holder
    run.settle(move)
    [answer] = await both.workers[worker][1].record([run.take()])
    return answer


async def family(both: Bench, children: int = 2) -> tuple[UUID, list[Holder]]:
    """A parent that waits under ``FAIL_PARENT`` for children which two workers hold in turn."""
    parent = await held(both, 0)
    run_id = parent[1].run_id
    each = [await held(both, n % 2, run_id) for n in range(children)]
    await settle(both, parent, states.wait(tuple(run.run_id for _, run in each), FailurePolicy.FAIL_PARENT))
    return run_id, each


async def standing(both: Bench, *run_ids: UUID) -> list[tuple[Status, Reason | None]]:
    runs = [await both.tasks.get(run_id) for run_id in run_ids]
    return [(run.status, run.status_reason) for run in runs]


async def test_a_child_that_fails_takes_its_parent_along_at_once_and_the_others_are_asked_to_abort(both: Bench) -> None:
    run_id, (first, second) = await family(both)
    await settle(both, first, FAIL)
    assert await standing(both, run_id, second[1].run_id) == [
        (Status.FAILED, Reason.CHILD_FAILED),
        (Status.ABORTING, Reason.ABORT_REQUESTED),
    ]


async def test_a_child_that_succeeds_changes_nothing_until_the_last(both: Bench) -> None:
    run_id, (first, second) = await family(both)
    await settle(both, first, states.succeed(None))
    assert await standing(both, run_id) == [(Status.WAITING, Reason.WAITING_FOR_CHILDREN)]
    await settle(both, second, states.succeed(None))
    assert [status for status, _ in await standing(both, run_id)] == [Status.QUEUED]


async def test_two_children_that_fail_at_once_fail_their_parent_once(both: Bench) -> None:
    for _ in range(ROUNDS):
        run_id, children = await family(both)
        await asyncio.gather(*(settle(both, child, FAIL) for child in children))
        await both.workers[0][1].dispatch()
        assert await standing(both, run_id) == [(Status.FAILED, Reason.CHILD_FAILED)]


async def test_the_last_child_that_succeeds_never_wakes_a_parent_that_another_one_fails_at_once(both: Bench) -> None:
    for _ in range(ROUNDS):
        run_id, (first, second) = await family(both)
        await asyncio.gather(settle(both, first, FAIL), settle(both, second, states.succeed(None)))
        await asyncio.gather(*(lifecycle.dispatch() for _, lifecycle in both.workers))
        assert await standing(both, run_id) == [(Status.FAILED, Reason.CHILD_FAILED)]


async def test_an_abort_of_the_parent_at_the_same_time_wins_or_loses_and_leaves_nothing_alive(both: Bench) -> None:
    async def abort(run_id: UUID) -> None:
        with suppress(TaskRunNotAbortable):
            await both.tasks.abort(run_id)

    for _ in range(ROUNDS):
        run_id, (first, second) = await family(both)
        queued = await both.tasks.trigger("modelled", parent=run_id)
        await asyncio.gather(settle(both, first, FAIL), abort(run_id))
        await both.workers[0][1].dispatch()
        stands = await standing(both, run_id, queued.id, second[1].run_id)
        assert stands[0] in [(Status.FAILED, Reason.CHILD_FAILED), (Status.ABORTED, Reason.ABORT_REQUESTED)]
        assert [status for status, _ in stands[1:]] == [Status.ABORTED, Status.ABORTING]


async def test_what_a_worker_that_died_after_the_end_of_a_child_did_not_tell_the_dispatcher_finds(both: Bench) -> None:
    run_id, (first, second) = await family(both)
    query = """UPDATE task_runs SET status = 'FAILED', finished_at = now(), lease_owner = NULL WHERE id = $1"""
    await both.connection.execute(query, first[1].run_id)
    assert await standing(both, run_id) == [(Status.WAITING, Reason.WAITING_FOR_CHILDREN)]
    assert await both.workers[1][1].dispatch() == 1
    assert await standing(both, run_id, second[1].run_id) == [
        (Status.FAILED, Reason.CHILD_FAILED),
        (Status.ABORTING, Reason.ABORT_REQUESTED),
    ]


async def test_a_child_that_failed_before_its_parent_waits_for_it_is_found_by_the_dispatcher(both: Bench) -> None:
    parent = await held(both, 0)
    child = await held(both, 1, parent[1].run_id)
    await settle(both, child, FAIL)
    await settle(both, parent, states.wait((child[1].run_id,), FailurePolicy.FAIL_PARENT))
    await both.workers[1][1].dispatch()
    assert await standing(both, parent[1].run_id) == [(Status.FAILED, Reason.CHILD_FAILED)]


async def test_a_policy_holds_for_its_own_wait_and_no_longer(both: Bench) -> None:
    run_id, (first, second) = await family(both)
    for child in (first, second):
        await settle(both, child, states.succeed(None))
    [row] = await both.workers[0][1].claim_rung([f"{run_id}:1"])
    assert row["failure_policy"] == "FAIL_PARENT"
    parent, failing = (0, HeldRun(row)), await held(both, 1, run_id)
    await settle(both, parent, states.wait((failing[1].run_id,)))
    await settle(both, failing, FAIL)
    assert [status for status, _ in await standing(both, run_id)] == [Status.QUEUED]
    [row] = await both.workers[0][1].claim_rung([f"{run_id}:2"])
    await settle(both, (0, HeldRun(row)), states.continue_(0.0))
    assert (await both.tasks.get(run_id)).failure_policy is None


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Lossy]:
    async with lossy(settings.database_url) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "mark", ["FROM task_runs p WHERE p.id = $1", "wait_for = NULL, error = $4", "parked = NULL,\n"]
)
async def test_a_connection_lost_in_the_middle_leaves_nothing_half_done(
    settings: Settings, proxy: Lossy, mark: str
) -> None:
    async with bench(settings.model_copy(update={"database_url": proxy.url})) as make:
        both = make()
        await both.start()
        run_id, (first, second) = await family(both)
        proxy.lose_reply_to(mark)
        assert (await settle(both, first, FAIL)).accepted
        assert proxy.lost == 1
        assert await standing(both, run_id, first[1].run_id, second[1].run_id) == [
            (Status.FAILED, Reason.CHILD_FAILED),
            (Status.FAILED, Reason.ERROR),
            (Status.ABORTING, Reason.ABORT_REQUESTED),
        ]
