"""Whether the database answers just now: for any number of probes, which share one look at it.

A database that is frozen, or away without a word, lets a question hang. Probes that each asked by themselves would hang
with it, and take one connection after the other from the requests.
"""

from __future__ import annotations

import asyncio

from app.db import Database, complaint, refusal

ANSWER_SECONDS = 0.7
"""How long a probe is kept waiting: Kubernetes gives up after a second."""
LOOK_SECONDS = 2.0
"""How long one look may take; the connection of one that was given up is closed, and the next look opens another."""


class Readiness:
    """Looks whether PostgreSQL answers, over one connection at the most."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._look: asyncio.Task[str | None] | None = None

    async def trouble(self) -> str | None:
        """Why PostgreSQL cannot be used just now, known within ``ANSWER_SECONDS``; None when it can."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._ask())
        look = self._look
        await asyncio.wait({look}, timeout=ANSWER_SECONDS)
        return look.result() if look.done() else f"PostgreSQL did not answer within {ANSWER_SECONDS} s."

    async def _ask(self) -> str | None:
        try:
            # Not from the pool of the requests, which may be busy with long lists in a server that is well.
            async with asyncio.timeout(LOOK_SECONDS), self._db.autocommit(by_keys=True) as pipe:
                await pipe.fetchval("SELECT 1")
        except TimeoutError:
            return f"PostgreSQL did not answer within {LOOK_SECONDS} s."
        except Exception as error:
            if said := refusal(error):
                return f"PostgreSQL refuses the connection: {said}."
            return f"PostgreSQL does not answer: {complaint(error) or error}."
        return None
