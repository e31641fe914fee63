"""The dispatcher: what has become due is queued and rung, and rings that Redis lost are made up for."""

from __future__ import annotations

from app.lifecycle import BATCH, Lifecycle
from workers.runner import Runner


class Dispatcher:
    """Any number may run at once; rows are locked by the statements."""

    def __init__(self, lifecycle: Lifecycle, runner: Runner) -> None:
        self._lifecycle = lifecycle
        self._runner = runner
        self._lost: set[str] = set()

    async def run_once(self) -> bool:
        """Dispatch one batch. Returns whether there may be more to do at once."""
        moved = await self._lifecycle.dispatch()
        await self._lifecycle.look_for_room()
        return moved >= BATCH

    async def ring_lost(self) -> bool:
        """Make up for lost rings, apart from the rest because Redis may hang. Returns whether there may be more.

        What is lost again the worker looks for in PostgreSQL: a Redis that is full takes no rings, and workers that
        have not the code of a definition, as in a deploy, take its rings away.
        """
        lost = {ring.job_id for ring in await self._lifecycle.ring_lost()}
        if lost & self._lost:
            self._runner.has_overlooked = True
        self._lost = lost
        return len(lost) >= BATCH
