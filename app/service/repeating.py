"""What is repeated while the connection is lost over it: writes for as long as a caller waits, for runs without end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg.exceptions

from app.db import is_disconnect
from app.errors import ServiceUnavailable

logger = logging.getLogger("taskloom.service")

Answer = TypeVar("Answer")
Pause = Callable[[], Awaitable[None]]
"""What whoever can wait does before it asks again; raises where it is not to wait any longer."""
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
TRY_SECONDS = 15.0
"""How long one try may take: then its connection has gone silent, and the next try gets another one."""
GIVE_UP_SECONDS = 30.0
"""After this time nothing is tried again, because a caller waits for the answer."""
REPEATABLE = (
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.SerializationError,
    # What was taken for new is there.
    asyncpg.exceptions.UniqueViolationError,
)


async def repeat(work: Callable[[bool], Awaitable[Answer]], unknown: str) -> Answer:
    """What comes of ``work``, which is told whether an earlier try of it may have been committed.

    It is tried again while the connection is lost over it. Raises ``ServiceUnavailable`` with the sentence ``unknown``
    when that was in vain for too long.
    """
    given_up_at = time.monotonic() + GIVE_UP_SECONDS
    repeated = False
    for seconds in (*RETRY_SECONDS, None):
        try:
            async with asyncio.timeout(TRY_SECONDS):
                return await work(repeated)
        except Exception as error:
            if not (is_disconnect(error) or isinstance(error, (ServiceUnavailable, *REPEATABLE))):
                raise
            if seconds is None or time.monotonic() > given_up_at:
                raise ServiceUnavailable(unknown) from error
            logger.info("Writing again, because: %s", error or type(error).__name__)
            repeated = True
            await asyncio.sleep(seconds)
    raise AssertionError("the last round returns or raises")


async def outlast(ask: Callable[[], Awaitable[Answer]], pause: Pause | None) -> Answer:
    """What comes of something that may be asked twice, asked again after each ``pause`` while the database is away.

    Without a pause it raises ``ServiceUnavailable`` as it comes.
    """
    while True:
        try:
            return await ask()
        except ServiceUnavailable:
            if pause is None:
                raise
        await pause()
