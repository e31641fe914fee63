"""Backpressure: a full queue takes no more triggers, and what was promised is never refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from app import (
    Limits,
    QueueFull,
    RunSelection,
    ServiceUnavailable,
    TaskSelection,
    TaskService,
    TriggerRequest,
    WhenFull,
)
from app.db import Database
from app.models import BulkActionStatus, OverlapPolicy, TickOutcome, TickReason
from app.registry import Registry
from app.service import Triggered
from app.service.backpressure import CALM_SECONDS, FRESH_SECONDS, REST, Level
from app.service.batches import BatchOptions, OnComplete
from app.service.triggering import CHUNK
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand, definition, service
from tests.service.limited import claimed, execute
from tests.service.lossy import Lossy, lossy
from tests.service.scheduled import HOURLY, history, make_due, runs_of, saved_task, scheduler
from tests.workbench import until

LIMIT = 4
LIMITS = {"kept-waiting": Limits(max_concurrency=1), "refusing": Limits(max_concurrency=1, when_full=WhenFull.REJECT)}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Four runs may wait in "quick", any number in "endless", and six in each other queue."""
    return settings.model_copy(update={"queue_limits": (("quick", LIMIT), ("endless", 0)), "max_queued": 6})


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(definition("echo", queue="quick"))
    registry.add(definition("bulk-action"))
    for id, limits in LIMITS.items():
        registry.add(definition(id, queue="quick", limits=limits))
    return registry


@pytest.fixture
async def other(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    """Another server."""
    async with service(settings, registry) as other:
        yield other


@pytest.fixture
def worker(hire: Callable[..., Hand]) -> Hand:
    return hire("echo", limits={"kept-waiting": LIMITS["kept-waiting"]})


async def fill(tasks: TaskService, number: int = LIMIT, definition_id: str = "echo", **options: object) -> None:
    """Let so many runs wait."""
    for _ in range(number):
        await tasks.trigger(definition_id, **options)  # type: ignore[arg-type]


def behind(proxy: Lossy, settings: Settings, registry: Registry) -> AbstractAsyncContextManager[TaskService]:
    """A server whose database is behind a proxy."""
    return service(settings.model_copy(update={"database_url": proxy.url}), registry)


async def count(db: Database) -> int:
    return (await execute(db, "SELECT count(*) FROM task_runs"))[0][0]


async def test_a_trigger_for_a_full_queue_is_refused_by_name_and_stores_nothing(
    tasks: TaskService, db: Database
) -> None:
    refusals = REGISTRY.get_sample_value("taskloom_triggers_refused_total", {"queue": "quick"}) or 0
    await fill(tasks)
    with pytest.raises(QueueFull) as refusal:
        await tasks.trigger("echo")
    assert refusal.value.message == (
        "Queue 'quick' is full: about 4 runs wait in it, and it takes 4 (TASKLOOM_QUEUE_LIMITS, TASKLOOM_MAX_QUEUED). "
        "Try again when workers have taken some of them up."
    )
    assert (refusal.value.queue, refusal.value.depth, refusal.value.limit) == ("quick", 4, LIMIT)
    assert await count(db) == LIMIT
    assert REGISTRY.get_sample_value("taskloom_triggers_refused_total", {"queue": "quick"}) == refusals + 1


async def test_each_queue_is_full_by_itself_and_0_is_without_limit(tasks: TaskService) -> None:
    await fill(tasks)
    await fill(tasks, 6, queue="mail")
    with pytest.raises(QueueFull, match="'mail' is full: about 6 runs wait in it, and it takes 6"):
        await tasks.trigger("echo", queue="mail")
    await fill(tasks, 10, queue="endless")


async def test_another_server_and_one_that_comes_later_know_it_too_also_when_redis_is_empty(
    tasks: TaskService, other: TaskService, settings: Settings
) -> None:
    await fill(tasks)
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.flushall()
    with pytest.raises(QueueFull):
        await other.trigger("echo")


async def test_runs_that_wait_for_a_limit_or_their_time_count_and_those_that_have_started_do_not(
    tasks: TaskService, other: TaskService, worker: Hand
) -> None:
    await fill(tasks, 3, "kept-waiting")
    held = await claimed(worker)
    assert len(held) == 1, "two wait for the limit"
    await tasks.trigger("echo", delay=timedelta(hours=1))
    await other.trigger("echo")
    with pytest.raises(QueueFull):
        await other.trigger("echo")


async def test_there_is_room_again_when_workers_have_taken_some(tasks: TaskService, worker: Hand) -> None:
    await fill(tasks)
    with pytest.raises(QueueFull):
        await tasks.trigger("echo")
    await claimed(worker, 2)

    async def let_in() -> bool:
        try:
            await tasks.trigger("echo")
        except QueueFull:
            return False
        return True

    await until(let_in)
    await tasks.trigger("echo")
    with pytest.raises(QueueFull):
        await tasks.trigger("echo")


async def test_of_many_at_once_the_first_get_the_places_and_the_others_a_refusal_each(
    tasks: TaskService, db: Database
) -> None:
    await fill(tasks, 1)
    answers = await tasks.trigger_many([TriggerRequest(definition_id="echo")] * 1000)
    assert [type(answer) for answer in answers] == [*(Triggered,) * 3, *(QueueFull,) * 997]
    assert {answer.depth for answer in answers if isinstance(answer, QueueFull)} == {LIMIT}
    assert await count(db) == LIMIT


async def test_the_first_of_a_call_get_the_places_though_later_chunks_are_smaller(tasks: TaskService) -> None:
    requests = [TriggerRequest(definition_id="echo")] * (CHUNK + 2)
    answers = await tasks.submit_many(requests)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Triggered)] == list(range(LIMIT))


