"""All SQL on saved searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from app import audit
from app.audit import Deed
from app.db import ReadSession, WriteSession
from app.models import SavedSearch, SavedSearchKind
from app.rows import detached

TABLE = SavedSearch.metadata.tables["saved_searches"]


class Searches:
    """Reads saved searches in one session."""

    def __init__(self, session: ReadSession | WriteSession) -> None:
        self._session = cast(Any, session)

    async def visible(self, viewer: str, kind: SavedSearchKind | None, limit: int) -> list[SavedSearch]:
        """A principal's own searches and those that others share, by name."""
        conditions: list[ColumnElement[bool]] = [or_(TABLE.c.owner == viewer, TABLE.c.is_shared)]
        if kind is not None:
            conditions.append(TABLE.c.kind == kind.value)
        statement = select(TABLE).where(*conditions).order_by(TABLE.c.name, TABLE.c.id).limit(limit)
        return [_search(row) for row in await self._session.exec(statement)]

    async def count(self, owner: str) -> int:
        """How many searches a principal owns."""
        rows = await self._session.exec(select(func.count()).select_from(TABLE).where(TABLE.c.owner == owner))
        return rows.scalar_one()

    async def get(self, search_id: UUID) -> SavedSearch | None:
        """One search, whoever owns it."""
        row = (await self._session.exec(select(TABLE).where(TABLE.c.id == search_id))).first()
        return None if row is None else _search(row)


class SearchWrites(Searches):
    """Changes saved searches in one session; only their owners' own."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def insert(self, values: Mapping[str, Any]) -> bool:
        """Store a new search; False when its owner has one of that name and kind, or its id is there already."""
        statement = insert(TABLE).values(dict(values)).on_conflict_do_nothing().returning(TABLE.c.id)
        return (await self._session.exec(statement)).first() is not None

    async def update(self, search_id: UUID, owner: str, values: Mapping[str, Any]) -> bool | None:
        """Change a search of an owner; None when there is none, False when the name is taken."""
        changed = {**values, "updated_at": func.now()}
        statement = TABLE.update().where(*_own(search_id, owner)).values(changed).returning(TABLE.c.id)
        try:
            async with self._session.begin_nested():
                return True if (await self._session.exec(statement)).first() is not None else None
        except IntegrityError as error:
            if "saved_searches_name" in str(error.orig):
                return False
            raise

    async def delete(self, search_id: UUID, owner: str) -> bool:
        """Delete a search of an owner; False when there is none."""
        statement = TABLE.delete().where(*_own(search_id, owner)).returning(TABLE.c.id)
        return (await self._session.exec(statement)).first() is not None

    async def add_event(self, deed: Deed) -> None:
        """Write down who did it."""
        await audit.record_in(self._session, deed)


def _own(search_id: UUID, owner: str) -> list[ColumnElement[bool]]:
    return [TABLE.c.id == search_id, TABLE.c.owner == owner]


def _search(row: Any) -> SavedSearch:
    return detached(SavedSearch, {**row._mapping, "kind": SavedSearchKind(row.kind)})
