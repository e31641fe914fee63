"""The order in which due runs are executed: priority, then the time they are due, then age; no queue starves another.

Executed one by one with 100,000 runs queued, both as rung by Redis and as found in PostgreSQL without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from app import TaskService, TriggerRequest
from app.db import plain_url
from app.doorbell import Doorbell, Ring
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import until, until_status, working
from tests.workers.definitions import calls
from workers.engine import Engine

QUEUED = 100_000
EXECUTED = 150
HOUR = timedelta(hours=1)
# The hundred most urgent have priority 7, the next hundred 3; pairs of them are due in the same microsecond.
FILL = """
    INSERT INTO task_runs (id, definition_id, name, status, queue, priority, iteration, max_iterations, attempt,
        max_attempts, created_at, start_at, due_at, created_by, input)
    SELECT uuidv7(), 'test-order', 'Run ' || n, 'QUEUED', $2, CASE WHEN n % 1000 = 7 THEN 7 WHEN n % 1000 = 3 THEN 3
        ELSE -(n % 3) END, 1, 2, 1, 2, now(), at, at, 'USER:local-admin', '{"value": 0}'
    FROM (SELECT n, now() - interval '1 hour' - (n * 7919 / 2000 % 100) * interval '1 second' AS at
          FROM generate_series(1, $1) AS n) AS numbered
    RETURNING id, claim_no, queue, priority, due_at"""
EXPECTED = "SELECT id FROM task_runs WHERE status = 'QUEUED' ORDER BY priority DESC, due_at, id LIMIT $1"
by_ring_and_by_polling = pytest.mark.parametrize("polling", [False, True], ids=["rung", "polling"])


@pytest.fixture
async def look(database_url: str) -> Any:
    """A connection for looking and for what nobody can wait for."""
    connection = cast(Any, await asyncpg.connect(plain_url(database_url)))
    yield connection
    await connection.close()


async def queue_up(look: Any, settings: Settings, runs: int, queue: str = "default") -> None:
    """Queue many runs and ring for them."""
    rows = await look.fetch(FILL, runs, queue)
    await look.execute("ANALYZE task_runs")
    await ring(settings, rows)


async def ring(settings: Settings, rows: Sequence[Any]) -> None:
    doorbell = Doorbell(settings.redis_url)
    for begun in range(0, len(rows), 5000):
        chunk = rows[begun : begun + 5000]
        assert await doorbell.ring(
            [Ring(r["id"], r["claim_no"], r["queue"], r["priority"], r["due_at"]) for r in chunk]
        )
    await doorbell.close()


def one_by_one(settings: Settings, *, polling: bool, **changes: Any) -> Any:
    """A worker that executes one run at a time, with Redis or without."""
    return working(settings, concurrency=1, **changes, **({"redis_url": "unix:///nowhere"} if polling else {}))


async def asleep(tasks: TaskService, settings: Settings) -> dict[str, UUID]:
    """A run that is delayed, one that failed and is retried, and one that has continued; all sleep for an hour."""
    made = {
        "delayed": await tasks.trigger("test-order", input={"value": 0}, priority=7, delay=HOUR),
        "retried": await tasks.trigger("test-order", input={"value": 1}, priority=7),
        "continued": await tasks.trigger("test-order", input={"value": 2}, priority=7),
    }
    async with working(settings):
        for name in ("retried", "continued"):
            await until_status(tasks, made[name].id, TaskRunStatus.WAITING)
    return {name: run.id for name, run in made.items()}


@by_ring_and_by_polling
async def test_priority_comes_before_due_time_before_age_also_for_delayed_retried_and_continued_runs(
    tasks: TaskService, settings: Settings, look: Any, polling: bool
) -> None:
    slept = await asleep(tasks, settings)
    # Due between the others of their priority: after 20, 50 and 80 of a hundred seconds in which those became due.
    for name, seconds in (("delayed", 20.5), ("retried", 50.5), ("continued", 80.5)):
        at = timedelta(hours=-1, seconds=seconds - 100)
        await look.execute("UPDATE task_runs SET due_at = now() + $2 WHERE id = $1", slept[name], at)
    engine = Engine(settings)
    assert await engine.lifecycle.dispatch() == 3
    await queue_up(look, settings, QUEUED)
    expected = [row["id"] for row in await look.fetch(EXPECTED, EXECUTED)]
    assert set(slept.values()) < set(expected[10:95])
    calls["order"].clear()
    async with one_by_one(settings, polling=polling):
        await until(lambda: len(calls["order"]) >= EXECUTED)
    await engine.stop()
    assert calls["order"][:EXECUTED] == expected


@by_ring_and_by_polling
async def test_a_full_queue_does_not_starve_the_others_of_the_same_worker(
    tasks: TaskService, settings: Settings, look: Any, polling: bool
) -> None:
    await queue_up(look, settings, 1000, "full")
    for queue in ("small", "other"):
        await queue_up(look, settings, 10, queue)
    calls["order"].clear()
    async with one_by_one(settings, polling=polling, queues=("full", "small", "other")):
        await until(lambda: len(calls["order"]) >= 60)
    queues = dict(await look.fetch("SELECT id, queue FROM task_runs WHERE id = ANY($1::uuid[])", calls["order"]))
    executed = [queues[run_id] for run_id in calls["order"][:60]]
    # Each gets its turn, so that the short ones are done by the time that the long one has got about as much.
    assert executed[:36].count("small") == 10
    assert executed[:36].count("other") == 10


async def test_a_worker_of_several_queues_executes_no_more_at_once_than_its_concurrency(
    tasks: TaskService, settings: Settings
) -> None:
    queues = ("first", "second", "third")
    requests = [
        TriggerRequest(definition_id="test-at-once", queue=queue)
        for queue in queues for _ in range(10)
    ]  # fmt: skip
    await tasks.submit_many(requests)
    async with working(settings, concurrency=2, queues=queues):
        await until(lambda: len(calls["at once"]) == len(requests))
    assert max(calls["at once"]) == 2
