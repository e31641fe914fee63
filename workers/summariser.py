"""The summariser: what lists of saved tasks show of their runs, and groups of errors, follow by a second or two."""

from __future__ import annotations

from app.db import Database
from app.error_grouping import BATCH, ErrorGrouping
from app.summaries import Summaries

LOOK_SECONDS = 1.0


class Summariser:
    """Any number may run at once; one at a time does the work."""

    def __init__(self, db: Database) -> None:
        self._summaries = Summaries(db)
        self._grouping = ErrorGrouping(db)

    async def run_once(self) -> bool:
        """Take in what changed. Returns whether there may be more to do at once."""
        await self._summaries.catch_up()
        return await self._grouping.catch_up() >= BATCH
