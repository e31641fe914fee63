"""``taskloom tasks export`` and ``import``: saved tasks as files."""

from __future__ import annotations

from pathlib import Path

from app import TaskService, Timing
from app.service.task_fields import TaskFields
from tests.cli.command import Command


async def test_tasks_are_exported_to_a_file_and_imported_from_it_or_refused(
    taskloom: Command, tasks: TaskService, tmp_path: Path
) -> None:
    task = await tasks.saved.create(TaskFields(name="Sum", group="g", definition_id="cli-add", input={"numbers": [1]}))
    await tasks.schedules.create(task.id, Timing(cron="@daily"))
    file = tmp_path / "tasks.yaml"
    wrote = await taskloom("tasks", "export", "--group", "g", "-o", str(file))
    assert wrote.sentence == f"{file} has tasks: 1, schedules: 1."
    text = file.read_text()
    await tasks.saved.delete(task.id)
    planned = await taskloom("tasks", "import", str(file), "--dry-run")
    assert planned.out.splitlines()[-1] == "Nothing is stored; an import would do this: 1 created."
    assert await tasks.saved.count() == 0
    done = await taskloom("tasks", "import", "-", "--json", stdin=text)
    assert (done.json["done"], done.json["items"][0]["step"]) == (True, "CREATE")
    file.write_text(text.replace("numbers", "letters") + "  - {name: Other, definitionId: nobody}\n")
    refused = await taskloom("tasks", "import", str(file), "--on-conflict", "REPLACE")
    assert (refused.code, refused.out) == (2, "")
    assert 'tasks.0.input: "numbers" is a required property' in refused.err
    assert "There is no task definition 'nobody'. `taskloom definitions` lists those there are." in refused.err
    assert refused.err.endswith("Nothing was imported.\n")
