"""``taskloom tasks export`` and ``import``: saved tasks with their schedules as files, to move them between places."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.outcomes import ExitCode, Refusal, in_words_of_a_document
from app.cli.terminal import complain, note, out, print_json
from app.cli.triggering import Json
from app.counting import counted

if TYPE_CHECKING:
    from app.service.transfer import Imported, ImportItem, ImportPlan

FORMATS = "json or yaml"
SHOWN_PROBLEMS = 50


def export_tasks(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these tasks.")] = None,
    format: Annotated[str, typer.Option(help=f"How they are written: {FORMATS}.")] = "yaml",
    group: Annotated[list[str] | None, typer.Option(help="Only tasks of this group, once for each.")] = None,
    definition: Annotated[
        list[str] | None, typer.Option("--definition", "-d", help="Only tasks of this definition, once for each.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output by default.")
    ] = None,
) -> None:
    """Write saved tasks with their schedules as text, for `taskloom tasks import` here or elsewhere."""
    from app.interchange import TextFormat
    from app.service.bulk import TaskSelection
    from app.service.saved_reading import TaskQuestion
    from app.task_filters import TaskFilter

    if ids and (group or definition):
        raise Refusal("Name tasks by their ids, or by --group and --definition, not both.")
    filter = TaskFilter(groups=group or None, definition_ids=definition or None)
    selection = TaskSelection(ids=ids) if ids else TaskSelection(question=TaskQuestion(filter=filter), all=True)
    form = arguments.choice(format, TextFormat, "--format")
    made = asked(lambda tasks: tasks.transfer.export_tasks(selection, form))
    if output is None:
        sys.stdout.write(made.text)
        return
    try:
        output.write_text(made.text, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{output} cannot be written: {error.strerror}.") from None
    note(f"{output} has tasks: {made.tasks}, schedules: {made.schedules}.")


def import_tasks(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What was exported; - reads standard input.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, with every problem.")
    ] = False,
    on_conflict: Annotated[
        str, typer.Option(help="What becomes of a task whose name is taken in its group: SKIP, RENAME or REPLACE.")
    ] = "SKIP",
    pause_schedules: Annotated[
        bool, typer.Option("--pause-schedules", help="Store all schedules paused; else they tick from now on.")
    ] = False,
    format: Annotated[str | None, typer.Option(help=f"How it is written: {FORMATS}; by default as it looks.")] = None,
    json: Json = False,
) -> None:
    """Save the tasks of an export with their schedules: all as the plan says, or none."""
    from app.service.transfer import OnConflict, TextFormat

    text = _read(file)
    how = {
        "form": None if format is None else arguments.choice(format, TextFormat, "--format"),
        "on_conflict": arguments.choice(on_conflict, OnConflict, "--on-conflict"),
        "pause_schedules": pause_schedules,
        "dry_run": dry_run,
    }
    raise typer.Exit(_import(text, how, json=json))


def _import(text: str, how: dict[str, Any], *, json: bool) -> ExitCode:
    from app.task_errors import ImportImpossible

    try:
        imported = asked(lambda tasks: tasks.transfer.import_tasks(text, **how, allow_private=False), Code.ALL)
    except ImportImpossible as refusal:
        _tell_problems(refusal.plan)
        complain("Nothing was imported.")
        return ExitCode.REFUSED
    _show(imported, json=json)
    return ExitCode.REFUSED if imported.plan.problems else ExitCode.OK


def _show(imported: Imported, *, json: bool) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import visible

    plan = imported.plan
    if json:
        print_json({"done": imported.is_done, "items": [_document(item) for item in plan.items]})
        return
    if not imported.is_done:
        table = plain_table("STEP", "GROUP", "NAME", "SAVED AS")
        for item in plan.items:
            name, group = visible(item.prepared.name or ""), visible(item.prepared.group or "")
            table.add_row(item.step or "(problem)", group, name, visible(item.name or ""))
        out.print(fitted(table, out.width))
    _tell_problems(plan)
    for item in plan.items:
        for line in item.notes:
            note(visible(line))
    out.print(_sentence(imported), soft_wrap=True)


def _sentence(imported: Imported) -> str:
    from app.service.transfer import ImportStep

    words = {
        ImportStep.CREATE: "created", ImportStep.RENAME: "saved by another name", ImportStep.REPLACE: "replaced",
        ImportStep.SKIP: "skipped", ImportStep.UNCHANGED: "unchanged",
    }  # fmt: skip
    counts = [f"{number} {word}" for step, word in words.items() if (number := imported.plan.count(step))]
    said = ", ".join(counts) or "no tasks"
    return f"{'Imported' if imported.is_done else 'Nothing is stored; an import would do this'}: {said}."


def _tell_problems(plan: ImportPlan) -> None:
    from app.cli.words import visible

    problems = plan.problems
    for problem in problems[:SHOWN_PROBLEMS]:
        complain(visible(f"{'.'.join(problem.path)}: {in_words_of_a_document(problem.message)}"))
    if len(problems) > SHOWN_PROBLEMS:
        complain(f"And {counted(len(problems) - SHOWN_PROBLEMS, 'more problem')}.")


def _document(item: ImportItem) -> dict[str, Any]:
    """A line of the plan with the names that GraphQL has for its fields."""
    return {
        "index": item.prepared.index,
        "name": item.prepared.name,
        "group": item.prepared.group,
        "step": item.step,
        "savedAs": item.name,
        "taskId": None if item.task_id is None else str(item.task_id),
        "schedulesAdded": len(item.added),
        "schedulesRemoved": len(item.removed),
        "notes": item.notes,
        "problems": [{"path": one.path, "code": one.code, "message": one.message} for one in item.problems],
    }


def _read(file: str) -> str:
    try:
        return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except OSError as error:
        raise Refusal(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Refusal(f"{file} is no text in UTF-8.") from None
