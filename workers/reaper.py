"""The reaper: runs whose worker is gone, or failed to end them in time, are put back or ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.lifecycle import BATCH, Lifecycle

if TYPE_CHECKING:
    from workers.runner import Runner


class Reaper:
    """Any number may run at once; each statement re-checks what it acts upon."""

    def __init__(self, lifecycle: Lifecycle, runner: Runner) -> None:
        self._lifecycle = lifecycle
        self._runner = runner

    async def run_once(self) -> bool:
        """Reap one batch; give back what is held here and not executed, and stop what is executed and not held.

        Returns whether there may be more to do at once.
        """
        moved = await self._lifecycle.reap()
        executed = self._runner.claims
        moved += await self._lifecycle.disown(tuple(executed))
        self._runner.lose(await self._lifecycle.not_held(executed))
        return moved >= BATCH
