"""Children that come in the very moment in which their parent is aborted: none escapes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from app import ParentAborted, TaskRunStatus, TaskService, Triggered, TriggerRequest, runs, states
from app.auth import LOCAL_ADMIN
from app.db import Database
from app.errors import TaskRunNotFound
from app.registry import Registry
from app.service.known import KnownDefinitions
from app.service.preparing import NewRun, Preparing
from app.settings import Settings
from tests.service.conftest import Hand
from tests.workbench import until

Store = Callable[[Any, UUID], Any]


@pytest.fixture
def store(db: Database, settings: Settings, registry: Registry) -> Store:
    """Inserts a child in a transaction of the test's own."""

    async def insert(pipe: Any, parent: UUID) -> UUID:
        preparing = Preparing(db, settings, KnownDefinitions(db, registry))
        request = TriggerRequest(definition_id="echo", parent_id=parent)
        [new] = await preparing.prepare([request], LOCAL_ADMIN, allow_private=True)
        assert isinstance(new, NewRun)
        assert await runs.insert(pipe, [new.stored()]) == [new.id]
        return new.id

    return insert


async def until_somebody_waits_for(db: Database, pipe: Any) -> None:
    """Return when another connection waits for a lock of this one's."""
    ours = await pipe.fetchval("SELECT pg_backend_pid()")

    async def waits() -> bool:
        async with db.autocommit() as other:
            query = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"
            return await other.fetchval(query, ours) > 0

    await until(waits)


async def test_a_child_that_comes_while_its_parent_is_being_aborted_is_refused(
    tasks: TaskService, db: Database
) -> None:
    parent = await tasks.trigger("echo", delay=60)
    async with db.pipe() as pipe:
        await runs.lock(pipe, parent.id)
        await runs.abort(pipe, [parent.id], states.abort(), "test", None, False)
        late = asyncio.create_task(tasks.trigger("echo", parent=parent, idempotency_key="k"))
        await until_somebody_waits_for(db, pipe)
    with pytest.raises(ParentAborted, match=f"Run {parent.id} is ABORTED") as refusal:
        await late
    assert refusal.value.path == ("input", "parentId")
    assert await tasks.count() == 1
    assert (await tasks.trigger("echo", idempotency_key="k")).parent_id is None


async def test_of_many_triggered_together_only_the_children_of_the_aborted_are_refused(
    tasks: TaskService, db: Database, hand: Hand
) -> None:
    aborted, asked = await tasks.trigger("echo", delay=60), await tasks.trigger("echo")
    alive = await tasks.trigger("no-input")
    assert {held.id for held in await hand.claim(2)} == {asked.id, alive.id}
    await tasks.abort(aborted.id)
    await tasks.abort(asked.id)
    parents = [None, aborted.id, asked.id, alive.id]
    requests = [TriggerRequest(definition_id="echo", parent_id=parent) for parent in parents]
    answers = await tasks.submit_many(requests)
    assert [type(answer) for answer in answers] == [Triggered, ParentAborted, ParentAborted, Triggered]
    assert (await tasks.get(asked.id)).status is TaskRunStatus.ABORTING


async def test_a_child_whose_insert_is_under_way_is_aborted_with_its_parent(
    tasks: TaskService, db: Database, store: Store
) -> None:
    parent = await tasks.trigger("echo", delay=60)
    async with db.pipe() as pipe:
        child = await store(pipe, parent.id)
        abort = asyncio.create_task(tasks.abort(parent.id))
        await until_somebody_waits_for(db, pipe)
    await abort
    assert (await tasks.get(child)).status is TaskRunStatus.ABORTED


async def test_a_grandchild_whose_insert_is_under_way_is_aborted_with_its_grandparent(
    tasks: TaskService, db: Database, store: Store
) -> None:
    root = await tasks.trigger("echo", delay=60)
    parent = await tasks.trigger("echo", parent=root)
    async with db.pipe() as pipe:
        grandchild = await store(pipe, parent.id)
        abort = asyncio.create_task(tasks.abort(root.id))
        await until_somebody_waits_for(db, pipe)
    await abort
    assert {run.status for run in (await tasks.find([root.id, parent.id, grandchild])).values()} == {
        TaskRunStatus.ABORTED
    }


async def test_a_child_whose_parent_was_purged_in_this_moment_is_refused(tasks: TaskService, db: Database) -> None:
    parent = await tasks.trigger("echo", delay=60)
    async with db.pipe() as pipe:
        await pipe.execute("DELETE FROM task_runs WHERE id = $1", parent.id)
        late = asyncio.create_task(tasks.trigger("echo", parent=parent))
        await until_somebody_waits_for(db, pipe)
    with pytest.raises(TaskRunNotFound):
        await late
    assert await tasks.count() == 0


async def test_a_trigger_repeated_with_its_key_gives_its_run_also_when_the_parent_was_aborted(
    tasks: TaskService,
) -> None:
    parent = await tasks.trigger("echo", delay=60)
    request = TriggerRequest(definition_id="echo", parent_id=parent.id, idempotency_key="k")
    first = await tasks.submit(request)
    await tasks.abort(parent.id)
    again = await tasks.submit(request)
    assert (again.run.id, again.run.status, again.deduplicated) == (first.run.id, TaskRunStatus.ABORTED, True)


async def test_whatever_the_order_no_child_of_an_aborted_run_stays_alive(tasks: TaskService) -> None:
    for _ in range(20):
        root = await tasks.trigger("echo", delay=60)
        middle = await tasks.trigger("echo", parent=root, delay=60)
        wishes = [tasks.trigger("echo", parent=(root, middle)[n % 2]) for n in range(6)]
        *answers, _ = await asyncio.gather(*wishes, tasks.abort(root.id), return_exceptions=True)
        assert all(not isinstance(answer, Exception) or isinstance(answer, ParentAborted) for answer in answers)
        born = [*await tasks.children(root.id), *await tasks.children(middle.id)]
        assert {child.status for child in born} == {TaskRunStatus.ABORTED}
