"""``taskloom errors``: error groups, which are failures by their cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import arguments
from app.cli.asking import asked
from app.cli.outcomes import Refusal
from app.cli.pages import After, Limit, say_more
from app.cli.run_options import Group, Owner, Task
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json

if TYPE_CHECKING:
    from app.cli.documents import Document
    from app.error_groups import CountedGroup
    from app.models import TaskRun
    from app.paging import Page
    from app.service import TaskService

commands = typer.Typer(help="List and show error groups: failures by their cause.", no_args_is_help=True)

SHOWN_RUNS = 10
BY = ("last-seen", "first-seen", "count")


@commands.command("list")
def list_groups(
    definition: Annotated[
        list[str] | None, typer.Option("--definition", "-d", help="Only failures of this definition, once for each.")
    ] = None,
    task: Task = None,
    group: Group = None,
    owner: Owner = None,
    since: Annotated[
        str | None, typer.Option(help="Only failures from the hour of this time on, as in 2026-03-01T09:00.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only failures up to the hour of this time.")] = None,
    by: Annotated[str, typer.Option(help=f"What comes first: the highest of {', '.join(BY)}.")] = "last-seen",
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """List error groups: how often runs failed so, when last, and with what."""
    from app.error_groups import ErrorGroupFilter, ErrorGroupOrder, ErrorGroupOrderField
    from app.paging import PageArgs

    if by not in BY:
        raise Refusal(f"--by is '{by[:100]}', but must be one of {', '.join(BY)}.")
    order = ErrorGroupOrder(ErrorGroupOrderField[by.upper().replace("-", "_")])
    filter = ErrorGroupFilter(
        definition_ids=definition or None,
        task_ids=arguments.ids(task, "--task"),
        groups=group or None,
        owners=owner or None,
        since=arguments.moment(since, "--since"),
        until=arguments.moment(until, "--until"),
    )
    page = asked(lambda tasks: tasks.errors.groups(filter, order, PageArgs(first=limit, after=after)))
    if json:
        from app.cli.documents import page_document

        print_json(page_document(page, group_document))
        return
    if page.items:
        _print_table(page.items)
    else:
        note("No failures fit. Runs that are FAILED or LOST are listed a second or two after their end.")
    say_more(page)


def _print_table(groups: list[CountedGroup]) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import ago, visible

    table = plain_table("ID", "COUNT", "LAST SEEN", "DEFINITION", "ERROR")
    table.columns[1].justify = table.columns[2].justify = "right"
    for group in groups:
        error = visible(f"{group.error_type}: {group.message}")
        table.add_row(group.id, str(group.count), ago(group.last_seen), group.definition_id, error)
    out.print(fitted(table, out.width))


@commands.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The group's id.")],
    json: Json = False,
) -> None:
    """Show one error group, and its runs that failed last."""
    from app.cli.documents import run_document
    from app.cli.listings import fitted, runs_table
    from app.paging import PageArgs
    from app.run_filters import RunFilter

    async def read(tasks: TaskService) -> tuple[CountedGroup, Page[TaskRun]]:
        group = await tasks.errors.group(id)
        return group, await tasks.list(RunFilter(error_group=id), page=PageArgs(first=SHOWN_RUNS))

    group, runs = asked(read)
    if json:
        print_json({**group_document(group), "runs": {"nodes": [run_document(run) for run in runs.items]}})
        return
    _print_table([group])
    if group.place:
        out.print(f"\nRaised in {group.place}.", soft_wrap=True)
    if runs.items:
        out.print()
        out.print(fitted(runs_table(runs.items, out.width), out.width))


def group_document(group: CountedGroup) -> Document:
    """An error group as JSON, with the names that GraphQL has for its fields."""
    from app.cli.documents import time_text

    return {
        "id": group.id,
        "definitionId": group.definition_id,
        "errorType": group.error_type,
        "message": group.message,
        "place": group.place,
        "count": group.count,
        "firstSeen": time_text(group.first_seen),
        "lastSeen": time_text(group.last_seen),
        "sampleRunId": str(group.sample_run_id),
    }