async def test_one_server_never_lets_in_more_and_two_at_once_no_more_than_each_would(
    tasks: TaskService, other: TaskService, db: Database
) -> None:
    alone = await asyncio.gather(*(tasks.trigger("echo", queue="mail") for _ in range(30)), return_exceptions=True)
    assert Counter(map(type, alone))[QueueFull] == 24
    await asyncio.gather(
        *(server.trigger("echo") for server in (tasks, other) for _ in range(20)), return_exceptions=True
    )
    assert LIMIT <= await count(db) - 6 <= 2 * LIMIT
    for server in (tasks, other):
        with pytest.raises(QueueFull):
            await server.trigger("echo")


async def test_repetitions_are_answered_although_the_queue_is_full(tasks: TaskService, db: Database) -> None:
    first = await tasks.trigger("echo", idempotency_key="k")
    shared = await tasks.trigger("echo", unique_key="u")
    await fill(tasks, 2)
    assert (await tasks.trigger("echo", idempotency_key="k")).id == first.id
    assert (await tasks.trigger("echo", unique_key="u", unique_policy="RETURN_EXISTING")).id == shared.id
    new = TriggerRequest(definition_id="echo", idempotency_key="new")
    answers = await tasks.trigger_many([new, TriggerRequest(definition_id="echo", idempotency_key="k"), new])
    assert [type(answer) for answer in answers] == [QueueFull, Triggered, QueueFull]
    assert await count(db) == LIMIT


@pytest.mark.parametrize(
    "again",
    [
        TriggerRequest(definition_id="echo", idempotency_key="k"),
        TriggerRequest(definition_id="echo", unique_key="u", unique_policy="RETURN_EXISTING"),
    ],
    ids=["idempotency", "unique"],
)
async def test_repetitions_share_one_place(again: TriggerRequest, tasks: TaskService) -> None:
    await fill(tasks, LIMIT - 1)
    answers = await tasks.trigger_many([again, again, TriggerRequest(definition_id="echo")])
    assert [type(answer) for answer in answers] == [Triggered, Triggered, QueueFull]


async def test_what_is_refused_for_another_reason_takes_no_place(tasks: TaskService) -> None:
    requests = [TriggerRequest(definition_id="refusing") for _ in range(3)]
    assert [type(answer).__name__ for answer in await tasks.trigger_many(requests)] == [
        "Triggered", "LimitReached", "LimitReached",
    ]  # fmt: skip
    await fill(tasks, LIMIT - 1)
    with pytest.raises(QueueFull):
        await tasks.trigger("echo")


