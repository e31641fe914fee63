"""``taskloom tasks update``, ``duplicate``, ``restore`` and ``revisions``: what becomes of a saved task."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.outcomes import Refusal
from app.cli.pages import After, Limit, say_more
from app.cli.task_documents import revision_document, task_document
from app.cli.task_options import TaskId
from app.cli.terminal import out, print_json
from app.cli.triggering import TIME, Json

if TYPE_CHECKING:
    from app.models import Task, TaskRevision
    from app.paging import Page
    from app.service import TaskService

Version = Annotated[
    int | None,
    typer.Option(help="Refuse when the task is not at this version any more; by default it is changed as it stands."),
]


class Clearable(StrEnum):
    """What a task need not have."""

    DESCRIPTION = "description"
    TAGS = "tags"
    GROUP = "group"
    PRIORITY = "priority"
    QUEUE = "queue"
    TIMEOUT = "timeout"
    MAX_ATTEMPTS = "max-attempts"
    RETRY = "retry"
    ENTITY = "entity"


def update(
    id: TaskId,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for, in words.")] = None,
    definition: Annotated[
        str | None, typer.Option("--definition", "-d", help="The definition that it executes.")
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="Its whole input as JSON; @file reads a file, - standard input.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", help="The words to find it by, all of them, once for each.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="The group it belongs to.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose it is, as in USER:ada.")] = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it is executed.")] = None,
    priority: Annotated[int | None, typer.Option(help="The priority of its runs, -1000 to 1000.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue of its runs.")] = None,
    timeout: Annotated[str | None, typer.Option(help=f"The longest time for one attempt, {TIME}.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often to try, the first try included.")] = None,
    entity_type: Annotated[str | None, typer.Option(help="What sort of thing it is about.")] = None,
    entity_id: Annotated[str | None, typer.Option(help="Which of these things it is about.")] = None,
    entity_url: Annotated[str | None, typer.Option(help="Where that thing is found.")] = None,
    clear: Annotated[
        list[Clearable] | None, typer.Option(help="Let it have none, or what its definition says, once for each.")
    ] = None,
    version: Version = None,
    json: Json = False,
) -> None:
    """Change a task; what is not named stays. The change is a revision."""
    given = {
        "name": name,
        "description": description,
        "definition_id": definition,
        "input": arguments.json_value(input),
        "tags": tag or None,
        "group": group,
        "owner": owner,
        "is_enabled": enable,
        "priority": priority,
        "queue": queue,
        "timeout": arguments.duration(timeout, "--timeout"),
        "max_attempts": max_attempts,
        "entity_type": entity_type,
        "entity_id": entity_id,
        "entity_url": entity_url,
    }
    values = {field: value for field, value in given.items() if value is not None}
    cleared = _cleared(clear or [])
    if both := sorted(values.keys() & cleared.keys()):
        raise Refusal(f"Set {', '.join(both)} or clear it, not both.")
    if not values and not cleared:
        raise Refusal("Say what is to change; `taskloom tasks update --help` lists what can.")
    _update(id, {**values, **cleared}, version, json=json)


def _cleared(fields: list[Clearable]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields:
        if field is Clearable.ENTITY:
            found |= {"entity_type": None, "entity_id": None, "entity_url": None}
        else:
            found[field.replace("-", "_")] = [] if field is Clearable.TAGS else None
    return found


def _update(id: str, changes: dict[str, Any], version: int | None, *, json: bool) -> None:
    from app.service.task_fields import TaskChanges

    async def change(tasks: TaskService) -> Task:
        seen = version if version is not None else (await tasks.saved.get(id)).version
        return await tasks.saved.update(id, seen, TaskChanges(**changes), allow_private=False)

    _show(asked(change, Code.OWN), "is saved", json=json)


def duplicate(
    id: TaskId,
    name: Annotated[str | None, typer.Option(help="The name of the copy; by default the task's with (copy).")] = None,
    json: Json = False,
) -> None:
    """Copy a task; the copy is yours and has no runs."""
    _show(asked(lambda tasks: tasks.saved.duplicate(id, name=name), Code.OWN), "is a copy", json=json)


def restore(
    id: TaskId,
    revision: Annotated[int, typer.Argument(metavar="REVISION", help="The number of the revision.")],
    version: Version = None,
    json: Json = False,
) -> None:
    """Make a task what it was at an earlier revision; brings a deleted one back."""
    task = asked(lambda tasks: tasks.saved.restore(id, revision, version=version), Code.OWN)
    _show(task, f"is again what it was at revision {revision}", json=json)


def revisions(
    id: TaskId,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """List what was changed of a task, by whom and when, the newest first; of a deleted one too."""
    from app.cli.documents import page_document
    from app.paging import PageArgs

    async def read(tasks: TaskService) -> tuple[Page[TaskRevision], Any]:
        page = await tasks.saved.revisions(id, PageArgs(first=limit, after=after))
        places = [(row.task_id, row.version - 1) for row in page.items]
        return page, await tasks.saved.revisions_at(places)

    page, earlier = asked(read)
    if not page.items:
        raise Refusal(f"There is no task {id}, nor was there one.")

    def document(row: TaskRevision) -> dict[str, Any]:
        return revision_document(row, earlier.get((row.task_id, row.version - 1)))

    if json:
        print_json(page_document(page, document))
        return
    _print_revisions([document(row) for row in page.items])
    say_more(page)


def _print_revisions(documents: list[dict[str, Any]]) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import local_time, visible

    table = plain_table("REVISION", "WHEN", "BY", "WHAT", "FIELDS")
    for each in documents:
        fields = ", ".join(change["field"] for change in each["changes"]) if each["version"] > 1 else ""
        when = local_time(datetime.fromisoformat(each["changedAt"]))
        row = (str(each["version"]), when, visible(each["changedBy"]), each["change"], fields)
        table.add_row(*row)
    out.print(fitted(table, out.width))


def _show(task: Task, words: str, *, json: bool) -> None:
    if json:
        print_json(task_document(task))
    else:
        out.print(f"Task {task.id} {words}, at version {task.version}.", soft_wrap=True)
