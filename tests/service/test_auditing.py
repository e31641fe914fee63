"""The audit: whatever changes the configuration is in it, with the change or not at all."""

from __future__ import annotations

import pytest

from app import AuditFilter, InvalidArgument, TaskService
from app.auth import Principal, PrincipalKind
from app.models import AuditEvent, SavedSearchKind
from app.registry import Registry
from app.service.task_fields import TaskChanges, TaskFields
from app.settings import Settings
from app.task_errors import SavedSearchNotFound, TaskConflict, TaskNameTaken
from tests.service.conftest import service
from tests.service.lossy import lossy
from tests.service.scheduled import HOURLY, execute, make_due, saved_task, scheduler

ADA = Principal(PrincipalKind.USER, "ada")


async def deeds(tasks: TaskService, kind: str) -> list[AuditEvent]:
    """What was done to subjects of a kind, the first deed first."""
    return (await tasks.audit.list(AuditFilter(subject_kind=kind))).items[::-1]


async def test_every_change_of_a_saved_task_names_who_made_it_and_which_fields(tasks: TaskService) -> None:
    task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo"), principal=ADA)
    await tasks.saved.update(task.id, 1, TaskChanges(priority=3, queue="mail"), principal=ADA)
    await tasks.saved.update(task.id, 2, TaskChanges(priority=3), principal=ADA)
    copy = await tasks.saved.duplicate(task.id, principal=ADA)
    await tasks.saved.restore(task.id, 1, principal=ADA)
    await tasks.saved.delete(task.id, principal=ADA)
    found = await deeds(tasks, "task")
    assert {deed.principal for deed in found} == {"USER:ada"}
    assert [(deed.action, deed.subject_id == str(task.id)) for deed in found] == [
        ("createTask", True), ("updateTask", True), ("duplicateTask", False), ("restoreTaskRevision", True),
        ("deleteTask", True),
    ]  # fmt: skip
    assert found[1].details == {"name": "Nightly", "version": 2, "fields": ["priority", "queue"]}
    assert found[2].subject_id == str(copy.id)
    assert found[3].details["source_version"] == 1  # type: ignore[index]


async def test_what_was_refused_is_not_in_the_audit(tasks: TaskService) -> None:
    task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo"))
    other = await tasks.saved.create(TaskFields(name="Daily", definition_id="echo"))
    with pytest.raises(TaskNameTaken):
        await tasks.saved.update(task.id, 1, TaskChanges(name="Daily"))
    with pytest.raises(TaskConflict):
        await tasks.saved.delete(other.id, version=7)
    with pytest.raises(InvalidArgument):
        await tasks.saved.create(TaskFields(name="", definition_id="echo"))
    assert [deed.action for deed in await deeds(tasks, "task")] == ["createTask", "createTask"]


async def test_a_change_whose_reply_was_lost_is_in_the_audit_once(settings: Settings, registry: Registry) -> None:
    async with lossy(settings.database_url) as proxy:
        through = settings.model_copy(update={"database_url": proxy.url})
        async with service(through, registry) as tasks:
            task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo"))
            proxy.lose_reply_to("COMMIT;")
            await tasks.saved.update(task.id, 1, TaskChanges(priority=3))
            assert proxy.lost == 1
            assert [deed.action for deed in await deeds(tasks, "task")] == ["createTask", "updateTask"]


async def test_a_schedule_that_pauses_itself_is_in_the_audit_once(
    tasks: TaskService, settings: Settings, registry: Registry
) -> None:
    task_id = await saved_task(settings)
    schedule = await tasks.schedules.create(task_id, HOURLY)
    await make_due(settings, schedule)
    await execute(settings, "UPDATE tasks SET deleted_at = now()")
    async with scheduler(settings, registry) as one, scheduler(settings, registry) as two:
        await one.run_once()
        await two.run_once()
    made, paused = await deeds(tasks, "schedule")
    assert (made.action, paused.action, paused.principal) == (
        "createSchedule", "pauseSchedule", f"SCHEDULE:{schedule.id}"
    )  # fmt: skip
    assert paused.details == {"task": str(task_id), "reason": "TASK_DELETED", "message": "The task was deleted."}


async def test_saved_searches_are_in_the_audit_and_those_of_others_are_not_touched(tasks: TaskService) -> None:
    search = await tasks.searches.create("Failed", SavedSearchKind.RUNS, {"statuses": ["FAILED"]}, principal=ADA)
    await tasks.searches.update(search.id, name="All failed", is_shared=True, principal=ADA)
    with pytest.raises(SavedSearchNotFound):
        await tasks.searches.delete(search.id)
    await tasks.searches.delete(search.id, principal=ADA)
    found = await deeds(tasks, "saved search")
    assert [(deed.action, deed.details) for deed in found] == [
        ("createSavedSearch", {"name": "Failed", "kind": "RUNS", "isShared": False}),
        ("updateSavedSearch", {"fields": ["is_shared", "name"]}),
        ("deleteSavedSearch", None),
    ]
