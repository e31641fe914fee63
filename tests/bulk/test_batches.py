"""Batches: runs that are triggered together, and what follows the last of them, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app import (
    BatchNotAbortable,
    BatchNotFound,
    InvalidTaskInput,
    RunFilter,
    TaskDefinitionNotFound,
    TaskRunStatus,
    TaskService,
    TriggerRequest,
)
from app.batches import _ANY_OPEN, _SEAL_FORGOTTEN
from app.service.batches import BatchOptions, OnComplete
from app.settings import Settings
from tests.service.scheduled import execute
from tests.workbench import completed, until
from tests.workers.definitions import allowed, reached
from workers.worker import TaskloomWorker

DOUBLE = TriggerRequest(definition_id="test-double", input={"value": 3})
LATER = TriggerRequest(definition_id="test-nothing", delay=timedelta(hours=1))
FOLLOWED = BatchOptions(name="Nightly", on_complete=OnComplete("test-double", {"value": 21}))


async def test_a_batch_counts_its_runs_and_what_follows_is_triggered_once_after_the_last(
    tasks: TaskService, worker: TaskloomWorker
) -> None:
    batch, answers = await tasks.batches.trigger([DOUBLE, TriggerRequest(definition_id="nobody"), DOUBLE], FOLLOWED)
    assert (batch.total, batch.name, len(answers)) == (2, "Nightly", 3)
    batch = await completed(tasks, batch)
    tally = (await tasks.batches.tallies([batch.id]))[batch.id]
    assert (tally.counts, tally.final, tally.live) == ({TaskRunStatus.SUCCEEDED: 2}, 2, 0)
    assert batch.complete_run_id is not None
    run = await tasks.wait(batch.complete_run_id, timeout=timedelta(seconds=20))
    assert (run.output, run.batch_id, run.created_by) == ({"value": 42}, None, batch.created_by)
    assert run.created_at >= tally.last_finished_at  # type: ignore[operator]


async def test_many_who_look_at_once_and_one_who_died_before_saying_so_trigger_it_once(
    settings: Settings, tasks: TaskService
) -> None:
    batch, [answer] = await tasks.batches.trigger([LATER], FOLLOWED)
    await tasks.batches.complete_due()
    assert (await tasks.batches.get(batch.id)).completed_at is None
    await tasks.abort(answer.run.id)  # type: ignore[union-attr]
    # As one who triggered it and died before the batch's row was written.
    row = {**vars(batch), "has_runs": True, "complete_input": '{"value": 21}', "id": batch.id}
    first = await tasks.batches._trigger(await tasks.batches._follower(row))
    await asyncio.gather(*(tasks.batches.complete_due() for _ in range(4)))
    assert (await tasks.batches.get(batch.id)).complete_run_id == first[0]
    assert await tasks.count(RunFilter(definition_ids=["test-double"])) == 1


async def test_nothing_follows_a_full_stop_that_comes_while_what_follows_is_checked(tasks: TaskService) -> None:
    follows = OnComplete("test-checked-slowly", {"name": "followed"})
    batch, [answer] = await tasks.batches.trigger([LATER], BatchOptions(on_complete=follows))
    await tasks.abort(answer.run.id)  # type: ignore[union-attr]
    completing = asyncio.create_task(tasks.batches.complete_due())
    await until(reached["followed"].is_set)
    await tasks.bulk.stop_all(confirm="stop all tasks")
    allowed["followed"].set()
    await completing
    assert (await tasks.batches.get(batch.id)).completed_at is not None
    assert await tasks.count(RunFilter(definition_ids=["test-checked-slowly"])) == 0


async def test_a_batch_of_a_process_that_died_while_it_triggered_is_completed_all_the_same(
    tasks: TaskService, db_execute: object
) -> None:
    from dataclasses import replace

    from app.auth import LOCAL_ADMIN
    from app.service.requests import Provenance

    batch_id = await tasks.batches.open(FOLLOWED, LOCAL_ADMIN, allow_private=True)
    run = (await tasks.submit(replace(LATER, provenance=Provenance(batch_id=batch_id)))).run
    await tasks.abort(run.id)
    await tasks.batches.complete_due()
    assert (await tasks.batches.get(batch_id)).completed_at is None, "more runs may come"
    await db_execute("UPDATE batches SET created_at = now() - interval '6 minutes'")  # type: ignore[operator]
    await tasks.batches.complete_due()
    batch = await tasks.batches.get(batch_id)
    assert (batch.total, batch.completed_at is not None, batch.complete_run_id is not None) == (1, True, True)


async def test_nothing_follows_a_batch_that_was_aborted_and_its_runs_are(tasks: TaskService) -> None:
    batch, _ = await tasks.batches.trigger([LATER] * 20, FOLLOWED)
    action = await tasks.batches.abort(batch.id)
    assert action.done == 20
    await tasks.batches.complete_due()
    batch = await tasks.batches.get(batch.id)
    assert (batch.aborted_by, batch.complete_run_id) == ("USER:local-admin", None)
    assert batch.completed_at is not None
    assert await tasks.count(RunFilter(definition_ids=["test-double"])) == 0
    with pytest.raises(BatchNotAbortable):
        await tasks.batches.abort(batch.id)


async def test_nothing_follows_a_full_stop(tasks: TaskService) -> None:
    batch, _ = await tasks.batches.trigger([LATER], FOLLOWED)
    await tasks.bulk.stop_all(confirm="stop all tasks")
    await tasks.batches.complete_due()
    assert (await tasks.batches.get(batch.id)).completed_at is not None
    assert await tasks.count(RunFilter(definition_ids=["test-double"])) == 0


async def test_a_batch_whose_runs_were_all_refused_is_complete_and_nothing_follows(tasks: TaskService) -> None:
    batch, _ = await tasks.batches.trigger([TriggerRequest(definition_id="nobody")], FOLLOWED)
    assert (batch.total, batch.completed_at is not None, batch.complete_run_id) == (0, True, None)


async def test_what_cannot_follow_is_refused_before_anything_is_triggered(tasks: TaskService) -> None:
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.batches.trigger([LATER], BatchOptions(on_complete=OnComplete("nobody")))
    with pytest.raises(InvalidTaskInput):
        await tasks.batches.trigger([LATER], BatchOptions(on_complete=OnComplete("test-double", {"value": "x"})))
    assert await tasks.count() == 0


async def test_an_unknown_batch_is_not_found(tasks: TaskService) -> None:
    for id in ("seven", "0199c0de-0000-7000-8000-000000000000"):
        with pytest.raises(BatchNotFound):
            await tasks.batches.get(id)


async def test_looking_for_batches_every_second_reads_no_batch_that_is_done(
    settings: Settings, tasks: TaskService
) -> None:
    await execute(
        settings,
        """INSERT INTO batches (id, created_by, created_at, sealed_at, total)
        SELECT gen_random_uuid(), 'USER:ada', now() - interval '1 hour', now(), 1 FROM generate_series(1, 20000)""",
    )
    for statement in (_ANY_OPEN, _SEAL_FORGOTTEN.replace("$1", "100")):
        plan = "\n".join(row[0] for row in await execute(settings, f"EXPLAIN {statement}"))
        assert "Seq Scan on batches" not in plan, plan
        assert "batches_unsealed" in plan, plan
