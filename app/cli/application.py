"""All commands of ``taskloom``, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import (
    bulk_commands,
    errors,
    processes,
    retention,
    run_commands,
    schedules,
    schema_file,
    task_changes,
    task_commands,
    task_list,
    task_transfer,
)
from app.cli.audit import audit
from app.cli.checkup import doctor
from app.cli.definition_list import definitions
from app.cli.new_file import new_task
from app.cli.outcomes import Commands
from app.cli.stats import stats
from app.cli.terminal import out
from app.cli.triggering import trigger

app = typer.Typer(
    cls=Commands,
    help="Trigger, watch and abort background tasks written in Python.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from app.version import VERSION

        out.print(f"taskloom {VERSION}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Trigger, watch and abort background tasks written in Python."""


processes.add_to(app)
app.command()(trigger)
app.add_typer(run_commands.commands, name="runs")
task_commands.commands.command("list")(task_list.list_tasks)
task_commands.commands.command()(task_changes.update)
task_commands.commands.command()(task_changes.duplicate)
task_commands.commands.command()(task_changes.revisions)
task_commands.commands.command()(task_changes.restore)
task_commands.commands.command("searches")(task_list.list_searches)
task_commands.commands.command("export")(task_transfer.export_tasks)
task_commands.commands.command("import")(task_transfer.import_tasks)
app.add_typer(task_commands.commands, name="tasks")
app.add_typer(bulk_commands.commands, name="bulk")
app.add_typer(errors.commands, name="errors")
app.command()(definitions)
app.command()(stats)
app.command()(audit)
app.add_typer(retention.commands, name="retention")
app.add_typer(schedules.commands, name="schedules")
app.add_typer(schema_file.commands, name="schema")
app.command()(doctor)
app.command()(new_task)
