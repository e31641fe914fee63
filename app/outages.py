"""Waiting for a database that is away, and asking it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from app.db import IN_TROUBLE, Database, complaint, is_disconnect, refusal

logger = logging.getLogger("taskloom.lifecycle")

Answer = TypeVar("Answer")
RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
TELL_ATTEMPT = 3


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
    for attempt in count():
        try:
            async with db.autocommit() as pipe:
                await pipe.fetchval("SELECT 1")
            return
        except Exception as error:
            if not is_disconnect(error):
                raise
            await pause(attempt, error)


async def pause(attempt: int, error: Exception) -> None:
    """Leave the database in peace for a moment, longer each time; says once that it is away or in trouble."""
    if attempt == TELL_ATTEMPT:
        logger.warning("PostgreSQL %s; waiting for it.", _trouble(error))
    await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])


def _trouble(error: Exception) -> str:
    if said := refusal(error):
        return f"refuses the connection ({said}), and DATABASE_URL says where and as whom"
    if isinstance(error, IN_TROUBLE):
        return f"cannot write ({error})"
    return f"is away ({complaint(error) or str(error) or type(error).__name__})"
