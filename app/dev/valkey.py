"""A real Valkey for one checkout or one test session, reached through a Unix socket only."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from typing import TYPE_CHECKING

from app.dev.account import server_account
from app.dev.daemon import Daemon
from app.dev.errors import DevError
from app.dev.leftover import end_leftovers
from app.dev.places import make_private, remove_socket_directory, socket_directory
from app.dev.programs import find_valkey

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 30.0
_STOP_SIGNALS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
# Synced once a second: rings that a power cut takes are rung again from PostgreSQL, so more would only cost.
_DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")
_FLEETING = ("--appendonly", "no")


class EmbeddedValkey:
    """A Valkey (or Redis) server. It ends when the process that started it ends; start it from the main thread."""

    def __init__(self, home: Path, *, durable: bool) -> None:
        """Describe the server without starting it.

        Args:
            home: the directory for its data, log and socket; made when it is missing, found again when it is there.
            durable: whether its data survive the end of the process; False keeps them in memory only, for tests.
        """
        self.name = "Valkey"
        self.home = home
        self._durable = durable
        self._daemon = Daemon(self.name, home / "log", signal.SIGKILL)
        self._sockets = home

    @property
    def socket(self) -> Path:
        """The path of the Unix socket."""
        return self._sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """The URL of the server, as in ``unix:///path/valkey.sock``; redis-py and arq take it."""
        return f"unix://{self.socket}"

    @property
    def running(self) -> bool:
        """Whether the server process runs."""
        return self._daemon.running

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None when it does not run."""
        return self._daemon.pid

    async def start(self) -> None:
        """Start the server and return once it answers; a running one is left as it is.

        Raises:
            DevError: no Valkey or Redis was found, or it did not start; the message holds the end of its log.
        """
        if self.running:
            return
        account = server_account(self.home)
        make_private(self.home, account)
        program = find_valkey().for_account(account, self.home.parent / "programs")
        self._sockets = socket_directory(self.home, "valkey.sock", account)
        await end_leftovers(self.home.resolve(), "-server", self.home / "pid")
        await self._daemon.spawn([str(program.path), *self._options()], account)
        if not await self._becomes_ready():
            await self.stop()
            raise DevError(f"Valkey did not start; the end of {self._daemon.log} says:\n{self._daemon.last_words()}")

    async def stop(self) -> None:
        """Stop the server cleanly. Does nothing when it does not run."""
        await self._daemon.stop(_STOP_SIGNALS)
        remove_socket_directory(self._sockets, self.home)

    async def restart(self) -> None:
        """Stop the server and start it again on the same URL; its data are there again when it is durable."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; ``start`` brings it back."""
        self._daemon.send(signal.SIGKILL)
        await self._daemon.wait()

    async def wait(self) -> int:
        """Wait until the server process has ended, for whatever reason; returns its exit code."""
        return await self._daemon.wait()

    def _options(self) -> list[str]:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        options += ["--dir", ".", "--pidfile", "pid", "--daemonize", "no", "--logfile", "", "--save", ""]
        return [*options, *(_DURABLE if self._durable else _FLEETING)]

    async def _becomes_ready(self) -> bool:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while self.running and asyncio.get_running_loop().time() < deadline:
            if await self._answers():
                return True
            await asyncio.sleep(0.02)
        return False

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        with closing(writer):
            writer.write(b"PING\r\n")
            try:
                return (await asyncio.wait_for(reader.readline(), 5)).startswith(b"+PONG")
            except (OSError, TimeoutError):
                return False
