"""``taskloom errors``: failures by what they have in common, as a worker's housekeeping groups them."""

from __future__ import annotations

import asyncio

from app import RunFilter, TaskRunStatus, TaskService
from app.service.task_fields import TaskFields
from tests.cli.command import Command
from tests.workbench import until, until_status
from workers.worker import TaskloomWorker


async def test_failures_are_listed_shown_and_found_by_their_group(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    saved = await tasks.saved.create(TaskFields(name="Nightly", definition_id="cli-fail", group="g"))
    run = (await tasks.saved.execute(saved.id)).run
    await until_status(tasks, run.id, TaskRunStatus.FAILED)

    async def grouped() -> str | None:
        return (await tasks.get(run.id)).error_group

    id = await until(grouped)
    page, one, shown, runs = await asyncio.gather(
        taskloom.json("errors", "list", "--group", "g", "--task", str(saved.id), "-d", "cli-fail", "--by", "count"),
        taskloom.json("errors", "show", str(id)),
        taskloom("errors", "show", str(id)),
        taskloom.json("runs", "list", "--error-group", str(id), "--error", "no such thing"),
    )
    table, none, by, nobody = await asyncio.gather(
        taskloom("errors", "list"),
        taskloom("errors", "list", "--until", "2020-01-01"),
        taskloom("errors", "list", "--by", "size"),
        taskloom("errors", "show", "nothing"),
    )
    for word in (str(id), "cli-fail", "LookupError: no such thing"):
        assert word in table.out
    assert [(group["id"], group["count"], group["sampleRunId"]) for group in page["nodes"]] == [(id, 1, str(run.id))]
    assert (one["place"], [node["id"] for node in one["runs"]["nodes"]]) == ("definitions.py:fail", [str(run.id)])
    assert "Raised in definitions.py:fail." in shown.out
    assert str(run.id) in shown.out
    assert [(node["id"], node["errorGroup"]) for node in runs["nodes"]] == [(str(run.id), {"id": id})]
    assert (none.out, none.sentence[:16]) == ("", "No failures fit.")
    assert (by.code, "last-seen, first-seen, count" in by.sentence) == (2, True)
    assert (nobody.code, "There is no error group 'nothing'" in nobody.sentence) == (2, True)
    assert await tasks.count(RunFilter(search="lookuperror")) == 1
