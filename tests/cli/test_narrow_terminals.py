"""Lists in a terminal of 80 columns: ids and states in one piece, and nothing cut off."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (("tasks", "list"), ("Sums of the", "quarter", "SUCCEEDED", "OK")),
        (("schedules", "list"), ("ACTIVE", "02:30:00", "MON-FRI")),
        (("stats", "--by", "task"), ("Sums of the quarter", "100.0 %")),
        (("tasks", "revisions", "{id}"), ("USER:local-admin", "CREATED")),
        (("audit",), ("createSchedule",)),
    ],
    ids=lambda value: value[0],
)
async def test_a_list_fits_and_cuts_nothing(
    taskloom: Command, task_id: str, arguments: tuple[str, ...], whole: tuple[str, ...]
) -> None:
    shown = await taskloom(*(part.format(id=task_id) for part in arguments), COLUMNS="80", TZ="Europe/Berlin")
    assert (shown.code, "\u2026" in shown.out) == (0, False), shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    for word in whole:
        assert word in shown.out, shown.out
    if arguments[:2] in (("tasks", "list"), ("stats", "--by")):
        assert task_id in shown.out


async def test_actions_on_many_are_listed_with_their_state(taskloom: Command, worker: TaskloomWorker) -> None:
    assert (await taskloom("bulk", "stop-all", "--yes")).code == 0
    shown = await taskloom("bulk", "list", COLUMNS="80")
    assert "STOP_ALL   COMPLETED" in shown.out
