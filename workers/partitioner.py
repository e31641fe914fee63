"""The partitioner: sees to it that there are partitions for the logs and iterations of the coming weeks."""

from __future__ import annotations

import logging

import asyncpg

from app.db import Database
from app.partitions import BUSY, Partitions, Span

logger = logging.getLogger("taskloom.partitions")

LOOK_SECONDS = 3600.0


class Partitioner:
    """Any number may run at once. Without a partition of its own, a week goes into the default one: nothing fails."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def run_once(self) -> bool:
        """Make what is missing. Returns that there is no more to do for now."""
        async with self._db.autocommit() as pipe:
            spans = await Partitions(pipe).missing(await pipe.fetchval("SELECT now()"))
        for span in spans:
            # No later week is made before this one, since nobody goes back to a week that lies before the last.
            if not await self._make(span):
                break
        return False

    async def _make(self, span: Span) -> bool:
        """Make the partitions of a week; returns whether that is decided, so that the next week may follow.

        Undecided is what somebody else is at, or whose tables are in use: there is time until the week begins.
        """
        try:
            async with self._db.pipe() as pipe:
                return await Partitions(pipe).make(span)
        except asyncpg.CheckViolationError:
            logger.info("Runs of week %s are in the default partition already, and stay there.", span.suffix)
            return True
        except (*BUSY, asyncpg.DuplicateTableError):
            return False
