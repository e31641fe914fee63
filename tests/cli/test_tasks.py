"""``taskloom tasks``: saved tasks on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from app import TaskRunStatus, TaskService
from app.models import SavedSearchKind, Task
from app.service.task_fields import TaskFields
from tests.cli.command import Command
from workers.worker import TaskloomWorker


async def saved(tasks: TaskService, name: str, **fields: Any) -> Task:
    return await tasks.saved.create(TaskFields(name=name, definition_id="cli-add", input={"numbers": [1]}, **fields))


async def test_a_task_is_created_listed_executed_and_deleted(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    task = await taskloom.json(
        *("tasks", "create", "Sum up", "cli-add", "--input", '{"numbers": [1, 2]}', "--group", "g", "--tag", "a"),
        *("--owner", "USER:ada", "--description", "Adds."),
    )
    assert (task["name"], task["group"], task["tags"], task["health"]) == ("Sum up", "g", ["a"], "NEVER_RUN")
    assert (task["owner"], task["description"]) == ("USER:ada", "Adds.")
    listed = await taskloom("tasks", "list", "--search", "sum")
    assert task["id"] in listed.out
    run = await taskloom.json("tasks", "execute", task["id"], "--input", '{"numbers": [4]}', "--wait")
    assert (run["status"], run["output"]) == (TaskRunStatus.SUCCEEDED, 4)
    assert str((await tasks.get(run["id"])).task_id) == task["id"]
    assert (await taskloom("tasks", "delete", task["id"])).code == 0
    gone = await taskloom("tasks", "show", task["id"])
    assert (gone.code, gone.out) == (2, "")
    assert "There is no task" in gone.err


@pytest.mark.usefixtures("worker")
async def test_a_task_is_changed_copied_and_made_what_it_was(taskloom: Command, tasks: TaskService) -> None:
    task = await saved(tasks, "Sum up", group="g")
    id = str(task.id)
    changes = ("--name", "Sums", "--tag", "a", "--disable", "--timeout", "2m", "--clear", "group")
    changed = await taskloom.json("tasks", "update", id, *changes)
    assert (changed["name"], changed["tags"], changed["enabled"], changed["timeoutSeconds"], changed["group"]) == (
        "Sums", ["a"], False, 120, None,
    )  # fmt: skip
    assert (changed["input"], changed["version"]) == ({"numbers": [1]}, 2)
    stale = await taskloom("tasks", "update", id, "--name", "Other", "--version", "1")
    assert (stale.code, stale.out, "local-admin has changed the task" in stale.err) == (2, "", True)
    assert (await taskloom.json("tasks", "duplicate", id))["name"] == "Sums (copy)"
    await tasks.saved.delete(id)
    restored = await taskloom.json("tasks", "restore", id, "1")
    assert (restored["name"], restored["group"], restored["version"]) == ("Sum up", "g", 4)
    shown = (await taskloom("tasks", "revisions", id)).out.splitlines()
    assert [line.split()[4] for line in shown[2:]] == ["RESTORED", "DELETED", "UPDATED", "CREATED"]
    fields = shown[4].split("UPDATED")[1].replace(",", "").split()
    assert sorted(fields) == ["enabled", "group", "name", "tags", "timeoutSeconds"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say what is to change"),
        (("--group", "g", "--clear", "group"), "not both"),
    ],
)
async def test_what_cannot_be_changed_so_is_refused_in_a_sentence(
    taskloom: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    refused = await taskloom("tasks", "update", "0199c0de-0000-7000-8000-000000000000", *arguments)
    assert (refused.code, refused.out, sentence in refused.err) == (2, "", True)


@pytest.mark.usefixtures("worker")
async def test_tasks_are_listed_by_filters_questions_and_orders(taskloom: Command, tasks: TaskService) -> None:
    for name, group, tag in (("One", "g", "a"), ("Two", "g", "a"), ("Three", "h", "a"), ("Four", "g", "b")):
        await saved(tasks, name, group=group, tags=[tag])
    options = "--group g --tag a --quick mine --health never_run --enabled --sort created_at --reverse -d cli-add"
    listed = await taskloom.json("tasks", "list", *options.split(), "--owner", "USER:local-admin", "--search", "")
    assert [task["name"] for task in listed["nodes"]] == ["Two", "One"]
    none = await taskloom("tasks", "list", "-q", "FAILED_TODAY", "-z", "Mars", "-s", "failed", "--category", "x")
    assert (none.code, none.out, "time zone" in none.err) == (2, "", True)


async def test_saved_searches_are_listed(taskloom: Command, tasks: TaskService) -> None:
    await tasks.searches.create("Broken", SavedSearchKind.TASKS, {"health": ["FAILING"]}, is_shared=True)
    [search] = (await taskloom.json("tasks", "searches"))["nodes"]
    assert (search["name"], search["kind"], search["filter"]) == ("Broken", "TASKS", {"health": ["FAILING"]})
