"""Relay connections over the service's pages, and the arguments that every list takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from app.paging import Page, PageArgs
from app.schema.sharing import shared

Item = TypeVar("Item")
Row = TypeVar("Row")

First = Annotated[
    int | None,
    strawberry.argument(description="How many items, from the start or after `after`: 0 to 200, 50 by default."),
]
After = Annotated[str | None, strawberry.argument(description="Only items after this cursor.")]
Last = Annotated[
    int | None,
    strawberry.argument(description="How many items, from the end or before `before`: 0 to 200. Not with `first`."),
]
Before = Annotated[str | None, strawberry.argument(description="Only items before this cursor.")]


class Total:
    """How many items a list has, counted once and only when somebody asks, up to ``limit``."""

    def __init__(self, count: Callable[[], Awaitable[int]], limit: int) -> None:
        self._count = count
        self._counted: asyncio.Future[int] | None = None
        self.limit = limit

    async def get(self) -> int:
        """The number of items; any number above ``limit`` means that counting stopped there."""
        if self._counted is None:
            self._counted = asyncio.ensure_future(self._count())
        return await shared(self._counted)


@strawberry.type(description="Where a page lies within its list.")
class PageInfo:
    """What a client needs in order to ask for the next page."""

    has_next_page: bool = strawberry.field(
        description="Whether items follow this page. On a page read backward: whether `before` was given."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether items precede this page. On a page read forward: whether `after` was given."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the first item, null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The cursor of the last item, null on an empty page.")


@strawberry.type(description="One item of a list, with the cursor of its place.")
class Edge(Generic[Item]):
    """An item and its cursor."""

    node: Item = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="The place of the item, for `after` and `before`.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[Item]):
    """A page of items with the cursor of each."""

    nodes: list[Item] = strawberry.field(description="The items of the page.")
    page_info: PageInfo = strawberry.field(description="Where the page lies within the list.")
    cursors: strawberry.Private[list[str]]
    total: strawberry.Private[Total]

    @strawberry.field(description="The items of the page, each with its cursor.")
    def edges(self) -> list[Edge[Item]]:
        """Items paired with cursors."""
        return [Edge(node=node, cursor=cursor) for node, cursor in zip(self.nodes, self.cursors, strict=True)]

    @strawberry.field(description="How many items the list has; null when they are more than `totalCountExceeds`.")
    async def total_count(self) -> int | None:
        """The count, unless it exceeds the limit of counting."""
        count = await self.total.get()
        return count if count <= self.total.limit else None

    @strawberry.field(description="Set instead of `totalCount` on a long list: it has more items than this number.")
    async def total_count_exceeds(self) -> int | None:
        """The limit of counting, when the list is longer."""
        return self.total.limit if await self.total.get() > self.total.limit else None


def connection(page: Page[Row], build: Callable[[Row], Item], total: Total) -> Connection[Item]:
    """The connection that shows a page of rows, each built into an item of the schema."""
    cursors = page.cursors
    place = PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
    return Connection(nodes=[build(row) for row in page.items], page_info=place, cursors=cursors, total=total)


def page_args(first: int | None, after: str | None, last: int | None, before: str | None) -> PageArgs:
    """The page that a field's four arguments ask for; an argument left out is one that is null."""
    return PageArgs(*(given(value) for value in (first, after, last, before)))


def given(value: Any) -> Any:
    """An argument's value, with None for one that was left out."""
    return None if value is strawberry.UNSET else value


def present(source: object) -> dict[str, Any]:
    """The fields of an input object that were given and are not null, by Python name."""
    return {name: value for name, value in vars(source).items() if value is not None and value is not strawberry.UNSET}
