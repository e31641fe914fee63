"""A client of Redis that waits for no answer for long: one that hangs is treated like one that is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

ANSWER_SECONDS = 3.0
"""How long an answer may take, connecting included. Longer than the longest command, by which a worker listens 1 s."""
STUCK_SECONDS = 0.5
"""By so much too late the end of the time is noticed when the event loop was stuck."""


class PatientRedis(Redis):
    """Raises ``redis.exceptions.TimeoutError`` when a command is not answered within ``ANSWER_SECONDS``.

    For as long after that it refuses every command at once: what goes on without Redis, as all does, must not wait for
    one that hangs again and again, while what is to be told piles up.

    An event loop that was stuck meanwhile may not have read the answer yet: then there is as much time once more.

    Not ``socket_timeout``, by which redis-py waits for each part of an answer, and hands what it sends to a task of its
    own. Giving up closes the connection (redis-py does that whenever a command is cancelled), so that an answer which
    comes late is not taken for the one to the next command.
    """

    _refuses_until = 0.0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer; every method for a command comes here."""
        if time.monotonic() < self._refuses_until:
            raise RedisTimeoutError("there was no answer a moment ago")
        execute = cast(Any, super().execute_command)  # pyright: ignore[reportUnknownMemberType]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as deadline:
                asked = loop.call_later(ANSWER_SECONDS, _end, deadline, loop.time() + ANSWER_SECONDS)
                try:
                    return await execute(*args, **options)
                finally:
                    asked.cancel()
        except (TimeoutError, RedisTimeoutError) as error:
            self._refuses_until = time.monotonic() + ANSWER_SECONDS
            raise RedisTimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from error


def _end(deadline: asyncio.Timeout, due: float) -> None:
    now = asyncio.get_running_loop().time()
    deadline.reschedule(now + ANSWER_SECONDS if now - due > STUCK_SECONDS else now)
