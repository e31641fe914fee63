"""The examples of the pages on saved tasks and on bulk actions work as they are written."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from graphql import build_schema, parse, validate

from app import TaskRunStatus, TaskService, Triggers
from app.cli.application import app as command
from app.registry import registry
from tests.house.test_floors import ROOT
from tests.house.test_readme import understood

TASKS, BULK = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("tasks.md", "bulk.md"))


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def functions(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(example, "page", "exec"), names)
    return names


async def test_a_task_is_saved_and_executed_as_the_page_says(tasks: TaskService) -> None:
    run = await tasks.get(await functions(examples(TASKS, "python")[0])["save_and_execute"](tasks))
    assert (run.name, run.definition_id, run.input["exclude"]) == ("Nightly", "checksum-tree", ["*.tmp"])
    assert run.input["root"] == "/data"


def test_a_definition_is_declared_as_the_page_says() -> None:
    try:
        functions(examples(TASKS, "python")[1])
        definition = registry.get("close-books")
        assert definition is not None
        assert (definition.category, definition.triggers) == ("Finance", Triggers.BOTH)
    finally:
        registry.remove("close-books")


async def test_runs_that_wait_are_aborted_as_the_page_says(
    tasks: TaskService, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await tasks.trigger("test-nothing")
    await functions(examples(BULK, "python")[0])["abort_what_waits"](tasks)
    assert capsys.readouterr().out == "COMPLETED 1 0\n"
    assert (await tasks.get(run.id)).status == TaskRunStatus.ABORTED


@pytest.mark.parametrize("document", [*examples(TASKS, "graphql"), *examples(BULK, "graphql")])
def test_every_operation_fits_the_schema(document: str) -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    assert validate(schema, parse(document)) == []


def test_every_command_is_understood() -> None:
    root = typer.main.get_command(command)
    lines = [line for page in (TASKS, BULK) for line in re.findall(r"^taskloom (.+)$", page, re.MULTILINE)]
    assert lines
    assert [line for line in lines if not understood(root, shlex.split(line))] == []
