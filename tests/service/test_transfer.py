"""Export and import: what was written comes back as it was, conflicts, refusals, and imports at once."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import InvalidArgument, TaskSelection, TaskService, Timing
from app.auth import Principal, PrincipalKind
from app.interchange import TextFormat
from app.models import CatchUpPolicy, OverlapPolicy, ScheduleStatus, Task
from app.registry import Registry, Triggers
from app.retry import RetryDelays
from app.service.saved_reading import TaskQuestion
from app.service.task_fields import TaskChanges, TaskFields
from app.service.transfer import ImportStep, OnConflict
from app.service.transfer.entries import TaskEntry
from app.settings import Settings
from app.task_errors import ImportImpossible
from app.task_filters import TaskFilter
from tests.service.conftest import definition, service
from tests.service.lossy import lossy
from tests.service.scheduled import execute

ADA = Principal(PrincipalKind.USER, "ada")
HEAD = "version: 1\ntasks:\n"
DAILY = Timing(cron="@daily", time_zone="Europe/Berlin", jitter=timedelta(seconds=30))
ROWS = ("audit_events", "schedule_ticks", "schedules", "task_revisions", "tasks")


async def everything(tasks: TaskService) -> None:
    """A task with every field, one with hardly any, and schedules of each kind."""
    full = await tasks.saved.create(
        TaskFields(
            name="no", definition_id="echo", description="Every night\n\nat three\n", group="2026-01-31",
            input={"text": "yes", "count": 2}, tags=["b", "0777", "a"], owner="SERVICE:ci", is_enabled=False,
            priority=-3, queue="mail", timeout=1.5, max_attempts=4, retry=RetryDelays(first_delay=5, jitter=False),
            entity_type="customer", entity_id="1e3", entity_url="https://example.com/?a=1#b",
        )
    )  # fmt: skip
    await tasks.saved.create(TaskFields(name="plain é 日本 🎉", definition_id="no-input"))
    anchor = datetime(2026, 1, 1, 0, 0, 1, 500, UTC)
    later = datetime(2180, 1, 1, tzinfo=UTC)
    await tasks.schedules.create(
        full.id, DAILY, name="Nightly", overlap=OverlapPolicy.BUFFER_ONE, catch_up=CatchUpPolicy.ALL,
        catch_up_window=60, max_failures=3, input={"text": "~"}, owner="USER:bob",
    )  # fmt: skip
    await tasks.schedules.create(full.id, Timing(every=timedelta(minutes=5), anchor=anchor, ends_at=later))
    paused = await tasks.schedules.create(full.id, Timing(at=later, starts_at=anchor))
    await tasks.schedules.pause(paused.id, message="Until: the migration")


async def empty(settings: Settings) -> None:
    await execute(settings, f"TRUNCATE {', '.join(ROWS)}")


async def text_of(tasks: TaskService, form: TextFormat = TextFormat.YAML) -> str:
    return (await tasks.transfer.export_tasks(form=form)).text


async def steps(tasks: TaskService, text: str, policy: OnConflict = OnConflict.SKIP, **how: Any) -> list[str]:
    found = await tasks.transfer.import_tasks(text, on_conflict=policy, **how)
    return [str(item.step) for item in found.plan.items]


async def problems(tasks: TaskService, text: str, **how: Any) -> list[tuple[str, str]]:
    plan = (await tasks.transfer.import_tasks(text, dry_run=True, **how)).plan
    return [(".".join(problem.path), problem.code) for problem in plan.problems]


def one(name: str = "Nightly", more: str = "") -> str:
    """A document of one task, with more lines of it."""
    return f"{HEAD}  - name: {name}\n    definitionId: echo\n{more}"


async def get(tasks: TaskService, name: str) -> Task:
    return next(task for task in (await tasks.saved.list()).items if task.name == name)


# There and back.


@pytest.mark.parametrize("form", TextFormat)
async def test_an_export_comes_back_into_an_empty_database_byte_for_byte(
    tasks: TaskService, settings: Settings, form: TextFormat
) -> None:
    await everything(tasks)
    before = await text_of(tasks, form)
    await empty(settings)
    done = await tasks.transfer.import_tasks(before, principal=ADA)
    assert (done.is_done, done.plan.count(ImportStep.CREATE)) == (True, 2)
    assert await text_of(tasks, form) == before
    task = await get(tasks, "no")
    schedules = (await tasks.schedules.of_tasks([task.id]))[task.id]
    assert sorted(schedule.status for schedule in schedules) == ["ACTIVE", "ACTIVE", "PAUSED"]
    assert all(schedule.next_due_at for schedule in schedules if schedule.status == ScheduleStatus.ACTIVE)
    [revision] = (await tasks.saved.revisions(task.id)).items
    assert (revision.change, revision.changed_by) == ("IMPORTED", "USER:ada")


async def test_exports_are_in_an_order_of_their_own_and_tell_nothing_of_their_place(
    tasks: TaskService, settings: Settings
) -> None:
    for name, group in (("b", "z"), ("a", "z"), ("Z", None), ("ä", "a")):
        await tasks.saved.create(TaskFields(name=name, group=group, definition_id="echo"))
    task = await get(tasks, "a")
    text = await text_of(tasks)
    assert [line.split()[2].strip('"') for line in text.splitlines() if line.startswith("  - name")] == list("Zäab")
    assert str(task.id) not in text
    assert "createdAt" not in text
    some = await tasks.transfer.export_tasks(TaskSelection(ids=[task.id]))
    assert (some.tasks, some.schedules) == (1, 0)
    question = TaskQuestion(filter=TaskFilter(groups=["z"]))
    assert (await tasks.transfer.export_tasks(TaskSelection(question=question))).tasks == 2


def test_every_field_of_a_task_is_exported() -> None:
    renamed = {"is_enabled": "enabled", "timeout": "timeout_seconds"}
    wanted = {renamed.get(field.name, field.name) for field in fields(TaskFields)}
    assert TaskEntry.model_fields.keys() - {"schedules"} == wanted


async def test_10_000_tasks_come_and_go_and_one_more_is_refused(tasks: TaskService, settings: Settings) -> None:
    lines = "".join(f"  - name: Task {n}\n    group: g{n % 7}\n    definitionId: echo\n" for n in range(10_000))
    done = await tasks.transfer.import_tasks(HEAD + lines)
    assert done.plan.count(ImportStep.CREATE) == 10_000
    assert (await tasks.transfer.export_tasks()).tasks == 10_000
    more = f"{HEAD}{lines}  - name: One more\n    definitionId: echo\n"
    with pytest.raises(InvalidArgument, match="TASKLOOM_MAX_BULK_ITEMS"):
        await tasks.transfer.import_tasks(more)
    await tasks.saved.create(TaskFields(name="One more", definition_id="echo"))
    with pytest.raises(InvalidArgument, match="TASKLOOM_MAX_BULK_ITEMS"):
        await tasks.transfer.export_tasks()


# Conflicts.


async def test_a_name_that_is_taken_is_skipped_renamed_or_replaced_as_was_asked(tasks: TaskService) -> None:
    task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo", group="g"))
    text = one(more="    group: g\n    priority: 7\n")
    assert await steps(tasks, text) == ["SKIP"]
    assert (await tasks.saved.get(task.id)).version == 1
    assert await steps(tasks, text, OnConflict.RENAME) == ["RENAME"]
    assert await steps(tasks, text, OnConflict.RENAME) == ["RENAME"]
    names = sorted(task.name for task in (await tasks.saved.list()).items)
    assert names == ["Nightly", "Nightly (imported 2)", "Nightly (imported)"]
    assert await steps(tasks, text, OnConflict.REPLACE, principal=ADA) == ["REPLACE"]
    replaced = await tasks.saved.get(task.id)
    assert (replaced.version, replaced.priority, replaced.updated_by) == (2, 7, "USER:ada")
    newest = (await tasks.saved.revisions(task.id)).items[0]
    assert (newest.version, newest.change, newest.fields["priority"]) == (2, "IMPORTED", 7)
    assert await steps(tasks, text, OnConflict.REPLACE, principal=ADA) == ["UNCHANGED"]
    assert (await tasks.saved.get(task.id)).version == 2
    other_group = one(more="    group: h\n")
    assert await steps(tasks, other_group) == ["CREATE"]


async def test_schedules_of_a_replaced_task_are_replaced_and_those_that_are_the_same_stay(tasks: TaskService) -> None:
    text = one(more='    schedules:\n      - cron: "@daily"\n      - every: {seconds: 60}\n        name: Often\n')
    await tasks.transfer.import_tasks(text)
    task = await get(tasks, "Nightly")
    before = (await tasks.schedules.of_tasks([task.id]))[task.id]
    changed = text.replace("seconds: 60", "seconds: 61")
    found = await tasks.transfer.import_tasks(changed, on_conflict=OnConflict.REPLACE)
    [item] = found.plan.items
    assert (item.step, len(item.added), len(item.removed)) == (ImportStep.REPLACE, 1, 1)
    after = (await tasks.schedules.of_tasks([task.id]))[task.id]
    assert {one.id for one in before} & {one.id for one in after} == {before[0].id}
    assert sorted(one.every_seconds or 0 for one in after) == [0, 61]
    assert await steps(tasks, one(), OnConflict.SKIP) == ["SKIP"]
    assert len((await tasks.schedules.of_tasks([task.id]))[task.id]) == 2
    assert await steps(tasks, one(), OnConflict.REPLACE) == ["REPLACE"]
    assert (await tasks.schedules.of_tasks([task.id]))[task.id] == []


async def test_an_editor_who_read_before_an_import_is_told_of_it(tasks: TaskService) -> None:
    from app.task_errors import TaskConflict

    task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo"))
    await tasks.transfer.import_tasks(one(more="    priority: 7\n"), on_conflict=OnConflict.REPLACE, principal=ADA)
    with pytest.raises(TaskConflict, match="ada has changed the task meanwhile"):
        await tasks.saved.update(task.id, 1, TaskChanges(queue="mail"))


async def test_schedules_can_be_imported_paused_and_one_that_is_over_has_ended(tasks: TaskService) -> None:
    text = one(more='    schedules:\n      - cron: "@daily"\n      - at: "2020-01-01T00:00:00Z"\n')
    found = await tasks.transfer.import_tasks(text, dry_run=True)
    assert found.plan.items[0].notes == ["tasks.0.schedules.1 has no tick left, so it is stored as one that has ended."]
    await tasks.transfer.import_tasks(text)
    task = await get(tasks, "Nightly")
    schedules = (await tasks.schedules.of_tasks([task.id]))[task.id]
    assert sorted(schedule.status for schedule in schedules) == ["ACTIVE", "ENDED"]
    skipped = (await tasks.transfer.import_tasks(text)).plan.items[0]
    assert (skipped.step, skipped.notes) == (ImportStep.SKIP, [])
    await tasks.transfer.import_tasks(text, on_conflict=OnConflict.RENAME, pause_schedules=True)
    copy = await get(tasks, "Nightly (imported)")
    assert {one.status for one in (await tasks.schedules.of_tasks([copy.id]))[copy.id]} == {"PAUSED"}


# Plans, refusals, and nothing left behind.


async def test_a_dry_run_tells_the_plan_and_every_problem_and_stores_nothing(tasks: TaskService) -> None:
    await tasks.saved.create(TaskFields(name="There", definition_id="echo"))
    text = f"""{HEAD}
  - {{name: Good, definitionId: echo}}
  - {{name: There, definitionId: nothing}}
  - {{name: Good, definitionId: echo}}
  - {{name: Unknown, definitionId: nothing}}
  - {{name: Input, definitionId: echo, input: {{count: 11, text: 5}}}}
  - {{name: Owner, definitionId: echo, owner: ada}}
  - {{name: Shape, definitionId: echo, colour: red, priority: high}}
  - {{definitionId: echo}}
  - 7
  - name: Schedules
    definitionId: echo
    timeoutSeconds: -1
    schedules:
      - cron: "61 * * * *"
      - {{cron: "@daily", timeZone: Europe/Berlim}}
      - {{}}
      - {{cron: "@daily", overlap: MAYBE}}
      - {{every: {{seconds: 1e300}}}}
