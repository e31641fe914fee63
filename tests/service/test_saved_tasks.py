"""Saved tasks: created, changed by two at once, duplicated, deleted, restored and executed, and every refusal."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound, TaskService, TriggerRefused
from app.auth import Principal, PrincipalKind
from app.models import Task
from app.registry import Registry, Triggers
from app.retry import RetryDelays
from app.service.executing import Overrides, merged
from app.service.saved_reading import differences
from app.service.task_fields import TaskChanges, TaskFields
from app.settings import Settings
from app.task_errors import (
    CooldownActive,
    TaskConflict,
    TaskDisabled,
    TaskNameTaken,
    TaskNotFound,
    TaskRevisionNotFound,
)
from tests.service.conftest import definition, service
from tests.service.lossy import lossy

ADA = Principal(PrincipalKind.USER, "ada")
BOB = Principal(PrincipalKind.USER, "bob")
NOBODY = "0199c0de-0000-7000-8000-000000000000"


async def saved(tasks: TaskService, name: str = "Nightly", **fields: Any) -> Task:
    values = {"definition_id": "echo", "input": {"text": "hello"}, **fields}
    return await tasks.saved.create(TaskFields(name=name, **values), principal=ADA)


async def changes(tasks: TaskService, task: Task) -> list[tuple[int, str, str]]:
    page = await tasks.saved.revisions(task.id)
    return [(row.version, row.change, row.changed_by) for row in page.items]


# Creating.


async def test_a_task_is_kept_as_it_was_written_and_belongs_to_whoever_made_it(tasks: TaskService) -> None:
    task = await saved(
        tasks, description="Every night", tags=["a", "b"], group="reports", priority=3, queue="mail", timeout=60,
        max_attempts=4, retry=RetryDelays(first_delay=5, cap=50), entity_type="customer", entity_id="42",
        entity_url="https://example.com/42",
    )  # fmt: skip
    assert (task.name, task.group_name, task.owner, task.created_by) == ("Nightly", "reports", "USER:ada", "USER:ada")
    assert (task.version, task.input, task.tags, task.timeout_seconds) == (1, {"text": "hello"}, ["a", "b"], 60)
    assert task.retry == {"first_delay": 5, "factor": 2.0, "cap": 50, "jitter": True}
    assert await changes(tasks, task) == [(1, "CREATED", "USER:ada")]


async def test_a_name_is_taken_within_its_group_until_the_task_is_deleted(tasks: TaskService) -> None:
    task = await saved(tasks, group="reports")
    await saved(tasks, group="others")
    await saved(tasks)
    with pytest.raises(TaskNameTaken, match="'reports'") as refused:
        await saved(tasks, group="reports")
    assert refused.value.task_id == str(task.id)
    await tasks.saved.delete(task.id)
    await saved(tasks, group="reports")


async def test_of_two_who_create_the_same_name_at_once_one_is_refused(tasks: TaskService) -> None:
    both = await asyncio.gather(saved(tasks), saved(tasks), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["Task", "TaskNameTaken"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"description": "x" * 10_001}, "description"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"group": ""}, "group"),
        ({"owner": "ada"}, "owner"),
        ({"owner": "USER:"}, "owner"),
        ({"owner": "KING:ada"}, "owner"),
        ({"priority": 1001}, "priority"),
        ({"queue": "Not a queue"}, "queue"),
        ({"timeout": 0}, "timeoutSeconds"),
        ({"max_attempts": 0}, "maxAttempts"),
        ({"retry": RetryDelays(first_delay=float("nan"))}, "firstDelaySeconds"),
        ({"retry": RetryDelays(factor=0.5)}, "factor"),
        ({"retry": RetryDelays(cap=float("inf"))}, "longestDelaySeconds"),
        ({"entity_url": "javascript:alert(1)"}, "entityUrl"),
        ({"entity_type": "x" * 256}, "entityType"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    tasks: TaskService, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await saved(tasks, **fields)
    assert refused.value.path is not None
    assert refused.value.path[-1] == path
    assert await tasks.saved.count() == 0


async def test_the_input_is_checked_when_a_task_is_saved(tasks: TaskService) -> None:
    with pytest.raises(InvalidTaskInput):
        await saved(tasks, input={"count": 11})
    with pytest.raises(TaskDefinitionNotFound):
        await saved(tasks, definition_id="nothing")
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.saved.create(TaskFields(name="x", definition_id="hidden"), allow_private=False)
    assert await tasks.saved.count() == 0


# Changing.


async def test_a_change_makes_a_revision_that_says_what_is_different(tasks: TaskService) -> None:
    task = await saved(tasks)
    task = await tasks.saved.update(task.id, 1, TaskChanges(name="Daily", tags=["x"]), principal=BOB)
    assert (task.version, task.name, task.updated_by, task.created_by) == (2, "Daily", "USER:bob", "USER:ada")
    assert task.input == {"text": "hello"}
    later, earlier = (await tasks.saved.revisions(task.id)).items
    found = {change.field: (change.before, change.after) for change in differences(earlier.fields, later.fields)}
    assert found == {"name": ("Nightly", "Daily"), "tags": ([], ["x"])}


async def test_of_two_editors_the_second_is_told_who_was_first_and_what_they_changed(tasks: TaskService) -> None:
    task = await saved(tasks)
    await tasks.saved.update(task.id, 1, TaskChanges(priority=5), principal=BOB)
    with pytest.raises(TaskConflict, match="bob has changed") as refused:
        await tasks.saved.update(task.id, 1, TaskChanges(name="Mine"), principal=ADA)
    assert (refused.value.version, refused.value.changed_by) == (2, "USER:bob")
    assert refused.value.fields == ["priority"]
    assert (await tasks.saved.get(task.id)).name == "Nightly"


async def test_of_two_who_change_a_task_at_once_exactly_one_does(tasks: TaskService) -> None:
    task = await saved(tasks)
    each = [tasks.saved.update(task.id, 1, TaskChanges(priority=n), principal=ADA) for n in range(1, 6)]
    answers = await asyncio.gather(*each, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Task", *["TaskConflict"] * 4]
    assert [version for version, *_ in await changes(tasks, task)] == [2, 1]


async def test_a_change_to_what_is_there_already_makes_no_revision(tasks: TaskService) -> None:
    task = await saved(tasks)
    assert (await tasks.saved.update(task.id, 1, TaskChanges(name="Nightly"))).version == 1


async def test_null_puts_a_field_back_to_what_the_definition_says(tasks: TaskService) -> None:
    task = await saved(tasks, priority=9, timeout=30, retry=RetryDelays())
    task = await tasks.saved.update(task.id, 1, TaskChanges(priority=None, timeout=None, retry=None))
    assert (task.priority, task.timeout_seconds, task.retry) == (None, None, None)


async def test_switching_a_task_off_and_on_is_said_so(tasks: TaskService) -> None:
    task = await saved(tasks)
    await tasks.saved.update(task.id, 1, TaskChanges(is_enabled=False))
    await tasks.saved.update(task.id, 2, TaskChanges(is_enabled=True))
    assert [change for _, change, _ in await changes(tasks, task)] == ["ENABLED", "DISABLED", "CREATED"]


async def test_a_change_to_a_taken_name_or_a_bad_input_leaves_the_task_as_it_is(tasks: TaskService) -> None:
    task, other = await saved(tasks), await saved(tasks, "Other")
    with pytest.raises(TaskNameTaken) as refused:
        await tasks.saved.update(task.id, 1, TaskChanges(name="Other"))
    assert refused.value.task_id == str(other.id)
    with pytest.raises(InvalidTaskInput):
        await tasks.saved.update(task.id, 1, TaskChanges(input={"count": "many"}))
    assert (await tasks.saved.get(task.id)).version == 1


@pytest.mark.parametrize("id", [NOBODY, "nonsense"])
async def test_an_unknown_task_is_named_by_every_operation(tasks: TaskService, id: str) -> None:
    saved = tasks.saved
    for asked in (
        saved.get(id), saved.update(id, 1, TaskChanges(name="x")), saved.delete(id), saved.duplicate(id),
        saved.execute(id), saved.restore(id, 1),
    ):  # fmt: skip
        with pytest.raises(TaskNotFound, match=id):
            await asked


# Deleting, duplicating, restoring.


async def test_a_deleted_task_is_gone_and_its_runs_and_revisions_stay(tasks: TaskService) -> None:
    task = await saved(tasks)
    run = (await tasks.saved.execute(task.id)).run
    await tasks.saved.delete(task.id, principal=BOB)
    with pytest.raises(TaskNotFound):
        await tasks.saved.execute(task.id)
    with pytest.raises(TaskNotFound):
        await tasks.saved.delete(task.id)
    assert (await tasks.get(run.id)).task_id == task.id
    assert (await changes(tasks, task))[0] == (2, "DELETED", "USER:bob")


async def test_deleting_an_older_version_is_a_conflict(tasks: TaskService) -> None:
    task = await saved(tasks)
    await tasks.saved.update(task.id, 1, TaskChanges(priority=1))
    with pytest.raises(TaskConflict):
        await tasks.saved.delete(task.id, version=1)


async def test_copies_are_numbered_and_belong_to_whoever_made_them(tasks: TaskService) -> None:
    task = await saved(tasks, tags=["a"])
    copies = [await tasks.saved.duplicate(task.id, principal=BOB) for _ in range(3)]
    assert [copy.name for copy in copies] == ["Nightly (copy)", "Nightly (copy 2)", "Nightly (copy 3)"]
    assert {copy.owner for copy in copies} == {"USER:bob"}
    assert copies[0].tags == ["a"]
    [revision] = (await tasks.saved.revisions(copies[0].id)).items
    assert (revision.change, revision.fields["source_task_id"]) == ("DUPLICATED", str(task.id))


async def test_copies_made_at_once_get_different_names(tasks: TaskService) -> None:
    task = await saved(tasks, "n" * 200)
    copies = await asyncio.gather(*(tasks.saved.duplicate(task.id) for _ in range(3)))
    assert len({copy.name for copy in copies}) == 3
    assert all(len(copy.name) <= 200 for copy in copies)
    with pytest.raises(TaskNameTaken):
        await tasks.saved.duplicate(task.id, name="n" * 200)


async def test_an_earlier_revision_is_restored_as_a_new_one(tasks: TaskService) -> None:
    task = await saved(tasks)
    await tasks.saved.update(task.id, 1, TaskChanges(name="Other", priority=4))
    task = await tasks.saved.restore(task.id, 1, version=2)
    assert (task.name, task.priority, task.version) == ("Nightly", None, 3)
    [last] = (await tasks.saved.revisions(task.id)).items[:1]
    assert (last.change, last.fields["source_version"]) == ("RESTORED", 1)
    with pytest.raises(TaskConflict):
        await tasks.saved.restore(task.id, 1, version=2)
    with pytest.raises(TaskRevisionNotFound, match="revision 9"):
        await tasks.saved.restore(task.id, 9)


async def test_a_deleted_task_comes_back_by_restoring_it_unless_its_name_is_taken(tasks: TaskService) -> None:
    task = await saved(tasks)
    await tasks.saved.delete(task.id)
    other = await saved(tasks)
    with pytest.raises(TaskNameTaken):
        await tasks.saved.restore(task.id, 1)
    await tasks.saved.update(other.id, 1, TaskChanges(name="Other"))
    assert (await tasks.saved.restore(task.id, 1)).version == 3
    assert (await tasks.saved.get(task.id)).name == "Nightly"


# Executing.


async def test_a_run_has_what_its_task_says_and_names_its_revision(tasks: TaskService) -> None:
    task = await saved(
        tasks, tags=["a"], group="g", priority=7, queue="mail", timeout=9, max_attempts=3, retry=RetryDelays(cap=7)
    )
    run = await tasks.get((await tasks.saved.execute(task.id, principal=BOB)).run.id)
    assert (run.task_id, run.task_version, run.group_name, run.owner) == (task.id, 1, "g", "USER:ada")
    assert (run.name, run.input, run.tags, run.created_by) == ("Nightly", {"text": "hello"}, ["a"], "USER:bob")
    assert (run.priority, run.queue, run.timeout_seconds, run.max_attempts) == (7, "mail", 9, 3)
    assert run.retry is not None
    assert run.retry["cap"] == 7
    again = await tasks.rerun(run.id)
    assert (again.task_id, again.retry) == (task.id, run.retry)


async def test_what_a_task_leaves_open_is_as_the_definition_says(tasks: TaskService) -> None:
    task = await saved(tasks)
    run = (await tasks.saved.execute(task.id)).run
    assert (run.queue, run.priority, run.timeout_seconds, run.retry) == ("quick", 5, 60.0, None)


async def test_one_execution_may_differ_from_its_task(tasks: TaskService) -> None:
    task = await saved(tasks, tags=["a"], input={"text": "hello", "count": 2})
    later = datetime.now(UTC) + timedelta(hours=1)
    run = (
        await tasks.saved.execute(
            task.id, Overrides(input={"count": 3}, name="Once", tags=["b", "a"], priority=0, start_at=later)
        )
    ).run
    assert (run.input, run.name, run.tags, run.priority) == ({"text": "hello", "count": 3}, "Once", ["b", "a"], 0)
    assert (run.status, run.start_at) == ("SCHEDULED", later)
    replaced = (await tasks.saved.execute(task.id, Overrides(input={"count": 4}, replace_input=True))).run
    assert replaced.input == {"count": 4}
    assert (await tasks.saved.get(task.id)).input == {"text": "hello", "count": 2}


def test_a_merge_patch_is_applied_as_rfc_7386_says() -> None:
    assert merged({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merged({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merged({"a": [{"b": "c"}]}, {"a": [1]}) == {"a": [1]}
    assert merged(["a", "b"], ["c", "d"]) == ["c", "d"]
    assert merged({"e": None}, {"a": 1}) == {"e": None, "a": 1}
    assert merged([1, 2], {"a": "b", "c": None}) == {"a": "b"}
    assert merged({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}


async def test_the_input_is_checked_again_when_a_task_is_executed(tasks: TaskService) -> None:
    task = await saved(tasks)
    with pytest.raises(InvalidTaskInput):
        await tasks.saved.execute(task.id, Overrides(input={"count": 99}))


async def test_a_definition_that_is_gone_is_named(settings: Settings, tasks: TaskService, db: Any) -> None:
    task = await saved(tasks)
    async with db.pipe() as pipe:
        await pipe.execute("DELETE FROM task_definitions")
    async with service(settings, Registry()) as elsewhere:
        with pytest.raises(TaskDefinitionNotFound, match="'echo'"):
            await elsewhere.saved.execute(task.id)


async def test_a_disabled_task_is_executed_only_by_force(tasks: TaskService) -> None:
    task = await saved(tasks, is_enabled=False)
    with pytest.raises(TaskDisabled, match="force: true"):
        await tasks.saved.execute(task.id)
    assert (await tasks.saved.execute(task.id, force=True)).run.task_id == task.id


async def test_what_is_meant_for_schedules_alone_is_executed_only_by_force(
    tasks: TaskService, registry: Registry
) -> None:
    registry.add(definition("by-schedule", triggers=Triggers.SCHEDULED))
    task = await saved(tasks, definition_id="by-schedule")
    with pytest.raises(TriggerRefused, match="schedules alone"):
        await tasks.saved.execute(task.id)
    await tasks.saved.execute(task.id, force=True)


async def test_executing_twice_with_one_key_gives_the_same_run(tasks: TaskService) -> None:
    task = await saved(tasks)
    first, second = [await tasks.saved.execute(task.id, Overrides(idempotency_key="k")) for _ in range(2)]
    assert (first.run.id, first.deduplicated) == (second.run.id, False)
    assert second.deduplicated


# Cooldowns.


async def test_within_a_cooldown_a_second_execution_is_refused_and_told_when_it_is_over(
    tasks: TaskService, registry: Registry
) -> None:
    registry.add(definition("rarely", cooldown=3600.0))
    task, other = await saved(tasks, definition_id="rarely"), await saved(tasks, "Other", definition_id="rarely")
    run = (await tasks.saved.execute(task.id)).run
    with pytest.raises(CooldownActive, match=str(run.id)) as refused:
        await tasks.saved.execute(task.id)
    assert timedelta(minutes=58) < refused.value.until - datetime.now(UTC) < timedelta(minutes=62)
    # Each task has its own, and what has no task has one together.
    await tasks.saved.execute(other.id)
    await tasks.trigger("rarely")
    with pytest.raises(CooldownActive):
        await tasks.trigger("rarely")


async def test_of_many_at_once_exactly_one_gets_through_a_cooldown(
    settings: Settings, tasks: TaskService, registry: Registry
) -> None:
    registry.add(definition("rarely", cooldown=3600.0))
    task = await saved(tasks, definition_id="rarely")
    async with service(settings, registry) as another:
        each = [servant.saved.execute(task.id) for servant in (tasks, another) for _ in range(5)]
        answers = await asyncio.gather(*each, return_exceptions=True)
    assert sum(isinstance(answer, CooldownActive) for answer in answers) == 9
    assert await tasks.count() == 1


async def test_a_repetition_of_a_key_within_a_cooldown_gives_the_first_run(
    settings: Settings, tasks: TaskService, registry: Registry
) -> None:
    registry.add(definition("rarely", cooldown=3600.0))
    task, key = await saved(tasks, definition_id="rarely"), Overrides(idempotency_key="once")
    async with service(settings, registry) as another:
        each = [servant.saved.execute(task.id, key) for servant in (tasks, another) for _ in range(3)]
        answers = await asyncio.gather(*each)
    assert len({answer.run.id for answer in answers}) == 1


async def test_a_trigger_that_is_refused_for_something_else_begins_no_cooldown(
    tasks: TaskService, registry: Registry
) -> None:
    registry.add(definition("rarely", cooldown=3600.0))
    first = await tasks.trigger("rarely", unique_key="one")
    task = await saved(tasks, definition_id="rarely")
    with pytest.raises(Exception, match="unique key"):
        await tasks.saved.execute(task.id, Overrides(unique_key="one"))
    await tasks.abort(first.id)
    await tasks.saved.execute(task.id)


async def test_a_cooldown_that_is_over_lets_the_next_one_in(tasks: TaskService, registry: Registry, db: Any) -> None:
    registry.add(definition("rarely", cooldown=3600.0))
    await tasks.trigger("rarely")
    async with db.pipe() as pipe:
        await pipe.execute("UPDATE cooldowns SET until = now() - interval '1 second'")
    await tasks.trigger("rarely")


# Lost replies.


@pytest.mark.parametrize("mark", ["INSERT INTO tasks", "INSERT INTO task_revisions", "COMMIT"])
async def test_a_task_whose_reply_was_lost_is_created_once(settings: Settings, registry: Registry, mark: str) -> None:
    async with lossy(settings.database_url) as proxy:
        through = settings.model_copy(update={"database_url": proxy.url})
        async with service(through, registry) as tasks:
            # The definition is published by now, which is a commit of its own.
            await tasks.validate("echo", {})
            proxy.lose_reply_to(mark)
            task = await saved(tasks)
            assert proxy.lost == 1
            assert (await tasks.saved.count(), await changes(tasks, task)) == (1, [(1, "CREATED", "USER:ada")])


@pytest.mark.parametrize("mark", ["UPDATE tasks", "INSERT INTO task_revisions", "COMMIT"])
async def test_a_change_whose_reply_was_lost_is_made_once(
    settings: Settings, tasks: TaskService, registry: Registry, mark: str
) -> None:
    task = await saved(tasks)
    async with lossy(settings.database_url) as proxy:
        through = settings.model_copy(update={"database_url": proxy.url})
        async with service(through, registry) as tasks:
            # The definition is published by now, which is a commit of its own.
            await tasks.validate("echo", {})
            proxy.lose_reply_to(mark)
            assert (await tasks.saved.update(task.id, 1, TaskChanges(priority=2), principal=BOB)).version == 2
            assert proxy.lost == 1
            assert [version for version, *_ in await changes(tasks, task)] == [2, 1]
            proxy.lose_reply_to("COMMIT")
            await tasks.saved.delete(task.id)
            assert proxy.lost == 2
            assert [version for version, *_ in await changes(tasks, task)] == [3, 2, 1]
