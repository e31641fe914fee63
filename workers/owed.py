"""Time that runs are owed: what they lost by others' doing, or may take for a hook, is added to their deadlines."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

Claims = Mapping[UUID, int]
"""Runs, and the claims under which they are executed."""
PutOff = Callable[[Claims, float], Awaitable[Claims]]
"""Puts the deadlines of claims off by seconds; gives those whose runs are locked just now."""

GIVE_BACK_SECONDS = 1.0
"""How often what is owed is given: soon enough, because a reaper acts 5 s after a deadline."""


class Owed:
    """Past its deadline others end an attempt. What cannot be given now, because the database is away or a run is
    being written, is owed still.
    """

    def __init__(self) -> None:
        self._debts: deque[tuple[Claims, float]] = deque()

    def owe(self, claims: Claims, seconds: float) -> None:
        """Owe so many seconds to each of the claims. May be called by any thread."""
        if claims:
            self._debts.append((claims, seconds))

    async def give_back(self, put_off: PutOff) -> None:
        """Give what is owed: ``put_off`` changes the deadlines. Called by one thread alone."""
        for _ in range(len(self._debts)):
            claims, seconds = self._debts[0]
            left = await put_off(claims, seconds)
            self._debts.popleft()
            self.owe(left, seconds)