async def test_a_database_that_goes_away_over_a_full_queue_takes_no_place_in_another_one(
    settings: Settings, registry: Registry
) -> None:
    async with lossy(settings.database_url) as proxy, behind(proxy, settings, registry) as far:
        await fill(far)
        proxy.lose_reply_to("SELECT id FROM task_runs WHERE id = ANY")
        both = [TriggerRequest(definition_id="echo", queue=queue) for queue in ("mail", "quick")]
        assert [type(answer) for answer in await far.trigger_many(both)] == [ServiceUnavailable] * 2
        assert proxy.lost == 1
        await fill(far, 6, queue="mail")


async def test_executions_and_reruns_are_refused_too_and_bulk_actions_item_by_item(
    tasks: TaskService, settings: Settings
) -> None:
    saved = [await saved_task(settings), await saved_task(settings)]
    run = await tasks.trigger("echo")
    await fill(tasks, LIMIT - 2)
    rerun = await tasks.bulk.wait((await tasks.bulk.rerun_runs(RunSelection(ids=[run.id]))).id)
    assert (rerun.status, rerun.done, rerun.failed) == (BulkActionStatus.COMPLETED, 1, 0)
    with pytest.raises(QueueFull):
        await tasks.saved.execute(saved[0])
    with pytest.raises(QueueFull):
        await tasks.rerun(run.id)
    action = await tasks.bulk.wait((await tasks.batches.execute(TaskSelection(ids=saved))).id)
    errors = (await tasks.bulk.errors(action.id)).items
    assert (action.done, action.failed, {error.code for error in errors}) == (0, 2, {"QUEUE_FULL"})


async def test_what_follows_a_batch_is_never_refused(tasks: TaskService, other: TaskService, worker: Hand) -> None:
    follows = BatchOptions(on_complete=OnComplete(definition_id="echo", input={"text": "afterwards"}))
    batch, _ = await tasks.batches.trigger([TriggerRequest(definition_id="echo")], follows)
    [held] = (await claimed(worker)).values()
    await held.write(move=SUCCEED)
    await fill(other)
    with pytest.raises(QueueFull):
        await other.trigger("echo")
    await other.batches.complete_due()
    assert (await tasks.batches.get(batch.id)).complete_run_id is not None


async def test_a_tick_that_meets_a_full_queue_is_skipped_with_the_reason_and_aborts_nobody(
    settings: Settings, tasks: TaskService, registry: Registry, db: Database
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), HOURLY, overlap=OverlapPolicy.ABORT_RUNNING)
    async with scheduler(settings, registry) as ticking:
        await make_due(settings, schedule)
        await ticking.run_once()
        [run] = await runs_of(settings, schedule)
        await fill(tasks, LIMIT - 1)
        await make_due(settings, schedule, timedelta(hours=-1))
        await execute(db, "UPDATE schedules SET next_due_at = now()")
    async with scheduler(settings, registry) as later:
        await later.run_once()
    line = (await history(tasks, schedule))[-1]
    assert (line.outcome, line.reason) == (TickOutcome.SKIPPED, TickReason.REFUSED)
    assert "Queue 'quick' is full" in (line.message or "")
    assert (await tasks.get(run.id)).status == "QUEUED"


# When it is counted again.


def test_a_queue_is_counted_seldom_while_it_is_half_empty_and_soon_when_it_is_not() -> None:
    level = Level("quick", 100)
    assert level.is_stale(0.0, 1), "nothing is known yet"
    level.note(10, 0, 0.0, 0.0)
    assert not level.is_stale(CALM_SECONDS - 0.1, 1)
    assert level.is_stale(CALM_SECONDS, 1)
    assert level.is_stale(FRESH_SECONDS, 41), "so many more would fill the half"
    level.stored = 41
    assert level.is_stale(FRESH_SECONDS, 1)
    assert not level.is_stale(FRESH_SECONDS - 0.1, 1)


def test_a_count_that_takes_long_is_followed_by_a_longer_rest() -> None:
    level = Level("quick", 100)
    level.note(90, 0, began=0.0, ended=0.5)
    assert not level.is_stale(0.4 + REST * 0.5, 1)
    assert level.is_stale(0.5 + REST * 0.5, 1)


def test_what_was_stored_while_it_was_counted_is_added_to_the_count() -> None:
    level = Level("quick", 100, stored=30, asking=2)
    before = level.stored
    level.stored += 5
    level.note(50, before, 0.0, 0.0)
    assert (level.depth, level.room) == (57, 43)
