"""``taskloom definitions``: what can be triggered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.cli.environment import settings
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json

if TYPE_CHECKING:
    from app.models import TaskDefinition
    from app.service import TaskService


def definitions(json: Json = False) -> None:
    """List the task definitions, and whether a live worker serves them."""
    asyncio.run(_definitions(json=json))


async def _definitions(*, json: bool) -> None:
    from app.cli.documents import definition_document
    from app.cli.listings import definitions_table, fitted
    from app.service import TaskService

    async with TaskService.connect(settings=settings()) as tasks:
        rows, available = await _all(tasks), await tasks.available_definitions()
    if json:
        print_json({"nodes": [definition_document(row, available=row.id in available) for row in rows]})
    elif rows:
        out.print(fitted(definitions_table(rows, available), out.width))
    else:
        note("No definitions are published yet: servers and workers publish those that they load when they start.")


async def _all(tasks: TaskService) -> list[TaskDefinition]:
    from app.paging import PageArgs

    page = await tasks.definitions()
    rows = page.items
    while page.has_next:
        page = await tasks.definitions(page=PageArgs(after=page.cursors[-1]))
        rows += page.items
    return rows
