"""``taskloom tasks list`` and ``searches``: finding saved tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import task_options
from app.cli.asking import asked
from app.cli.pages import After, Limit, say_more
from app.cli.task_documents import task_document
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json
from app.states import TaskRunStatus
from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter

if TYPE_CHECKING:
    from app.models import Task
    from app.paging import Page

EACH = "once for each"


def list_tasks(
    search: Annotated[
        str | None, typer.Option(help="Words in names and descriptions; typing errors are forgiven.")
    ] = None,
    quick: Annotated[
        TaskQuickFilter | None, typer.Option("--quick", "-q", case_sensitive=False, help="An everyday question.")
    ] = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", "-z", help="Where the day of FAILED_TODAY begins: an IANA name.")
    ] = "UTC",
    definition: task_options.Definition = None,
    category: Annotated[
        list[str] | None, typer.Option(help=f"Only tasks of definitions of this category, {EACH}.")
    ] = None,
    group: task_options.Group = None,
    owner: task_options.Owner = None,
    tag: task_options.Tag = None,
    health: Annotated[
        list[TaskHealth] | None, typer.Option(case_sensitive=False, help=f"Only tasks that are so, {EACH}.")
    ] = None,
    last_status: Annotated[
        list[TaskRunStatus] | None,
        typer.Option("--last-status", "-s", case_sensitive=False, help=f"Only where the last run stands so, {EACH}."),
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Only tasks that are, or are not.")
    ] = None,
    sort: Annotated[
        TaskOrderField | None, typer.Option(case_sensitive=False, help="By name, or the best match first, by default.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="With --sort: the last one first.")] = False,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """List saved tasks: all of them, those that a search finds, or the answer to an everyday question."""
    from app.conditions import TagFilter
    from app.paging import OrderDirection, PageArgs
    from app.service.saved_reading import TaskQuestion
    from app.task_filters import TaskFilter, TaskOrder

    filter = TaskFilter(
        definition_ids=definition or None,
        categories=category or None,
        groups=group or None,
        owners=owner or None,
        tags=TagFilter(all=tag) if tag else None,
        health=health or None,
        last_run_statuses=last_status or None,
        is_enabled=enabled,
    )
    question = TaskQuestion(filter=filter, search=search, quick=quick, time_zone=time_zone)
    order = TaskOrder(sort, OrderDirection.DESC if reverse else OrderDirection.ASC) if sort else None
    page = asked(lambda tasks: tasks.saved.list(question, order, PageArgs(first=limit, after=after)))
    if json:
        from app.cli.documents import page_document

        print_json(page_document(page, task_document))
    else:
        _show(page)


def _show(page: Page[Task]) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import ago, status_text, visible
    from app.task_filters import health_of

    table = plain_table("ID", "NAME", "GROUP", "DEFINITION", "HEALTH", "LAST RUN", "WHEN")
    for task in page.items:
        row: Any = task
        last = status_text(row.last_status) if row.last_status else ""
        names = (visible(task.name), visible(task.group_name or ""), task.definition_id)
        table.add_row(str(task.id), *names, health_of(task), last, ago(row.last_run_at) if row.last_run_at else "")
    if page.items:
        out.print(fitted(table, out.width, 120, "GROUP", "DEFINITION", "WHEN"))
    else:
        note("No tasks fit. `taskloom tasks create NAME DEFINITION` makes one.")
    say_more(page)


def list_searches(json: Json = False) -> None:
    """List saved searches: your own and those that others share."""
    from app.cli.listings import fitted, plain_table
    from app.cli.words import visible

    searches = asked(lambda tasks: tasks.searches.list())
    if json:
        nodes = [
            {
                "id": str(search.id),
                "name": search.name,
                "kind": str(search.kind),
                "filter": search.filter,
                "shared": search.is_shared,
                "owner": search.owner,
            }
            for search in searches
        ]
        print_json({"nodes": nodes})
        return
    if not searches:
        note("There are no saved searches. GraphQL's createSavedSearch keeps a filter under a name.")
        return
    table = plain_table("ID", "NAME", "KIND", "SHARED", "OWNER")
    for search in searches:
        shared = "yes" if search.is_shared else "no"
        table.add_row(str(search.id), visible(search.name), search.kind, shared, visible(search.owner))
    out.print(fitted(table, out.width))
