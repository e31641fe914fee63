"""Waiting for a database that is away, and asking it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.db import Database, is_disconnect

logger = logging.getLogger("taskloom.lifecycle")

Answer = TypeVar("Answer")
RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


async def insist(db: Database, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to a question that changes nothing, however often the connection is lost over it."""
    while True:
        await until_database_answers(db)
        try:
            return await ask()
        except Exception as error:
            if not is_disconnect(error):
                raise


async def until_database_answers(db: Database) -> None:
    """Return as soon as the database answers; says once that it is away."""
    attempt = 0
    while True:
        try:
            async with db.autocommit() as pipe:
                await pipe.fetchval("SELECT 1")
            return
        except Exception as error:
            if not is_disconnect(error):
                raise
            if attempt == 3:
                logger.warning("PostgreSQL is away (%s); waiting for it.", error)
            await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
            attempt += 1
