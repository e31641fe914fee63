"""Counts of the lists below runs and definitions: for many parents by one statement, each counted up to a limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import run_filters
from app.db import Database
from app.logs import LOGS, LogFilter, all_iterations, log_conditions
from app.run_filters import RunFilter
from app.windows import count_each


class Counts:
    """Counts what lists hold; any number above ``limit`` means that counting stopped there."""

    def __init__(self, db: Database, limit: int) -> None:
        self._db = db
        self.limit = limit

    async def runs(self, column: str, values: Collection[Any], filter: RunFilter | None = None) -> dict[Any, int]:
        """How many runs there are for each value of a column, as in the children of each parent."""
        return await self._each(run_filters.TABLE.c[column], values, run_filters.conditions(filter))

    async def logs(self, run_ids: Collection[UUID], filter: LogFilter) -> dict[UUID, int]:
        """How many lines of each run's log fit."""
        return await self._each(LOGS.c.run_id, run_ids, log_conditions(filter))

    async def iterations(self, run_ids: Collection[UUID]) -> dict[UUID, int]:
        """How many attempts at iterations each run had, the one under way included."""
        return await self._each(all_iterations().subquery().c.run_id, run_ids, [])

    async def _each(
        self, column: ColumnElement[Any], values: Collection[Any], conditions: Sequence[ColumnElement[bool]]
    ) -> dict[Any, int]:
        async with self._db.read() as session:
            return await count_each(session, column, values, conditions, self.limit)
