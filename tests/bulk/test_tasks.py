"""Bulk actions on saved tasks: executed into a batch, changed and moved, each once."""

from __future__ import annotations

import pytest

from app import (
    ConfirmationRequired,
    InvalidArgument,
    RunFilter,
    TagFilter,
    TaskBulkChanges,
    TaskSelection,
    TaskService,
)
from app.models import BulkActionKind, BulkActionStatus, Task
from app.service.batches import BatchOptions, OnComplete
from app.service.bulk.starting import Starting
from app.service.saved_reading import TaskQuestion
from app.service.task_fields import TaskChanges, TaskFields
from app.task_filters import TaskFilter


async def saved(tasks: TaskService, number: int, **more: object) -> list[Task]:
    fields = [TaskFields(name=f"Task {n}", definition_id="test-nothing", **more) for n in range(number)]  # type: ignore[arg-type]
    return [await tasks.saved.create(each) for each in fields]


def by_tag(tag: str) -> TaskSelection:
    return TaskSelection(question=TaskQuestion(filter=TaskFilter(tags=TagFilter(any=[tag]))))


async def test_tasks_are_executed_once_each_into_one_batch_that_is_followed(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    mine = await saved(tasks, 3, tags=["mine"])
    off = await tasks.saved.update(mine[2].id, 1, TaskChanges(is_enabled=False))
    options = BatchOptions(name="Together", on_complete=OnComplete("test-nothing"))
    action = await tasks.batches.execute(by_tag("mine"), options, tags=["bulk"])
    await tasks.bulk.step(action.id)
    # As after a crash between the triggers and the commit: the same items once more.
    work = tasks.bulk._works[BulkActionKind.EXECUTE_TASKS]
    assert (await work.act(None, await tasks.bulk.get(action.id), [task.id for task in mine])).done == 2  # type: ignore[arg-type]
    while (action := await tasks.bulk.step(action.id)).finished_at is None:  # type: ignore[union-attr, assignment]
        pass
    assert (action.status, action.done, action.failed) == (BulkActionStatus.COMPLETED, 2, 1)
    [error] = (await tasks.bulk.errors(action.id)).items
    assert (error.item_id, error.code) == (off.id, "TASK_DISABLED")
    assert action.batch_id is not None
    batch = await tasks.batches.get(action.batch_id)
    assert (batch.total, batch.name) == (2, "Together")
    runs = (await tasks.list(RunFilter(tags=TagFilter(all=["mine", "bulk"])))).items
    assert sorted(run.task_id for run in runs) == sorted(task.id for task in mine[:2])  # type: ignore[type-var]
    assert {run.batch_id for run in runs} == {batch.id}


async def test_an_abort_in_the_middle_leaves_a_batch_that_is_whole(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    await saved(tasks, 2, tags=["mine"])
    action = await tasks.bulk.abort((await tasks.batches.execute(by_tag("mine"))).id)
    assert action.batch_id is not None
    batch = await tasks.batches.get(action.batch_id)
    assert (batch.total, batch.sealed_at is not None) == (0, True)


async def test_tasks_are_changed_each_by_one_revision(tasks: TaskService) -> None:
    first, second = await saved(tasks, 2, tags=["a", "b"])
    changes = TaskBulkChanges(add_tags=["c", "b"], remove_tags=["a"], is_enabled=False, priority=3, owner="USER:ada")
    for _ in range(2):
        action = await tasks.bulk.update_tasks(TaskSelection(ids=[first.id, second.id]), changes)
        assert (action.status, action.done, action.failed) == (BulkActionStatus.COMPLETED, 2, 0)
    for task in (await tasks.saved.find([first.id, second.id])).values():
        assert (sorted(task.tags), task.is_enabled, task.priority, task.owner) == (["b", "c"], False, 3, "USER:ada")
        assert task.version == 2, "the second time nothing was different"


async def test_tasks_are_moved_and_one_whose_name_is_taken_there_is_told(tasks: TaskService) -> None:
    mine = await saved(tasks, 2)
    await tasks.saved.create(TaskFields(name="Task 1", definition_id="test-nothing", group="billing"))
    action = await tasks.bulk.move_tasks(TaskSelection(ids=[task.id for task in mine]), "billing")
    assert (action.done, action.failed) == (1, 1)
    [error] = (await tasks.bulk.errors(action.id)).items
    assert (error.item_id, error.code) == (mine[1].id, "TASK_NAME_TAKEN")
    assert (await tasks.saved.get(mine[0].id)).group_name == "billing"


async def test_what_says_nothing_is_refused_and_leaves_nothing_behind(tasks: TaskService) -> None:
    await saved(tasks, 1)
    everything = TaskSelection(question=TaskQuestion(filter=TaskFilter()))
    with pytest.raises(ConfirmationRequired):
        await tasks.batches.execute(everything)
    with pytest.raises(ConfirmationRequired):
        await tasks.bulk.move_tasks(everything, "billing")
    with pytest.raises(InvalidArgument, match="nothing was given"):
        await tasks.bulk.update_tasks(TaskSelection(question=TaskQuestion(), all=True), TaskBulkChanges())
    with pytest.raises(InvalidArgument, match="one of the two"):
        await tasks.bulk.move_tasks(TaskSelection(), None)
    assert await tasks.bulk.count() == 0
    assert await tasks.count() == 0
