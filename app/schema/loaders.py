"""The loaders of one answer: what many objects of it need is read together, once.

All objects at the same place in a query (as in "the children of each run of this list") have the same arguments and
selected fields, so each place has one loader, whose keys are just ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from strawberry.dataloader import DataLoader

from app.models import TaskDefinition
from app.nested import Counts
from app.schema.context import Info
from app.schema.sharing import shared
from app.service import TaskService

Read: TypeAlias = "Callable[[list[Any]], Awaitable[Mapping[Any, Any]]]"
"""Reads many by id, and gives those that exist."""
Place: TypeAlias = "tuple[tuple[str | None, str | int], ...]"


class Loaders:
    """The loaders of one operation, or of one event of a subscription."""

    def __init__(self, service: TaskService, counts: Counts) -> None:
        self._service = service
        self._places: dict[Place, DataLoader[Any, Any]] = {}
        self._available: asyncio.Future[set[str]] | None = None
        self.counts = counts

    async def definition(self, id: str) -> TaskDefinition | None:
        """A definition's row; all that one answer needs are read together, wherever they stand."""
        return await self.shared("definitions", id, self._service.find_definitions)

    async def available(self) -> set[str]:
        """The ids of the definitions that a live worker serves, read once."""
        if self._available is None:
            self._available = asyncio.ensure_future(self._service.available_definitions())
        return await shared(self._available)

    async def at(self, info: Info, id: Any, prepare: Callable[[], Read], part: str = "") -> Any:
        """What ``read(ids)`` gives for an id, read together with all others at this place in the query.

        ``prepare`` makes the ``read`` of the place and is called once; ``part`` tells two reads at one place apart.
        """
        return await self._load((*place_of(info), (None, part)), id, prepare)

    async def shared(self, name: str, id: Any, read: Read) -> Any:
        """What ``read(ids)`` gives for an id, read once for all fields of an answer that ask for it by this name."""
        return await self._load(((None, name),), id, lambda: read)

    async def _load(self, place: Place, id: Any, prepare: Callable[[], Read]) -> Any:
        if place not in self._places:
            self._places[place] = loader(prepare())
        return await shared(self._places[place].load(id))


def loader(read: Read) -> DataLoader[Any, Any]:
    """A loader over a read of many; what does not exist is None."""

    async def load(ids: list[Any]) -> list[Any]:
        found = await read(ids)
        return [found.get(id) for id in ids]

    return DataLoader(load_fn=load)


def place_of(info: Info) -> Place:
    """The field's place in the query: its path with the types on the way, and without the numbers of list items."""
    steps: list[tuple[str | None, str | int]] = []
    path = info.path
    while path:
        if isinstance(path.key, str):
            steps.append((path.typename, path.key))
        path = path.prev
    return tuple(steps)
