"""The dispatcher: what has become due is queued and rung, and rings that Redis lost are made up for."""

from __future__ import annotations

from app.lifecycle import BATCH, Lifecycle


class Dispatcher:
    """Any number may run at once; rows are locked by the statements."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def run_once(self) -> bool:
        """Dispatch one batch. Returns whether there may be more to do at once."""
        moved = await self._lifecycle.dispatch()
        await self._lifecycle.look_for_room()
        return moved >= BATCH

    async def ring_lost(self) -> bool:
        """Make up for lost rings, apart from the rest because Redis may hang. Returns whether there may be more."""
        return await self._lifecycle.ring_lost() >= BATCH
