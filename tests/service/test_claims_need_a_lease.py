"""A worker whose lease is over claims nothing, whichever way it hears of a run, until it has a lease again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from app import TaskService
from app.db import Database
from app.limited_runs import LimitedRuns
from app.limits import Limits
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand
from tests.service.limited import claimed, execute, limited, standing, trigger
from tests.service.test_limits import by_ring, waits_for_lock
from tests.workbench import until

LIMITS = {"one": Limits(max_concurrency=1)}
OVER = "UPDATE workers SET lease_expires_at = clock_timestamp() WHERE id = $1"
RENEW = """
    UPDATE workers SET lease_expires_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1
    RETURNING lease_expires_at"""
WAITING_FOR_A_ROW = "SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
Claim = Callable[[Hand, UUID], Awaitable[object]]


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    async with limited(settings, free=None, **LIMITS) as tasks:
        yield tasks


@pytest.fixture
async def worker(hire: Callable[..., Hand]) -> Hand:
    """A worker that has a lease."""
    worker = hire("free", limits=LIMITS)
    await worker.live()
    return worker


async def ring(worker: Hand, run_id: UUID) -> object:
    return await by_ring(worker, run_id)


async def poll(worker: Hand, _run_id: UUID) -> object:
    return await claimed(worker)


@pytest.mark.parametrize("lost", [OVER, "DELETE FROM workers WHERE id = $1"], ids=["over", "no row"])
@pytest.mark.parametrize("id", ["free", "one"])
@pytest.mark.parametrize("claim", [ring, poll])
async def test_who_has_no_lease_claims_nothing_until_the_next_heartbeat(
    tasks: TaskService, worker: Hand, db: Database, claim: Claim, id: str, lost: str
) -> None:
    [run_id] = await trigger(tasks, id, "a")
    await execute(db, lost, worker.owner)
    assert not await claim(worker, run_id)
    assert await standing(tasks, [run_id]) == [("QUEUED", None)]
    assert (await tasks.get(run_id)).claim_no == 0
    await worker.live()
    assert await claim(worker, run_id)


async def test_who_has_no_lease_leaves_runs_alone_that_wait_for_their_limit(
    tasks: TaskService, worker: Hand, db: Database
) -> None:
    first, second = await trigger(tasks, "one", "a", "b")
    held = await claimed(worker)
    assert await standing(tasks, [second]) == [("QUEUED", "CONCURRENCY_LIMIT")]
    await held[first].write(move=SUCCEED)
    await execute(db, OVER, worker.owner)
    assert not await claimed(worker)
    await worker.live()
    assert list(await claimed(worker)) == [second]


async def test_a_claim_that_waits_for_its_turn_until_the_lease_is_over_claims_nothing(
    tasks: TaskService, worker: Hand, db: Database
) -> None:
    [run_id] = await trigger(tasks, "one", "a")
    async with db.pipe() as pipe:
        await LimitedRuns(pipe, "one", LIMITS["one"]).lock()
        claiming = asyncio.create_task(by_ring(worker, run_id))
        await until(lambda: waits_for_lock(db))
        await execute(db, OVER, worker.owner)
    assert not await claiming
    await worker.live()
    assert list(await by_ring(worker, run_id)) == [run_id]


async def test_a_heartbeat_that_was_given_up_and_lands_late_does_not_shorten_the_lease_that_a_later_one_took(
    worker: Hand, db: Database, settings: Settings
) -> None:
    async with db.pipe() as pipe:
        await pipe.execute("SELECT FROM workers WHERE id = $1 FOR UPDATE", worker.owner)
        late = asyncio.create_task(worker.live())
        await until(lambda: execute(db, WAITING_FOR_A_ROW))
        taken = await pipe.fetchval(RENEW, worker.owner, settings.lease_seconds)
    await late
    async with db.autocommit() as pipe:
        assert await pipe.fetchval("SELECT lease_expires_at FROM workers WHERE id = $1", worker.owner) >= taken
