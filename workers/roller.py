"""The roller: counts final runs into the rollups that statistics are read from, some seconds behind the runs."""

from __future__ import annotations

from app.db import Database
from app.rollups import Rollups

LOOK_SECONDS = 5.0
FORGET_SECONDS = 3600.0


class Roller:
    """Any number may run at once; one at a time counts."""

    def __init__(self, db: Database) -> None:
        self._rollups = Rollups(db)

    async def run_once(self) -> bool:
        """Count the next runs. Returns whether there may be more to count at once."""
        return await self._rollups.catch_up()

    async def forget(self) -> bool:
        """Delete fine rollups that are old. Returns whether there may be more to delete at once."""
        return await self._rollups.forget()
