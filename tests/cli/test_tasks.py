"""``taskloom tasks``: saved tasks on the command line."""

from __future__ import annotations

from app import TaskRunStatus, TaskService
from tests.cli.command import Command
from workers.worker import TaskloomWorker


async def test_a_task_is_created_listed_executed_and_deleted(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    task = await taskloom.json(
        "tasks", "create", "Sum up", "cli-add", "--input", '{"numbers": [1, 2]}', "--group", "g", "--tag", "a"
    )
    assert (task["name"], task["group"], task["tags"], task["health"]) == ("Sum up", "g", ["a"], "NEVER_RUN")
    listed = await taskloom("tasks", "list", "--search", "sum")
    assert task["id"] in listed.out
    run = await taskloom.json("tasks", "execute", task["id"], "--input", '{"numbers": [4]}', "--wait")
    assert (run["status"], run["output"]) == (TaskRunStatus.SUCCEEDED, 4)
    assert str((await tasks.get(run["id"])).task_id) == task["id"]
    assert (await taskloom("tasks", "delete", task["id"])).code == 0
    gone = await taskloom("tasks", "show", task["id"])
    assert (gone.code, gone.out) == (2, "")
    assert "There is no task" in gone.err
