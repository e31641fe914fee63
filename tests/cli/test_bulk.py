"""``taskloom bulk``: what people do to many runs and tasks at once."""

from __future__ import annotations

from datetime import timedelta

from app import RunFilter, RunSelection, TaskRunStatus, TaskService
from app.cli.bulk_commands import _follow
from app.models import BulkActionStatus
from app.registry import registry
from app.service.task_fields import TaskFields
from app.settings import SHIPPED_TASKS
from tests.cli.command import Command

LATER = timedelta(hours=1)
NOBODY = "0199c0de-0000-7000-8000-000000000000"
registry.load([SHIPPED_TASKS])


async def test_runs_are_aborted_deleted_and_listed_once_somebody_says_that_it_is_meant(
    taskloom: Command, tasks: TaskService
) -> None:
    for n in range(3):
        await tasks.trigger("cli-fail", delay=LATER, tags=["mine"] if n else [])
    planned = await taskloom.json("bulk", "abort", "--tag", "mine", "--dry-run")
    unsure = await taskloom("bulk", "abort", "--tag", "mine")
    empty = await taskloom("bulk", "abort", "--dry-run")
    assert (planned["items"], len(planned["sample"])) == ("2 runs", 2)
    assert (unsure.code, unsure.sentence) == (2, "Abort 2 runs? Pass --yes to say that this is meant.")
    assert (empty.code, "Pass --all" in empty.sentence) == (2, True)
    nobody = await taskloom("bulk", "abort", "--tag", "nobody's")
    assert (nobody.code, nobody.out, nobody.err) == (0, "0 runs are selected: nothing is done.\n", "")
    assert await tasks.count(RunFilter(statuses=[TaskRunStatus.ABORTED])) == 0
    done = await taskloom.json("bulk", "abort", "--tag", "mine", "-m", "superseded", "--yes")
    assert (done["status"], done["total"], done["done"], done["failed"]) == ("COMPLETED", 2, 2, 0)
    failed = await taskloom("bulk", "delete-runs", NOBODY, "--yes")
    assert (failed.code, "0 done, 1 could not be acted on" in failed.out) == (1, True)
    assert failed.err.startswith(f"{NOBODY}: There is no task run")
    assert failed.err.endswith("the UUID that `taskloom trigger` returned.\n")
    listed = await taskloom("bulk", "list")
    assert [line.split()[1] for line in listed.out.splitlines()[2:]] == ["DELETE_RUNS", "ABORT_RUNS"]


async def test_tasks_are_executed_as_a_batch_and_everything_is_stopped_and_cleared(
    taskloom: Command, tasks: TaskService
) -> None:
    for name in "ab":
        await tasks.saved.create(TaskFields(name=name, definition_id="cli-add", input={"numbers": [1]}, group="g"))
    executed = await taskloom.json("bulk", "execute", "--group", "g", "--batch-name", "Nightly", "--yes")
    batch = await tasks.batches.get(executed["batch"]["id"])
    assert (batch.name, batch.total) == ("Nightly", 2)
    assert (await taskloom.json("bulk", "stop-all", "--yes"))["done"] == 2
    assert (await taskloom.json("bulk", "clear", "--all", "--yes"))["done"] == 2
    assert await tasks.count() == 0


async def test_an_action_is_followed_to_its_end_without_any_worker(tasks: TaskService) -> None:
    for _ in range(3):
        await tasks.trigger("cli-fail", delay=LATER)
    tasks.bulk._starting.seconds_at_once = 0.0
    action = await tasks.bulk.abort_runs(RunSelection(filter=RunFilter(definition_ids=["cli-fail"])))
    assert action.status == BulkActionStatus.PENDING
    await _follow(tasks, action)
    action = await tasks.bulk.get(action.id)
    assert (action.status, action.done) == (BulkActionStatus.COMPLETED, 3)
