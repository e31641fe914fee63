"""What every list that comes page by page has in common: its options, the word that there is more, and all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.terminal import err

if TYPE_CHECKING:
    from app.paging import Page, PageArgs

Item = TypeVar("Item")

# A page of none would look like a list of none.
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]
After = Annotated[str | None, typer.Option(help="Go on after this cursor, which the page before ended with.")]


def say_more(page: Page[Any]) -> None:
    """Say how to read on, where the page is not the last one."""
    if page.has_next:
        # On one line, however long: a cursor is there to be copied, and a line of the terminal's own is copied whole.
        err.print(f"There are more: --after {page.cursors[-1]}", style="dim", soft_wrap=True)


async def every(read: Callable[[PageArgs], Awaitable[Page[Item]]]) -> list[Item]:
    """All items of a list, read page by page."""
    from app.paging import PageArgs

    page = await read(PageArgs())
    items = page.items
    while page.has_next:
        page = await read(PageArgs(after=page.cursors[-1]))
        items += page.items
    return items
