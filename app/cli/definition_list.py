"""``taskloom definitions``: what can be triggered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.asking import asked
from app.cli.pages import every
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json

if TYPE_CHECKING:
    from app.models import TaskDefinition
    from app.service import TaskService


def definitions(json: Json = False) -> None:
    """List the task definitions, and whether a live worker serves them."""
    from app.cli.documents import definition_document
    from app.cli.listings import definitions_table, fitted

    rows, available = asked(_all)
    if json:
        print_json({"nodes": [definition_document(row, available=row.id in available) for row in rows]})
    elif rows:
        out.print(fitted(definitions_table(rows, available), out.width))
    else:
        note("No definitions are published yet: servers and workers publish those that they load when they start.")


async def _all(tasks: TaskService) -> tuple[list[TaskDefinition], set[str]]:
    rows = await every(lambda page: tasks.definitions(page=page))
    return rows, await tasks.available_definitions()
