"""What a statement sees is older than the row that it locks: the run may have gone on in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from app import TaskRunStatus, TaskService, clock, states
from app.db import Database
from app.leases import Claimant, Leases
from app.lifecycle import TIMED_OUT
from app.parents import Parents
from app.states import Reason
from tests.service.conftest import Hand
from tests.service.limited import claimed, execute
from tests.service.test_late_children import until_somebody_waits_for

HOLD_UP = """
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        PERFORM pg_advisory_xact_lock(1);
        RETURN NEW;
    END';
    CREATE TRIGGER hold_up BEFORE UPDATE ON task_runs FOR EACH ROW
    WHEN (pg_backend_pid() = {pid}) EXECUTE FUNCTION hold_up();
    SELECT pg_advisory_lock(1)"""


@asynccontextmanager
async def held_up(db: Database, ask: Callable[[Any], Awaitable[Any]]) -> AsyncIterator[asyncio.Future[Any]]:
    """A statement that has seen all rows and locked the first of them, and comes to the others after the block."""
    # By keys, because joins that go row by row leave the others alone until then.
    async with db.autocommit(by_keys=True) as pipe, db.autocommit() as guard:
        await guard.execute(HOLD_UP.format(pid=await pipe.fetchval("SELECT pg_backend_pid()")))
        asked = asyncio.ensure_future(ask(pipe))
        try:
            await until_somebody_waits_for(db, guard)
            yield asked
        finally:
            await guard.execute("SELECT pg_advisory_unlock(1)")
            await asyncio.wait([asked])
            await guard.execute("DROP FUNCTION hold_up() CASCADE")


async def two_parents_told_of_no_end(tasks: TaskService, hand: Hand, db: Database) -> list[UUID]:
    """Two runs that wait for one child, which is final."""
    parents = [(await tasks.trigger("echo")).id for _ in range(2)]
    child = await tasks.trigger("no-input", delay=60)
    for held in (await claimed(hand)).values():
        await held.write(move=states.wait((child.id,)))
    await tasks.abort(child.id)
    return parents


async def other_than_the_locked(db: Database, run_ids: list[UUID]) -> UUID:
    async with db.autocommit() as pipe:
        query = "SELECT id FROM task_runs WHERE id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED"
        [row] = await pipe.fetch(query, run_ids)
    return row["id"]


async def test_a_parent_that_waits_for_a_new_child_by_now_is_not_queued_for_the_end_of_an_old_one(
    tasks: TaskService, hand: Hand, db: Database
) -> None:
    parents = await two_parents_told_of_no_end(tasks, hand, db)
    async with held_up(db, lambda pipe: Parents(pipe).make_due(states.become_due(), 10)) as asked:
        parent = await other_than_the_locked(db, parents)
        await hand.lifecycle.dispatch()
        child = await tasks.trigger("no-input", parent=parent, delay=60)
        await (await claimed(hand))[parent].write(move=states.wait((child.id,)))
    assert [row["id"] for row in await asked] == [run_id for run_id in parents if run_id != parent]
    assert (await tasks.get(parent)).status is TaskRunStatus.WAITING
    await tasks.abort(child.id)
    assert await hand.lifecycle.dispatch() == 1


async def test_a_sleeper_that_waits_for_a_child_by_now_is_not_queued_for_its_time(
    tasks: TaskService, hand: Hand, db: Database
) -> None:
    sleepers = [(await tasks.trigger("echo", delay=60)).id for _ in range(2)]
    await execute(db, "UPDATE task_runs SET due_at = now()")
    async with held_up(db, lambda pipe: Leases(pipe).make_due(states.become_due(), 10)) as asked:
        sleeper = await other_than_the_locked(db, sleepers)
        await hand.lifecycle.dispatch()
        child = await tasks.trigger("no-input", parent=sleeper, delay=60)
        await (await claimed(hand))[sleeper].write(move=states.wait((child.id,)))
    assert len(await asked) == 1
    assert (await tasks.get(sleeper)).status is TaskRunStatus.WAITING


async def test_a_run_that_another_worker_holds_by_now_is_not_taken_from_it_for_the_lease_of_the_last_one(
    tasks: TaskService, hire: Callable[..., Hand], db: Database
) -> None:
    dying, alive = hire(), hire()
    await alive.live()
    reaper = Claimant(uuid4(), "host:1", ("quick",), ("echo",))
    runs = [(await tasks.trigger("echo")).id for _ in range(2)]
    assert len(await claimed(dying)) == 2
    await dying.lifecycle.leave()

    async def reap(pipe: Any) -> Any:
        return await Leases(pipe).reap_expired_leases(reaper, states.expire_lease(), 3, clock.now())

    async with held_up(db, reap) as asked:
        taken = await other_than_the_locked(db, runs)
        assert await alive.lifecycle.reap() == 1
        assert list(await claimed(alive)) == [taken]
    assert [row["id"] for row in await asked] == [run_id for run_id in runs if run_id != taken]
    assert (await tasks.get(taken)).status is TaskRunStatus.RUNNING


async def test_an_attempt_that_began_after_a_look_for_overruns_is_not_ended_with_the_others(
    tasks: TaskService, hand: Hand, db: Database
) -> None:
    reaper, move = Claimant(uuid4(), "host:1", ("quick",), ("echo",)), states.fail(TIMED_OUT, Reason.TIMEOUT)

    async def claim_again(run_id: UUID) -> None:
        await held[run_id].write(move=states.interrupt())
        held.update(await claimed(hand))
        await execute(db, "UPDATE task_runs SET deadline_at = now() - interval '1 hour'")

    first, second, third = [(await tasks.trigger("echo")).id for _ in range(3)]
    held = await claimed(hand)
    await claim_again(second)
    async with db.autocommit() as pipe:
        seen = await Leases(pipe).overruns(reaper, clock.now())
        await claim_again(third)
        claims = [(run["id"], run["claim_no"]) for run in seen]
        ended = await Leases(pipe).reap_overruns(reaper, claims, move, clock.now())
    assert claims == [(first, 1), (second, 2), (third, 1)]
    assert sorted(run["id"] for run in ended) == [first, second]
