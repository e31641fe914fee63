"""``tasks.searches``: filters that people keep under a name, for themselves or for all."""

from __future__ import annotations

import builtins
from typing import Any
from uuid import UUID

import orjson

from app.audit import Deed
from app.auth import Principal
from app.db import Database
from app.errors import InvalidArgument
from app.ids import new_id, parse_id
from app.models import SavedSearch, SavedSearchKind
from app.searches import Searches, SearchWrites
from app.service import arguments
from app.service.declared import as_declared
from app.service.requests import UNSET, Unset
from app.task_errors import SavedSearchNameTaken, SavedSearchNotFound

MAX_FILTER_BYTES = 20_000
MAX_OWN = 500
MAX_LISTED = 1_000


@as_declared
class SavedSearches:
    """Saved searches: create, change, delete and list them. A filter is the JSON of GraphQL's own filter input.

    Whoever lists them sees their own and those that others share; only its owner changes a search.
    """

    def __init__(self, db: Database, principal: Principal) -> None:
        self._db = db
        self._principal = principal

    async def list(
        self, kind: SavedSearchKind | None = None, *, principal: Principal | None = None
    ) -> builtins.list[SavedSearch]:
        """A principal's own searches and those that others share, by name, up to a thousand.

        Args:
            kind: only those for tasks, or only those for runs.
            principal: who asks; by default the service's own.

        Example:
            names = [search.name for search in await tasks.searches.list(SavedSearchKind.RUNS)]
        """
        async with self._db.read() as session:
            return await Searches(session).visible(arguments.author(principal or self._principal), kind, MAX_LISTED)

    async def create(
        self,
        name: str,
        kind: SavedSearchKind,
        filter: dict[str, Any],
        *,
        is_shared: bool = False,
        principal: Principal | None = None,
    ) -> SavedSearch:
        """Keep a filter under a name.

        Args:
            name: 1 to 200 characters, unique among the owner's searches of a kind.
            kind: what it looks for.
            filter: a JSON object of at most 20,000 bytes. An edge checks that it is a filter of its own.
            is_shared: whether others see it.
            principal: whose it is; by default the service's own.

        Raises:
            InvalidArgument (also beyond 500 searches of one owner), SavedSearchNameTaken, ServiceUnavailable.

        Example:
            search = await tasks.searches.create("Failed", SavedSearchKind.RUNS, {"statuses": ["FAILED"]})
        """
        owner, id = arguments.author(principal or self._principal), new_id()
        _check(name, filter)
        values = {"id": id, "name": name, "kind": kind.value, "filter": filter, "is_shared": is_shared, "owner": owner}
        async with self._db.write() as session:
            writes = SearchWrites(session)
            if await writes.count(owner) >= MAX_OWN:
                raise InvalidArgument(f"You have {MAX_OWN} saved searches, which is the most. Delete one first.")
            if not await writes.insert(values):
                raise SavedSearchNameTaken(name)
            await writes.add_event(_deed("createSavedSearch", owner, id, name=name, kind=kind, isShared=is_shared))
        return await self._get(id)

    async def update(
        self,
        search_id: UUID | str,
        *,
        name: str | Unset = UNSET,
        filter: dict[str, Any] | Unset = UNSET,
        is_shared: bool | Unset = UNSET,
        principal: Principal | None = None,
    ) -> SavedSearch:
        """Change a search of one's own; what is not given stays.

        Raises:
            SavedSearchNotFound (also for somebody else's), SavedSearchNameTaken, InvalidArgument.

        Example:
            search = await tasks.searches.update(search.id, is_shared=True)
        """
        id = _uuid(search_id)
        _check(name, filter)
        given = {"name": name, "filter": filter, "is_shared": is_shared}
        values = {field: value for field, value in given.items() if value is not UNSET}
        owner = arguments.author(principal or self._principal)
        async with self._db.write() as session:
            writes = SearchWrites(session)
            changed = await writes.update(id, owner, values)
            if changed is None:
                raise SavedSearchNotFound(search_id)
            if not changed:
                raise SavedSearchNameTaken(str(name))
            await writes.add_event(_deed("updateSavedSearch", owner, id, fields=sorted(values)))
        return await self._get(id)

    async def delete(self, search_id: UUID | str, *, principal: Principal | None = None) -> UUID:
        """Delete a search of one's own; returns its id. Raises ``SavedSearchNotFound``.

        Example:
            await tasks.searches.delete(search.id)
        """
        id = _uuid(search_id)
        owner = arguments.author(principal or self._principal)
        async with self._db.write() as session:
            writes = SearchWrites(session)
            if not await writes.delete(id, owner):
                raise SavedSearchNotFound(search_id)
            await writes.add_event(_deed("deleteSavedSearch", owner, id))
        return id

    async def get(self, search_id: UUID | str, *, principal: Principal | None = None) -> SavedSearch:
        """A search that is one's own or shared. Raises ``SavedSearchNotFound``.

        Example:
            filter = (await tasks.searches.get(search.id)).filter
        """
        found = await self._get(_uuid(search_id))
        if not (found.is_shared or found.owner == arguments.author(principal or self._principal)):
            raise SavedSearchNotFound(search_id)
        return found

    async def _get(self, search_id: UUID) -> SavedSearch:
        async with self._db.read() as session:
            found = await Searches(session).get(search_id)
        if found is None:
            raise SavedSearchNotFound(search_id)
        return found


def _deed(action: str, owner: str, search_id: UUID, **details: Any) -> Deed:
    return Deed(
        principal=owner, action=action, subject_kind="saved search", subject_id=search_id, details=details or None
    )


def _check(name: str | Unset, filter: dict[str, Any] | Unset) -> None:
    if name is not UNSET:
        arguments.text(name, "name", arguments.MAX_NAME)
    if filter is not UNSET:
        require_storable(filter)


def require_storable(filter: Any) -> None:
    """Refuse what is no filter to be stored, whatever it looks for. Raises ``InvalidArgument``."""
    try:
        text = orjson.dumps(filter)
    except TypeError as error:
        raise InvalidArgument(f"'filter' is not JSON: {error}.", path=("input", "filter")) from None
    if not isinstance(filter, dict) or len(text) > MAX_FILTER_BYTES or b"\\u0000" in text:
        raise InvalidArgument(
            f"'filter' must be an object of at most {MAX_FILTER_BYTES} bytes as JSON, without NUL characters.",
            path=("input", "filter"),
        )


def _uuid(search_id: UUID | str) -> UUID:
    found = parse_id(search_id)
    if found is None:
        raise SavedSearchNotFound(search_id)
    return found
