"""Keeping services running: whatever ends without having been asked to is started again, less and less eagerly."""

from __future__ import annotations

import asyncio
import signal

from app.dev.console import Console
from app.dev.errors import DevError
from app.dev.service import Service

FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 15.0
# One that ran this long was well: its next restart is quick again.
WELL_SECONDS = 60.0


class Keeper:
    """Watches services and starts them again until it is stopped itself."""

    def __init__(self, console: Console) -> None:
        """Watch nothing yet; what happens is said on the console."""
        self._console = console
        self._watches: list[asyncio.Task[None]] = []

    def keep(self, service: Service) -> None:
        """Start the service again whenever it ends from now on."""
        self._watches.append(asyncio.create_task(self._watch(service)))

    async def stop(self) -> None:
        """Let every service end from now on."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def _watch(self, service: Service) -> None:
        pause = FIRST_PAUSE_SECONDS
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            code = await service.wait()
            pause = FIRST_PAUSE_SECONDS if clock() - began > WELL_SECONDS else pause
            self._console.say("taskloom", f"{service.name} ended ({how(code)}); it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)
            await self._restart(service)

    async def _restart(self, service: Service) -> None:
        try:
            await service.start()
        except DevError as error:
            self._console.problem(str(error))
        else:
            self._console.say("taskloom", f"{service.name} runs again")


def how(code: int) -> str:
    """How a process ended, in words: ``exit code 1`` or ``SIGKILL``."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
