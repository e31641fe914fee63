"""Lists in terminals of 80 and of 40 columns: ids and states in one piece, and nothing cut off."""

from __future__ import annotations

import asyncio

import pytest

from app import TaskService
from app.service.task_fields import TaskFields
from app.ticks import Timing
from tests.cli.command import Command
from tests.workbench import until
from workers.worker import TaskloomWorker


@pytest.fixture
async def task_id(tasks: TaskService, worker: TaskloomWorker) -> str:
    """A saved task with a long name, which has run, and a schedule."""
    fields = TaskFields(name="Sums of the quarter", definition_id="cli-add", input={"numbers": [1]}, group="reports")
    task = await tasks.saved.create(fields)
    await tasks.wait((await tasks.saved.execute(task.id)).run.id)

    async def counted() -> bool:
        """What lists tell of the last run follows the run."""
        return (await tasks.saved.get(task.id)).last_status == "SUCCEEDED"

    await until(counted)
    await tasks.schedules.create(task.id, Timing(cron="30 2 * * MON-FRI", time_zone="Europe/Berlin"))
    return str(task.id)


async def test_lists_fit_and_cut_nothing(taskloom: Command, task_id: str) -> None:
    lists = {
        ("tasks", "list"): (task_id, "Sums of the", "quarter", "SUCCEEDED", "OK"),
        ("schedules", "list"): ("ACTIVE", "02:30:00", "MON-FRI"),
        ("stats", "--by", "task"): (task_id, "Sums of the quarter", "100.0 %"),
        ("tasks", "revisions", task_id): ("USER:local-admin", "CREATED"),
        ("audit",): ("createSchedule",),
    }
    answers = await asyncio.gather(*(taskloom(*each, COLUMNS="80", TZ="Europe/Berlin") for each in lists))
    for shown, words in zip(answers, lists.values(), strict=True):
        assert (shown.code, "\u2026" in shown.out) == (0, False), shown.out
        assert max(map(len, shown.out.splitlines())) <= 80
        for word in words:
            assert word in shown.out, shown.out


async def test_in_a_very_narrow_terminal_each_field_has_a_line_and_ids_are_in_one_piece(
    taskloom: Command, tasks: TaskService, task_id: str
) -> None:
    [run] = (await tasks.list()).items
    [schedule] = (await tasks.schedules.list()).items
    lists = {
        ("tasks", "list"): f"ID {task_id}",
        ("stats", "--by", "task"): f"TASK\n{task_id}",
        ("runs", "list"): f"ID {run.id}\nSTATUS SUCCEEDED\nNAME Sums of the quarter\n",
        ("runs", "show", str(run.id)): f"run {run.id}\n",
        ("schedules", "list"): f"ID {schedule.id}\nTASK Sums of the quarter\n",
        ("audit",): f"ID {schedule.id}",
    }
    shown = await asyncio.gather(*(taskloom(*arguments, COLUMNS="40") for arguments in lists))
    for each, whole in zip(shown, lists.values(), strict=True):
        lines = [line.rstrip() for line in each.out.splitlines()]
        assert whole in "\n".join(lines), each.out
        assert max(map(len, lines)) <= 40, each.out


async def test_actions_on_many_are_listed_with_their_state(taskloom: Command, worker: TaskloomWorker) -> None:
    assert (await taskloom("bulk", "stop-all", "--yes")).code == 0
    shown = await taskloom("bulk", "list", COLUMNS="80")
    assert "STOP_ALL   COMPLETED" in shown.out
    assert (await taskloom.json("bulk", "list"))["pageInfo"]["endCursor"]
