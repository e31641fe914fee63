"""What the embedded servers have in common: how each is stopped, killed, started again and waited for."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from app.dev.daemon import Daemon
from app.dev.errors import DevError
from app.dev.places import remove_socket_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.dev.account import Account


class EmbeddedServer(ABC):
    """A server that ends when the process that started it ends; start it from the main thread."""

    name: str
    """What messages call it."""
    _start_seconds: float
    _stop_signals: Sequence[tuple[signal.Signals, float]]
    """What it is stopped by, one after the other, each with the seconds that it has to heed it."""

    def __init__(self, home: Path, death_signal: signal.Signals) -> None:
        self.home = home
        self._daemon = Daemon(self.name, home / "log", death_signal)
        self._sockets = home

    @property
    def running(self) -> bool:
        """Whether the server process runs."""
        return self._daemon.running

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None when it does not run."""
        return self._daemon.pid

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    async def start(self) -> None:
        """Start the server and return once it answers; a running one is left as it is. Raises ``DevError``."""

    async def stop(self) -> None:
        """Stop the server cleanly; connections are closed. Does nothing when it does not run."""
        await self._daemon.stop(self._stop_signals)
        remove_socket_directory(self._sockets, self.home)

    async def restart(self) -> None:
        """Stop the server cleanly and start it again on the same files and the same URL."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; ``start`` brings it back."""
        self._daemon.send(signal.SIGKILL)
        await self._daemon.wait()

    async def wait(self) -> int:
        """Wait until the server process has ended, for whatever reason; returns its exit code."""
        return await self._daemon.wait()

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it takes connections."""

    async def _start_until_ready(self, command: Sequence[str], account: Account | None) -> None:
        await self._daemon.spawn(command, account)
        if not await self._becomes_ready():
            await self.stop()
            raise DevError(
                f"{self.name} did not start; the end of {self._daemon.log} says:\n{self._daemon.last_words()}"
            )

    async def _becomes_ready(self) -> bool:
        deadline = asyncio.get_running_loop().time() + self._start_seconds
        while self.running and asyncio.get_running_loop().time() < deadline:
            if await self._answers():
                return True
            await asyncio.sleep(0.02)
        return False