"""
    assert await problems(tasks, text) == [
        ("tasks.2.name", "TASK_NAME_TAKEN"),
        ("tasks.3.definitionId", "TASK_DEFINITION_NOT_FOUND"),
        ("tasks.4.input.text", "INVALID_TASK_INPUT"),
        ("tasks.4.input.count", "INVALID_TASK_INPUT"),
        ("tasks.5.owner", "BAD_USER_INPUT"),
        ("tasks.6.priority", "BAD_USER_INPUT"),
        ("tasks.6.colour", "BAD_USER_INPUT"),
        ("tasks.7.name", "BAD_USER_INPUT"),
        ("tasks.8", "BAD_USER_INPUT"),
        ("tasks.9.schedules.3.overlap", "BAD_USER_INPUT"),
    ]
    valid = text.replace(", overlap: MAYBE", "")
    assert [path for path, _ in await problems(tasks, valid)][-5:] == [
        "tasks.9.timeoutSeconds",
        "tasks.9.schedules.0.cron",
        "tasks.9.schedules.1.timeZone",
        "tasks.9.schedules.2",
        "tasks.9.schedules.4.every",
    ]
    with pytest.raises(ImportImpossible, match=r"tasks\.2\.name.*And \d+ more problem") as refused:
        await tasks.transfer.import_tasks(text)
    assert refused.value.plan.items[0].step is ImportStep.CREATE
    assert await tasks.saved.count() == 1


async def test_private_definitions_and_those_on_demand_are_kept_apart(settings: Settings, registry: Registry) -> None:
    registry.add(definition("by-hand", triggers=Triggers.ON_DEMAND))
    async with service(settings, registry) as tasks:
        text = f"{HEAD}  - {{name: Hidden, definitionId: hidden}}\n"
        assert await problems(tasks, text) == []
        assert await problems(tasks, text, allow_private=False) == [
            ("tasks.0.definitionId", "TASK_DEFINITION_NOT_FOUND")
        ]
        text = one(more='    schedules: [{cron: "@daily"}]\n').replace("echo", "by-hand")
        assert await problems(tasks, text) == [("tasks.0.schedules.0", "BAD_USER_INPUT")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- 1", "no export"),
        ("version: 2\ntasks: []", "this server reads 1"),
        ("version: true\ntasks: []", "this server reads 1"),
        ("version: 1\ntasks: 1", "must be a list"),
        ("version: 1\ntasks: []\nruns: []", "'runs'"),
        ('{"version": 1, "version": 1, "tasks": []}', "names 'version' twice"),
        ('{"version": 1, "tasks": [}', "line 1, column"),
        ("version: 1\ntasks: [", "no YAML.* in line"),
    ],
)
async def test_a_text_that_is_no_export_is_refused_with_its_place(tasks: TaskService, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as refused:
        await tasks.transfer.import_tasks(text)
    assert refused.value.path == ("input", "text")


async def test_a_text_that_is_too_long_is_refused_both_ways(settings: Settings, registry: Registry) -> None:
    async with service(settings.model_copy(update={"max_transfer_bytes": 1024}), registry) as tasks:
        with pytest.raises(InvalidArgument, match="TASKLOOM_MAX_TRANSFER_BYTES"):
            await tasks.transfer.import_tasks(HEAD + " " * 1024)
        for n in range(20):
            await tasks.saved.create(TaskFields(name=f"Task {n}", definition_id="echo", description="x" * 50))
        with pytest.raises(InvalidArgument, match="TASKLOOM_MAX_TRANSFER_BYTES"):
            await tasks.transfer.export_tasks()


# At once, and when something dies.


async def test_imports_of_the_same_names_at_once_make_each_task_once(tasks: TaskService) -> None:
    text = HEAD + "".join(f"  - {{name: Task {n}, definitionId: echo, priority: 1}}\n" for n in range(50))
    each = await asyncio.gather(*(steps(tasks, text, OnConflict.REPLACE) for _ in range(4)))
    assert sorted({step for found in each for step in found}) == ["CREATE", "UNCHANGED"]
    assert await tasks.saved.count() == 50


async def test_an_import_that_meets_a_task_made_at_the_same_time_plans_again(
    tasks: TaskService, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.transfers import Transfers

    taken, insert = [], Transfers.insert_tasks

    async def overtaken(self: Transfers, rows: Any) -> int:
        if not taken:
            taken.append(await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo")))
        return await insert(self, rows)

    monkeypatch.setattr(Transfers, "insert_tasks", overtaken)
    text = f"{HEAD}  - {{name: Another, definitionId: echo}}\n  - {{name: Nightly, definitionId: echo, priority: 5}}\n"
    assert await steps(tasks, text, OnConflict.REPLACE) == ["CREATE", "REPLACE"]
    assert ((await tasks.saved.get(taken[0].id)).version, await tasks.saved.count()) == (2, 2)


@pytest.mark.parametrize("lost", ["COMMIT;", "INSERT INTO task_revisions", "UPDATE schedules SET deleted_at"])
async def test_an_import_that_loses_its_connection_is_done_once(
    settings: Settings, registry: Registry, lost: str
) -> None:
    async with lossy(settings.database_url) as proxy:
        through = settings.model_copy(update={"database_url": proxy.url})
        async with service(through, registry) as tasks:
            task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="echo"))
            await tasks.schedules.create(task.id, DAILY)
            proxy.lose_reply_to(lost)
            text = f"{one(more='    priority: 7')}\n  - {{name: Other, definitionId: echo}}\n"
            assert await steps(tasks, text, OnConflict.REPLACE) == ["REPLACE", "CREATE"]
            assert (proxy.lost, await tasks.saved.count()) == (1, 2)
            assert (await tasks.saved.get(task.id)).version == 2
            events = [event.subject_kind for event in (await tasks.audit.list()).items if event.action == "importTasks"]
            assert sorted(events) == ["schedule", "task", "task", "tasks"]


async def test_who_imported_what_is_in_the_audit(tasks: TaskService) -> None:
    await tasks.transfer.import_tasks(one(more='    schedules: [{cron: "@daily"}]\n'), principal=ADA)
    events = [event for event in (await tasks.audit.list()).items if event.action == "importTasks"]
    assert sorted(event.subject_kind for event in events) == ["schedule", "task", "tasks"]
    [whole] = [event for event in events if event.subject_kind == "tasks"]
    assert whole.principal == "USER:ada"
    assert whole.details == {
        "onConflict": "SKIP", "create": 1, "rename": 0, "replace": 0, "skip": 0, "unchanged": 0
    }  # fmt: skip
