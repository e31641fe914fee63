"""What is read once for several fields of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def shared(reading: Awaitable[Result]) -> Result:
    """What a future gives that others may wait for too.

    An error in one field ends the fields beside it: that must not end the reading, which would break all who wait.
    """
    future = asyncio.ensure_future(reading)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_look_at)
        raise


def _look_at(future: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is no unhandled one."""
    if not future.cancelled():
        future.exception()
