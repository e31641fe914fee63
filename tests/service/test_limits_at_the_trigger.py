"""Limits with REJECT and ABORT_OLDEST: what a trigger meets, and what becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from app import LimitReached, Limits, TaskService, TriggerRequest, UniqueConflict, WhenFull, clock, states
from app.db import Database
from app.service import Triggered
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand
from tests.service.limited import claimed, execute, limited, standing, trigger
from tests.service.lossy import lossy

REJECT, ABORT = WhenFull.REJECT, WhenFull.ABORT_OLDEST
LIMITS = {
    "one": Limits(max_concurrency=1, when_full=REJECT),
    "three": Limits(max_concurrency=3, when_full=REJECT),
    "keyed": Limits(key="text", max_concurrency_per_key=2, when_full=REJECT),
    "rated": Limits(rate="2/minute", when_full=REJECT),
    "rated-by-key": Limits(key="text", rate_per_key="2/minute", when_full=REJECT),
    "latest": Limits(max_concurrency=1, when_full=ABORT),
    "latest-two": Limits(max_concurrency=2, when_full=ABORT),
    "latest-of-key": Limits(key="text", max_concurrency_per_key=1, max_concurrency=2, when_full=ABORT),
}


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    async with limited(settings, **LIMITS) as tasks:
        yield tasks


@pytest.fixture
def worker(hire: Callable[..., Hand]) -> Hand:
    return hire(limits=LIMITS)


async def count(db: Database) -> int:
    return (await execute(db, "SELECT count(*) FROM task_runs"))[0][0]


async def test_a_trigger_that_meets_a_limit_is_refused_by_name_and_stores_nothing(
    tasks: TaskService, db: Database
) -> None:
    await trigger(tasks, "one", "a")
    with pytest.raises(LimitReached) as refusal:
        await trigger(tasks, "one", "b")
    assert refusal.value.message == (
        "'one' allows 1 at once of its runs, and they are there. Try again when some of them have ended."
    )
    assert (refusal.value.key, refusal.value.retry_at) == (None, None)
    assert await count(db) == 1


async def test_the_room_comes_back_with_the_end_of_a_run_and_not_before(tasks: TaskService, worker: Hand) -> None:
    [run] = await trigger(tasks, "one", "a")
    held = (await claimed(worker))[run]
    with pytest.raises(LimitReached):
        await trigger(tasks, "one", "b")
    await held.write(move=SUCCEED)
    await trigger(tasks, "one", "b")


async def test_each_key_is_refused_for_itself(tasks: TaskService) -> None:
    await trigger(tasks, "keyed", "a", "a", "b")
    with pytest.raises(LimitReached, match="'keyed' allows 2 at once of its runs with the key 'a'") as refusal:
        await trigger(tasks, "keyed", "a")
    assert refusal.value.key == "a"
    await trigger(tasks, "keyed", "b")


async def test_a_rate_refuses_and_says_when_there_is_room_again(tasks: TaskService, worker: Hand, db: Database) -> None:
    await trigger(tasks, "rated", "a", "b")
    with pytest.raises(LimitReached) as unknown:
        await trigger(tasks, "rated", "c")
    assert unknown.value.retry_at is None, "nobody knows when those that wait will start"
    for held in (await claimed(worker)).values():
        await held.write(move=SUCCEED)
    with pytest.raises(LimitReached, match="allows 2 starts in 60 s of its runs") as known:
        await trigger(tasks, "rated", "c")
    assert known.value.retry_at is not None
    assert timedelta(0) < known.value.retry_at - clock.now() <= timedelta(seconds=60)
    earlier = "UPDATE task_runs SET started_at = started_at - interval '61 seconds' WHERE input ->> 'text' = 'a'"
    await execute(db, earlier)
    await trigger(tasks, "rated", "c")
    with pytest.raises(LimitReached):
        await trigger(tasks, "rated", "d")


async def test_a_rate_of_each_key_refuses_that_key_alone(tasks: TaskService, worker: Hand, db: Database) -> None:
    runs = await trigger(tasks, "rated-by-key", "a", "a", "b")
    with pytest.raises(LimitReached, match="2 starts in 60 s of its runs with the key 'a'") as unknown:
        await trigger(tasks, "rated-by-key", "a")
    assert (unknown.value.key, unknown.value.retry_at) == ("a", None)
    for held in (await claimed(worker)).values():
        await held.write(move=SUCCEED)
    with pytest.raises(LimitReached) as known:
        await trigger(tasks, "rated-by-key", "a")
    started = (await tasks.get(runs[0])).started_at
    assert started is not None
    assert known.value.retry_at == started + timedelta(seconds=60)
    await trigger(tasks, "rated-by-key", "b")
    await execute(db, "UPDATE task_runs SET started_at = now() - interval '61 seconds' WHERE id = $1", runs[0])
    await trigger(tasks, "rated-by-key", "a")
    assert await count(db) == 5


async def test_a_run_whose_start_lies_ahead_is_let_in_and_waits_when_it_is_due(
    tasks: TaskService, worker: Hand, db: Database
) -> None:
    [now] = await trigger(tasks, "one", "a")
    later = await trigger(tasks, "one", "b", "c", delay=timedelta(hours=1))
    assert list(await claimed(worker)) == [now]
    await execute(db, "UPDATE task_runs SET due_at = now() WHERE status = 'SCHEDULED'")
    await worker.lifecycle.dispatch()
    assert not await claimed(worker)
    assert await standing(tasks, later) == [("QUEUED", "CONCURRENCY_LIMIT")] * 2


async def test_two_servers_at_once_never_let_in_more_than_the_limit(tasks: TaskService, settings: Settings) -> None:
    async with limited(settings, **LIMITS) as other:
        answers = await asyncio.gather(
            *(server.trigger("three", input={"text": str(n)}) for n in range(20) for server in (tasks, other)),
            return_exceptions=True,
        )
    refused = [answer for answer in answers if isinstance(answer, LimitReached)]
    assert (len(answers), len(refused)) == (40, 37)


async def test_a_bulk_trigger_is_refused_item_by_item(tasks: TaskService, db: Database) -> None:
    requests = [TriggerRequest(definition_id="keyed", input={"text": key}) for key in "aaabb"]
    requests.insert(2, TriggerRequest(definition_id="one", input={}))
    answers = await tasks.trigger_many(requests)
    assert [type(answer) for answer in answers] == [*(Triggered,) * 3, LimitReached, *(Triggered,) * 2]
    assert await count(db) == 5


async def test_a_repeated_idempotency_key_gives_its_run_although_the_limit_is_full(tasks: TaskService) -> None:
    [run] = await trigger(tasks, "one", "a", idempotency_key="k")
    assert await trigger(tasks, "one", "a", idempotency_key="k") == [run]
    requests = [TriggerRequest(definition_id="three", input={}, idempotency_key=key) for key in "xxxxx"]
    answers = await tasks.trigger_many(requests)
    assert len({answer.run.id for answer in answers if isinstance(answer, Triggered)}) == 1


async def test_a_unique_key_in_use_takes_no_room(tasks: TaskService) -> None:
    await trigger(tasks, "three", "a", unique_key="u")
    with pytest.raises(UniqueConflict):
        await trigger(tasks, "three", "a", unique_key="u")
    await trigger(tasks, "three", "b", "c")


async def test_a_trigger_whose_reply_was_lost_is_not_refused_for_its_own_run(settings: Settings) -> None:
    async with lossy(settings.database_url) as proxy:
        distant = settings.model_copy(update={"database_url": proxy.url})
        async with limited(distant, **LIMITS) as tasks:
            for id in ("one", "latest"):
                # Publishes the definition, and takes no room.
                await trigger(tasks, id, "later", delay=timedelta(hours=1))
                proxy.lose_reply_to("COMMIT;")
                run = await tasks.trigger(id, input={"text": "a"})
                assert await standing(tasks, [run.id]) == [("QUEUED", None)]
            assert proxy.lost == 2


async def test_the_newest_run_takes_the_place_of_the_oldest(tasks: TaskService, worker: Hand) -> None:
    runs = await trigger(tasks, "latest", "a", "b")
    assert await standing(tasks, runs) == [("ABORTED", "ABORT_REQUESTED"), ("QUEUED", None)]
    aborted = await tasks.get(runs[0])
    assert aborted.abort_message == f"Superseded by run {runs[1]}: at most 1 of 'latest' at once."
    assert aborted.abort_requested_by == aborted.created_by


async def test_what_a_trigger_aborts_is_counted_as_finished(tasks: TaskService) -> None:
    labels = {"definition": "latest", "status": "ABORTED"}
    before = REGISTRY.get_sample_value("taskloom_runs_finished_total", labels) or 0
    await trigger(tasks, "latest", "a", "b", "c")
    await trigger(tasks, "latest", "d", unique_key="u")
    await trigger(tasks, "latest", "e", unique_key="u", unique_policy="REPLACE")
    assert REGISTRY.get_sample_value("taskloom_runs_finished_total", labels) == before + 4


async def test_the_newest_run_waits_until_the_one_that_it_aborts_has_stopped(tasks: TaskService, worker: Hand) -> None:
    [old] = await trigger(tasks, "latest", "a")
    held = (await claimed(worker))[old]
    [new] = await trigger(tasks, "latest", "b")
    assert await standing(tasks, [old, new]) == [("ABORTING", "ABORT_REQUESTED"), ("QUEUED", None)]
    assert not await claimed(worker)
    await held.write(move=states.acknowledge_abort())
    assert list(await claimed(worker)) == [new]


async def test_the_children_of_the_oldest_run_are_aborted_with_it(tasks: TaskService) -> None:
    [old] = await trigger(tasks, "latest", "a")
    children = await trigger(tasks, "keyed", "child", parent=old)
    await trigger(tasks, "latest", "b")
    assert await standing(tasks, [old, *children]) == [("ABORTED", "ABORT_REQUESTED")] * 2


async def test_a_child_takes_the_place_of_the_oldest_run_that_it_does_not_belong_to(
    tasks: TaskService, db: Database
) -> None:
    [parent, other] = await trigger(tasks, "latest-two", "parent", "other")
    between = await trigger(tasks, "keyed", "between", parent=parent)
    [child] = await trigger(tasks, "latest-two", "child", parent=between[0])
    assert [status for status, _ in await standing(tasks, [parent, other, child])] == ["QUEUED", "ABORTED", "QUEUED"]
    with pytest.raises(LimitReached, match="2 at once of its runs, and this one would belong to all of them"):
        await trigger(tasks, "latest-two", "grandchild", parent=child)
    assert await count(db) == 4
    assert [status for status, _ in await standing(tasks, [parent, child])] == ["QUEUED", "QUEUED"]


async def test_a_run_never_aborts_its_own_parent_for_the_limit_of_a_key(tasks: TaskService) -> None:
    [parent] = await trigger(tasks, "latest-of-key", "a")
    with pytest.raises(LimitReached, match="1 at once of its runs with the key 'a'") as refusal:
        await trigger(tasks, "latest-of-key", "a", parent=parent)
    assert refusal.value.key == "a"
    children = await trigger(tasks, "latest-of-key", "b", "c", parent=parent)
    assert [status for status, _ in await standing(tasks, [parent, *children])] == ["QUEUED", "ABORTED", "QUEUED"]


async def test_each_key_keeps_its_newest_run_and_all_of_them_together_the_newest_two(tasks: TaskService) -> None:
    runs = await trigger(tasks, "latest-of-key", "a", "b", "a", "c")
    assert [status for status, _ in await standing(tasks, runs)] == ["ABORTED", "ABORTED", "QUEUED", "QUEUED"]


async def test_of_a_bulk_trigger_the_newest_runs_stay(tasks: TaskService) -> None:
    requests = [TriggerRequest(definition_id="latest-of-key", input={"text": key}) for key in "aab"]
    answers = await tasks.trigger_many(requests)
    runs: list[UUID] = [answer.run.id for answer in answers if isinstance(answer, Triggered)]
    assert [status for status, _ in await standing(tasks, runs)] == ["ABORTED", "QUEUED", "QUEUED"]


async def test_a_trigger_that_is_refused_aborts_nobody(tasks: TaskService) -> None:
    [run] = await trigger(tasks, "latest", "a", unique_key="u")
    with pytest.raises(UniqueConflict):
        await trigger(tasks, "latest", "b", unique_key="u")
    assert await standing(tasks, [run]) == [("QUEUED", None)]


async def test_many_triggers_at_once_leave_one_run_and_all_others_aborted(
    tasks: TaskService, settings: Settings, db: Database
) -> None:
    async with limited(settings, **LIMITS) as other:
        await asyncio.gather(
            *(server.trigger("latest", input={"text": str(n)}) for n in range(10) for server in (tasks, other))
        )
    left = await execute(db, "SELECT status, count(*) FROM task_runs GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in left] == [("ABORTED", 19), ("QUEUED", 1)]


async def test_repetitions_of_a_trigger_that_is_refused_are_refused_with_it(tasks: TaskService, db: Database) -> None:
    await trigger(tasks, "one", "a")
    again = TriggerRequest(definition_id="one", input={"text": "b"}, idempotency_key="k")
    answers = await tasks.trigger_many([again, again, again])
    assert [type(answer) for answer in answers] == [LimitReached] * 3
    assert await count(db) == 1
