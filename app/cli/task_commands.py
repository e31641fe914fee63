"""``taskloom tasks``: show, create, execute and delete saved tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.outcomes import ExitCode
from app.cli.task_documents import task_document
from app.cli.task_options import TaskId
from app.cli.terminal import out, print_json
from app.cli.triggering import Follow, Input, Json, Wait

if TYPE_CHECKING:
    from app.service import TaskService

commands = typer.Typer(help="Find, show, create, change, execute and delete saved tasks.", no_args_is_help=True)


@commands.command()
def show(id: TaskId) -> None:
    """Show one task as JSON."""
    print_json(task_document(asked(lambda tasks: tasks.saved.get(id))))


@commands.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="The id of the definition that it executes.")],
    input: Input = None,
    group: Annotated[str | None, typer.Option(help="The group it belongs to.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A word to find it by, once for each.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose it is, as in USER:ada; yours by default.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for, in words.")] = None,
    json: Json = False,
) -> None:
    """Save a task; prints its id. What else it may have, `taskloom tasks update` sets."""
    from app.service.task_fields import TaskFields

    value = None if input is None else arguments.json_value(input)
    fields = TaskFields(
        name=name,
        definition_id=definition,
        description=description,
        input=value,
        tags=tag or (),
        group=group,
        owner=owner,
    )
    task = asked(lambda tasks: tasks.saved.create(fields, allow_private=False), Code.OWN)
    if json:
        print_json(task_document(task))
    else:
        print(task.id)


@commands.command()
def execute(
    id: TaskId,
    input: Input = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also when it is disabled, or meant for schedules alone.")
    ] = False,
    wait: Wait = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Run a task; an input is merged into the task's own."""
    from app.cli.triggering import show_triggered
    from app.service import UNSET
    from app.service.executing import Overrides

    overrides = Overrides(input=UNSET if input is None else arguments.json_value(input))

    async def run(tasks: TaskService) -> ExitCode:
        made = (await tasks.saved.execute(id, overrides, force=force)).run
        return await show_triggered(tasks, made, wait=wait, follow=follow, json=json)

    raise typer.Exit(asked(run, Code.OWN))


@commands.command()
def delete(id: TaskId) -> None:
    """Delete a task; its runs and revisions stay."""
    asked(lambda tasks: tasks.saved.delete(id))
    out.print(f"Task {id} is deleted; its runs stay.", soft_wrap=True)
