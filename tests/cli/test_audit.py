"""``taskloom audit``: who changed what."""

from __future__ import annotations

from app import TaskService
from app.auth import Principal, PrincipalKind
from app.service.task_fields import TaskChanges, TaskFields
from tests.cli.command import Command

ADA = Principal(PrincipalKind.USER, "ada")


async def test_who_changed_what_is_listed_and_filtered_the_newest_first(taskloom: Command, tasks: TaskService) -> None:
    task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="cli-fail"), principal=ADA)
    await tasks.saved.update(task.id, 1, TaskChanges(priority=3))
    shown = await taskloom("audit")
    assert [line.split()[2:] for line in shown.out.splitlines()[2:]] == [
        ["USER:local-admin", "updateTask", "task", str(task.id)],
        ["USER:ada", "createTask", "task", str(task.id)],
    ]
    [event] = (await taskloom.json("audit", "--principal", "USER:ada", "--subject", str(task.id)))["nodes"]
    assert (event["action"], event["principal"]["id"], event["details"]["name"]) == ("createTask", "ada", "Nightly")
