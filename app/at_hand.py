"""Connections to PostgreSQL that are at hand at once.

asyncpg's own pool takes a connection back in a task of its own, for which whoever gave it back waits: on an idle system
0.2 of the 4 ms from a trigger to the first line of its code, and that twice. All other connections come from that pool.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import asyncpg.exceptions

UNUSED_SECONDS = 300.0
"""How long a connection stays open without being used, as with asyncpg's pool."""
CLOSE_SECONDS = 5.0
"""How long it is waited for a statement to be called off, when its connection is given up."""


class AtHand:
    """Up to ``size`` connections; ``options`` are those of ``asyncpg.connect``. Who finds none free waits for one.

    One that is not used for ``unused_seconds`` is closed.
    """

    def __init__(self, size: int, *, unused_seconds: float = UNUSED_SECONDS, **options: Any) -> None:
        self._options = options
        self._unused_seconds = unused_seconds
        self._places = asyncio.Semaphore(size)
        self._open: set[Any] = set()
        self._unused: list[tuple[Any, asyncio.TimerHandle]] = []

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Any, None]:
        """A connection for a block. It is kept for the next one, unless an error leaves its state in doubt.

        Raises the driver's errors as they are.
        """
        async with self._places:
            connection = self._take() or await self._connect()
            try:
                yield connection
            except asyncpg.exceptions.PostgresError:
                # An answer like any other; where there was a transaction, it has been rolled back.
                self._keep(connection)
                raise
            except BaseException:
                # A statement may be under way: closing calls it off.
                with contextlib.suppress(Exception):
                    await asyncio.shield(connection.close(timeout=CLOSE_SECONDS))
                raise
            self._keep(connection)

    def terminate(self) -> None:
        """Close all of them at once, also those in use."""
        for connection in tuple(self._open):
            connection.terminate()

    def _take(self) -> Any:
        """The connection that was used last and is still open; None when there is none."""
        while self._unused:
            connection, expiry = self._unused.pop()
            expiry.cancel()
            if not connection.is_closed():
                return connection
        return None

    def _keep(self, connection: Any) -> None:
        expiry = asyncio.get_running_loop().call_later(self._unused_seconds, connection.terminate)
        self._unused.append((connection, expiry))

    async def _connect(self) -> Any:
        connect = cast(Any, asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        connection = await connect(**self._options)
        self._open.add(connection)
        connection.add_termination_listener(self._open.discard)
        return connection
