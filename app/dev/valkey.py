"""A real Valkey for one checkout or one test session, reached through a Unix socket only."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from typing import TYPE_CHECKING

from app.dev.account import server_account
from app.dev.embedded import EmbeddedServer
from app.dev.leftover import end_leftovers
from app.dev.places import make_private, socket_directory
from app.dev.programs import find_valkey

if TYPE_CHECKING:
    from pathlib import Path

# Synced once a second: rings that a power cut takes are rung again from PostgreSQL, so more would only cost.
_DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")
_FLEETING = ("--appendonly", "no")


class EmbeddedValkey(EmbeddedServer):
    """A Valkey (or Redis) server."""

    name = "Valkey"
    _start_seconds = 30.0
    _stop_signals = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

    def __init__(self, home: Path, *, durable: bool) -> None:
        """Describe the server without starting it.

        Args:
            home: the directory for its data, log and socket; made when it is missing, found again when it is there.
            durable: whether its data survive the end of the process; False keeps them in memory only, for tests.
        """
        super().__init__(home, signal.SIGKILL)
        self._durable = durable

    @property
    def socket(self) -> Path:
        """The path of the Unix socket."""
        return self._sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """The URL of the server, as in ``unix:///path/valkey.sock``; redis-py and arq take it."""
        return f"unix://{self.socket}"

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
        await self._start_until_ready([str(program.path), *self._options()], account)

    def _options(self) -> list[str]:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        options += ["--dir", ".", "--pidfile", "pid", "--daemonize", "no", "--logfile", "", "--save", ""]
        return [*options, *(_DURABLE if self._durable else _FLEETING)]

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
