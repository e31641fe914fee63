"""Limits with QUEUE: who is let in, who waits, and who is woken, with a worker whose every step the test takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from app import Limits, TaskRunStatus, TaskService, states
from app.db import Database
from app.limited_runs import LimitedRuns
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand
from tests.service.limited import claimed, execute, limited, rung, standing, trigger
from tests.service.lossy import lossy
from tests.workbench import until, until_status

ONE = Limits(max_concurrency=1)
KEYED = Limits(key="text", max_concurrency_per_key=1)
BOTH = Limits(max_concurrency=2, key="text", max_concurrency_per_key=1)
RATED = Limits(rate="2/minute")
RATED_BY_KEY = Limits(key="text", rate_per_key="2/minute")
LIMITS = {"one": ONE, "keyed": KEYED, "both": BOTH, "rated": RATED, "rated-by-key": RATED_BY_KEY}
PARKED = ("QUEUED", "CONCURRENCY_LIMIT")
RUNNING = ("RUNNING", None)


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    async with limited(settings, **LIMITS, free=None) as tasks:
        yield tasks


@pytest.fixture
async def worker(hire: Callable[..., Hand]) -> Hand:
    worker = hire("free", limits=LIMITS)
    await worker.live()
    return worker


async def test_no_more_runs_than_the_limit_are_claimed_and_the_others_say_what_they_wait_for(
    tasks: TaskService, worker: Hand
) -> None:
    runs = await trigger(tasks, "one", "a", "b", "c")
    assert list(await claimed(worker)) == runs[:1]
    assert await standing(tasks, runs) == [RUNNING, PARKED, PARKED]
    assert not await claimed(worker)


async def test_a_claim_waits_for_the_one_before_it_and_sees_what_that_took(
    tasks: TaskService, worker: Hand, hire: Callable[..., Hand], db: Database
) -> None:
    runs = await trigger(tasks, "one", "a", "b")
    first = hire("free", limits=LIMITS)
    await first.live()
    async with db.pipe() as pipe:
        gate = LimitedRuns(pipe, "one", ONE)
        await gate.lock()
        second = asyncio.create_task(claimed(worker))
        await until(lambda: second.done() or waits_for_lock(db))
        due = await gate.rung(runs, [0, 0])
        assert await gate.claim(first.owner, "host:1", due[:1])
    assert await second == {}


async def test_each_key_has_slots_of_its_own(tasks: TaskService, worker: Hand) -> None:
    runs = await trigger(tasks, "keyed", "a", "a", "b", "a", "b")
    assert set(await claimed(worker)) == {runs[0], runs[2]}
    assert (await tasks.get(runs[0])).limit_key == "a"
    assert (await tasks.get((await trigger(tasks, "free", "x"))[0])).limit_key is None


async def test_a_limit_of_the_definition_and_one_of_each_key_hold_together(tasks: TaskService, worker: Hand) -> None:
    runs = await trigger(tasks, "both", "a", "a", "b", "c")
    first = await claimed(worker)
    assert list(first) == [runs[0], runs[2]]
    assert await standing(tasks, runs) == [RUNNING, PARKED, RUNNING, PARKED]
    # The key's slot is free with this, and the definition's too: the run that was due first has both.
    await first[runs[0]].write(move=SUCCEED)
    assert list(await claimed(worker)) == [runs[1]]


async def test_a_freed_slot_rings_for_the_next_run(tasks: TaskService, worker: Hand, settings: Settings) -> None:
    runs = await trigger(tasks, "one", "a", "b", "c")
    held = await claimed(worker)
    await clear(settings, tasks)
    await held[runs[0]].write(move=SUCCEED)
    await until(lambda: rung(settings, tasks, runs[1:]))
    assert await rung(settings, tasks, runs[1:]) == [runs[1]]
    assert list(await by_ring(worker, runs[1])) == [runs[1]]


@pytest.mark.parametrize("move", [states.continue_(0.0), states.continue_(60.0), states.wait(())])
async def test_a_run_that_continues_or_waits_frees_its_slot(
    tasks: TaskService, worker: Hand, move: states.Move
) -> None:
    runs = await trigger(tasks, "one", "a", "b")
    await (await claimed(worker))[runs[0]].write(move=move)
    assert list(await claimed(worker)) == [runs[1]]


async def test_a_run_that_continues_without_delay_lets_those_go_first_that_were_due_before(
    tasks: TaskService, worker: Hand
) -> None:
    runs = await trigger(tasks, "one", "a", "b")
    await (await claimed(worker))[runs[0]].write(move=states.continue_(0.0))
    assert list(await by_ring(worker, runs[0], claim_no=1)) == [runs[1]]
    assert await standing(tasks, runs) == [PARKED, RUNNING]


async def test_a_run_that_is_parked_in_the_moment_in_which_the_slot_is_freed_is_found(
    tasks: TaskService, worker: Hand, settings: Settings, db: Database
) -> None:
    runs = await trigger(tasks, "one", "a")
    held = await claimed(worker)
    late = (await trigger(tasks, "one", "b"))[0]
    async with db.pipe() as pipe:
        gate = LimitedRuns(pipe, "one", ONE)
        await gate.lock()
        tally = await gate.tally_held()
        [candidate] = await gate.rung([late], [0])
        full = tally.full(ONE, "", first=True)
        assert full is not None
        await gate.park([(candidate, full)])
        await clear(settings, tasks)
        # The slot is free now, and nobody who looks can see yet that somebody waits for it.
        await held[runs[0]].write(move=SUCCEED)
        await until(lambda: waits_for_lock(db))
    await until(lambda: rung(settings, tasks, [late]))


async def test_a_freed_slot_whose_worker_died_before_it_rang_is_found_by_the_dispatcher(
    tasks: TaskService, worker: Hand, settings: Settings, db: Database
) -> None:
    runs = await trigger(tasks, "one", "a", "b")
    await claimed(worker)
    await clear(settings, tasks)
    await execute(
        db,
        "UPDATE task_runs SET status = 'SUCCEEDED', finished_at = now(), lease_owner = NULL WHERE id = $1",
        runs[0],
    )
    await worker.lifecycle.look_for_room()
    await until(lambda: rung(settings, tasks, runs[1:]))


async def test_among_parked_runs_the_higher_priority_goes_first_and_then_the_older(
    tasks: TaskService, worker: Hand
) -> None:
    first = await trigger(tasks, "one", "first")
    low, old = await trigger(tasks, "one", "low", priority=-5), await trigger(tasks, "one", "old", "new")
    high = await trigger(tasks, "one", "high", priority=5)
    order = []
    held = await claimed(worker)
    while held:
        [(run_id, run)] = held.items()
        order.append(run_id)
        await run.write(move=SUCCEED)
        held = await claimed(worker)
    assert order == [*high, *first, *old, *low]


async def test_a_newcomer_never_overtakes_those_that_wait(tasks: TaskService, worker: Hand) -> None:
    runs = await trigger(tasks, "one", "a", "b")
    await (await claimed(worker))[runs[0]].write(move=SUCCEED)
    [newcomer] = await trigger(tasks, "one", "c")
    # The ring is for the newcomer; the slot is for whoever is next.
    assert list(await by_ring(worker, newcomer)) == [runs[1]]
    assert await standing(tasks, [newcomer]) == [PARKED]


async def test_a_newcomer_never_overtakes_those_of_another_key_that_wait_for_the_definition(
    tasks: TaskService, worker: Hand
) -> None:
    runs = await trigger(tasks, "both", "a", "b", "c")
    held = await claimed(worker)
    assert list(held) == runs[:2]
    await held[runs[0]].write(move=SUCCEED)
    [newcomer] = await trigger(tasks, "both", "d")
    assert list(await by_ring(worker, newcomer)) == [runs[2]]


async def test_a_claim_whose_reply_was_lost_is_found_again(
    tasks: TaskService, settings: Settings, hire: Callable[..., Hand]
) -> None:
    async with lossy(settings.database_url) as proxy:
        far = Database(proxy.url)
        distant = hire(limits=LIMITS, database=far)
        await distant.live()
        runs = await trigger(tasks, "one", "a", "b")
        proxy.lose_reply_to("COMMIT;")
        assert list(await by_ring(distant, *runs)) == runs[:1]
        assert proxy.lost == 1
        await far.close()


async def test_no_more_runs_start_than_the_rate_allows_in_its_window(
    tasks: TaskService, worker: Hand, db: Database, settings: Settings
) -> None:
    runs = await trigger(tasks, "rated", *"abcde")
    for held in (await claimed(worker)).values():
        await held.write(move=SUCCEED)
    assert await standing(tasks, runs[2:]) == [("QUEUED", "RATE_LIMIT")] * 3
    assert not await claimed(worker)
    await execute(db, "UPDATE task_runs SET started_at = now() - interval '61 seconds' WHERE id = $1", runs[0])
    await worker.lifecycle.look_for_room()
    await until(lambda: rung(settings, tasks, runs[2:]))
    assert list(await claimed(worker)) == [runs[2]]
    assert not await claimed(worker)


async def test_each_key_has_a_rate_of_its_own(
    tasks: TaskService, worker: Hand, db: Database, settings: Settings
) -> None:
    runs = await trigger(tasks, "rated-by-key", "a", "a", "a", "b", "a")
    held = await claimed(worker)
    assert set(held) == {runs[0], runs[1], runs[3]}
    for each in held.values():
        await each.write(move=SUCCEED)
    assert await standing(tasks, [runs[2], runs[4]]) == [("QUEUED", "RATE_LIMIT")] * 2
    assert not await claimed(worker)
    others = await trigger(tasks, "rated-by-key", "b", "b")
    assert list(await by_ring(worker, *others)) == others[:1]
    await execute(db, "UPDATE task_runs SET started_at = now() - interval '61 seconds' WHERE id = $1", runs[0])
    await worker.lifecycle.look_for_room()
    await until(lambda: rung(settings, tasks, [runs[2]]))
    assert list(await claimed(worker)) == [runs[2]]
    assert not await claimed(worker)


async def test_retries_and_later_iterations_are_no_starts(tasks: TaskService, worker: Hand) -> None:
    runs = await trigger(tasks, "rated", "a", "b", "c")
    for held in (await claimed(worker)).values():
        await held.write(move=states.continue_(0.0))
    assert set(await claimed(worker)) == set(runs[:2])


async def test_a_run_that_was_scheduled_obeys_when_it_becomes_due(
    tasks: TaskService, worker: Hand, db: Database
) -> None:
    runs = await trigger(tasks, "one", "a", "b", delay=timedelta(hours=1))
    await execute(db, "UPDATE task_runs SET due_at = now() WHERE id = ANY($1::uuid[])", runs)
    assert await worker.lifecycle.dispatch() == 2
    assert len(await claimed(worker)) == 1


async def test_a_parked_run_can_be_aborted_and_expires(tasks: TaskService, worker: Hand, db: Database) -> None:
    runs = await trigger(tasks, "one", "a", "b", "c", ttl=timedelta(hours=1))
    held = await claimed(worker)
    await tasks.abort(runs[1])
    await execute(db, "UPDATE task_runs SET expires_at = now() WHERE id = $1", runs[2])
    await held[runs[0]].write(move=SUCCEED)
    assert not await claimed(worker)
    await worker.lifecycle.dispatch()
    assert await standing(tasks, runs[1:]) == [("ABORTED", "ABORT_REQUESTED"), ("EXPIRED", "TTL")]
    assert not await execute(db, "SELECT FROM task_runs WHERE parked IS NOT NULL")


async def test_slots_of_a_dead_worker_come_back_with_its_lease(
    tasks: TaskService, worker: Hand, hire: Callable[..., Hand], settings: Settings
) -> None:
    dying = hire(limits=LIMITS)
    runs = await trigger(tasks, "one", "a", "b")
    assert list(await claimed(dying)) == runs[:1]
    await dying.lifecycle.leave()
    assert not await claimed(worker)
    assert await worker.lifecycle.reap() == 1
    assert len(await claimed(worker)) == 1
    await until_status(tasks, runs[0], TaskRunStatus.RUNNING, TaskRunStatus.QUEUED)


async def test_a_limit_raised_by_a_deploy_lets_parked_runs_go(
    tasks: TaskService, worker: Hand, hire: Callable[..., Hand], settings: Settings
) -> None:
    runs = await trigger(tasks, "one", "a", "b", "c", "d")
    await claimed(worker)
    await clear(settings, tasks)
    newer = hire(limits={"one": Limits(max_concurrency=3)})
    await newer.lifecycle.look_for_room()
    await until(lambda: rung(settings, tasks, runs[1:]))
    assert await rung(settings, tasks, runs[1:]) == runs[1:3]
    assert list(await claimed(newer)) == runs[1:3]


@pytest.mark.parametrize("id", ["one", "keyed"])
async def test_a_definition_that_lost_its_limits_lets_all_parked_runs_go(
    tasks: TaskService, worker: Hand, hire: Callable[..., Hand], settings: Settings, id: str
) -> None:
    runs = await trigger(tasks, id, "a", "a", "a")
    await claimed(worker)
    newer = hire(id)
    await clear(settings, tasks)
    await newer.lifecycle.look_for_room()
    await until(lambda: rung(settings, tasks, runs[1:]))
    assert await standing(tasks, runs[1:]) == [("QUEUED", None)] * 2
    assert set(await claimed(newer)) == set(runs[1:])


async def test_a_definition_whose_key_went_away_still_lets_its_parked_runs_go(
    tasks: TaskService, worker: Hand, hire: Callable[..., Hand]
) -> None:
    runs = await trigger(tasks, "keyed", "a", "a", "a")
    await claimed(worker)
    assert len(await claimed(hire(limits={"keyed": Limits(max_concurrency=2)}))) == 1
    assert (await standing(tasks, runs)).count(RUNNING) == 2


async def test_runs_that_were_triggered_before_there_were_limits_obey_and_count(
    settings: Settings, worker: Hand, hire: Callable[..., Hand]
) -> None:
    async with limited(settings, keyed=None) as earlier:
        runs = await trigger(earlier, "keyed", "a", "b", "c")
        assert len(await claimed(hire("keyed"), 1)) == 1
        assert not await claimed(worker)
        assert await standing(earlier, runs) == [RUNNING, PARKED, PARKED]


async def test_a_rerun_with_another_input_has_the_key_of_that_input(tasks: TaskService) -> None:
    [run] = await trigger(tasks, "keyed", "a")
    assert (await tasks.rerun(run)).limit_key == "a"
    assert (await tasks.rerun(run, input={"text": "b"})).limit_key == "b"


async def test_a_server_without_the_code_finds_the_key_as_well(tasks: TaskService, settings: Settings) -> None:
    await trigger(tasks, "keyed", "a")
    async with limited(settings) as other:
        [run] = await trigger(other, "keyed", "b")
        assert (await other.get(run)).limit_key == "b"


async def test_the_wait_for_a_key_that_nobody_set_is_a_wait_for_the_key_null(
    settings: Settings, hire: Callable[..., Hand]
) -> None:
    limits = {"missing": Limits(key="nowhere.to_be_found", max_concurrency_per_key=1)}
    async with limited(settings, **limits) as tasks:
        runs = await trigger(tasks, "missing", "a", "b")
        assert len(await claimed(hire(limits=limits))) == 1
        assert {(await tasks.get(run)).limit_key for run in runs} == {"null"}


async def test_runs_in_a_queue_without_a_worker_hold_up_nobody(tasks: TaskService, worker: Hand) -> None:
    await trigger(tasks, "one", "a", "b", queue="nobody", priority=1000)
    [run] = await trigger(tasks, "one", "c")
    assert list(await claimed(worker)) == [run]


# By hand.


async def by_ring(worker: Hand, *run_ids: object, claim_no: int = 0) -> dict[object, object]:
    """What a worker claims that heard these rings."""
    rows = await worker.lifecycle.claim_rung([f"{run_id}:{claim_no}" for run_id in run_ids])
    return {row["id"]: row for row in rows}


async def clear(settings: Settings, tasks: TaskService) -> None:
    """Take all rings out of Redis, as workers do."""
    await tasks.finish_telling()
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.flushall()


async def waits_for_lock(db: Database) -> bool:
    """Whether somebody waits for the lock of a definition."""
    return bool(await execute(db, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
