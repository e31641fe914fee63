"""What every kind of bulk action has to know: which items come next, and how to act on some of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement

from app.bulk_actions import BulkActionRows, ItemError
from app.db import Pipe
from app.models import BulkAction


async def nothing_more() -> None:
    """Nobody has to be told."""


@dataclass(slots=True)
class Acted:
    """What one step did: how many items, which it could not, and whom to tell after the commit.

    ``until`` is the last item that was looked at, where that is not the last one that was handed in.
    """

    done: int = 0
    errors: list[ItemError] = field(default_factory=list[ItemError])
    until: UUID | None = None
    tell: Callable[[], Awaitable[None]] = nothing_more


class Work(Protocol):
    """One kind of bulk action."""

    size: int
    """How many items one step takes."""

    @property
    def ids(self) -> ColumnElement[Any]:
        """The column of the items' ids."""
        ...

    def chosen_ids(self, action: BulkAction) -> list[UUID] | None:
        """The items, where they were chosen by their ids."""
        ...

    def parts(self, action: BulkAction) -> list[list[ColumnElement[bool]]]:
        """What items meet that were chosen by a filter; each part has an index of its own."""
        ...

    def together(self, action: BulkAction) -> list[ColumnElement[bool]]:
        """The same in one, to count by."""
        ...

    async def before(self, pipe: Pipe, action: BulkAction) -> None:
        """Once, before it is fixed which items there are."""
        ...

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Act on some items, in the order of their ids, while the action is locked."""
        ...


async def next_items(rows: BulkActionRows, work: Work, action: BulkAction, limit: int) -> list[UUID]:
    """The next items after the action's position, the lowest ids first."""
    ids = work.chosen_ids(action)
    if ids is not None:
        return after(action, ids)[:limit]
    bounds = [work.ids <= action.ceiling]
    if action.position is not None:
        bounds.append(work.ids > action.position)
    parts = [[*part, *bounds] for part in work.parts(action)]
    return await rows.next_items(work.ids, parts, limit) if parts else []


def after(action: BulkAction, ids: Sequence[UUID]) -> list[UUID]:
    """Those of the items that are still before an action."""
    return [id for id in ids if action.position is None or id > action.position]


async def count(rows: BulkActionRows, work: Work, action: BulkAction) -> int:
    """How many items there are."""
    ids = work.chosen_ids(action)
    return len(ids) if ids is not None else await rows.count_items(work.ids, work.together(action))
