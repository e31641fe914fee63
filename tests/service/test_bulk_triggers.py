"""Many triggers in one call: chunks are stored side by side, unless it matters who comes first."""

from __future__ import annotations

import asyncio
from typing import Any

from app import TaskService, Triggered, TriggerRequest, UniqueConflict, runs
from app.db import Database
from app.service.triggering import CHUNK
from tests.service.test_late_children import until_somebody_waits_for
from tests.workbench import until


async def test_a_chunk_is_stored_beside_one_that_waits_and_answers_stay_in_order(
    tasks: TaskService, db: Database
) -> None:
    parent = await tasks.trigger("echo", delay=60)
    names = [f"number-{n}" for n in range(2 * CHUNK + 10)]
    requests = [TriggerRequest(definition_id="echo", name=name) for name in names]
    requests[0] = TriggerRequest(definition_id="echo", name=names[0], parent_id=parent.id)
    async with db.pipe() as pipe:
        await runs.lock(pipe, parent.id)
        triggering = asyncio.create_task(tasks.submit_many(requests))
        await until_somebody_waits_for(db, pipe)
        await until(lambda: is_count(tasks, 1 + CHUNK))
        assert not triggering.done()
    answers = await triggering
    assert [answer.run.name for answer in answers if isinstance(answer, Triggered)] == names
    assert await tasks.count() == 1 + len(names)


async def test_of_two_that_want_the_same_key_the_first_gets_it_also_across_chunks(
    tasks: TaskService, db: Database
) -> None:
    parent = await tasks.trigger("echo", delay=60)
    requests = [TriggerRequest(definition_id="echo")] * (2 * CHUNK)
    requests[0] = TriggerRequest(definition_id="echo", parent_id=parent.id)
    for n in (5, CHUNK + 5):
        requests[n] = TriggerRequest(definition_id="echo", name=f"number-{n}", unique_key="wanted")
    async with db.pipe() as pipe:
        await runs.lock(pipe, parent.id)
        triggering = asyncio.create_task(tasks.submit_many(requests))
        await until_somebody_waits_for(db, pipe)
        # Time enough for the second chunk, of which nobody has a parent that is locked.
        for _ in range(20):
            await tasks.trigger("echo")
    answers = await triggering
    refused = [n for n, answer in enumerate(answers) if isinstance(answer, UniqueConflict)]
    assert refused == [CHUNK + 5]
    first = answers[5]
    assert isinstance(first, Triggered)
    assert first.run.name == "number-5"


async def test_who_gives_up_waiting_gives_up_all_chunks_under_way(tasks: TaskService, db: Database) -> None:
    parent = await tasks.trigger("echo", delay=60)
    requests = [TriggerRequest(definition_id="echo", parent_id=parent.id)] * (2 * CHUNK)
    async with db.pipe() as pipe:
        await runs.lock(pipe, parent.id)
        triggering = asyncio.create_task(tasks.submit_many(requests))
        await until(lambda: len(under_way()) == 2)
        await until_somebody_waits_for(db, pipe)
        triggering.cancel()
        await until(lambda: not under_way())
    assert triggering.cancelled()


def under_way() -> list[asyncio.Task[Any]]:
    """The tasks that store chunks."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_store_prepared"]


async def is_count(tasks: TaskService, number: int) -> bool:
    return await tasks.count() == number
