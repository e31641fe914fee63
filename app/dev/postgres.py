"""A real PostgreSQL for one checkout or one test session, reached through a Unix socket only."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from app.dev.account import Account, server_account
from app.dev.daemon import server_environment
from app.dev.embedded import EmbeddedServer
from app.dev.errors import DevError
from app.dev.leftover import end_leftovers
from app.dev.lifeline import tied_to_parent
from app.dev.places import make_private, socket_directory
from app.dev.programs import Program, find_postgres, postgres_major

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
# A commit is still written to the system before it is answered, so it survives a kill of the server, which tests do.
_FLEETING = {"fsync": "off", "full_page_writes": "off"}

DATABASE = "taskloom"
"""The database that is created when it is missing."""


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with one database, superuser ``postgres`` and pg_trgm at hand."""

    name = "PostgreSQL"
    _start_seconds = 60.0
    # Fast shutdown first, then the immediate one, which the next start recovers from.
    _stop_signals = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    def __init__(self, home: Path, *, durable: bool) -> None:
        """Describe the server without starting it.

        Args:
            home: the directory for its data, log and socket; made when it is missing, found again when it is there.
            durable: whether committed data survive a crash of the machine; False is faster, for tests, and still
                survives ``kill``.
        """
        super().__init__(home, signal.SIGINT)
        self._durable = durable
        self._data = home / "data"

    @property
    def url(self) -> str:
        """The URL of the database, as in ``postgresql://postgres@/taskloom?host=/path/to/directory&port=5432``."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of another database on this server."""
        return f"postgresql://postgres@/{database}?host={self._sockets}&port=5432"

    async def start(self) -> None:
        """Start the server, creating its files at first, and return once the database takes connections.

        A running server is left as it is.

        Raises:
            DevError: no PostgreSQL was found, or it did not start; the message holds the end of its log.
        """
        if self.running:
            return
        account = server_account(self.home)
        make_private(self.home, account)
        program = find_postgres().for_account(account, self.home.parent / "programs")
        self._sockets = socket_directory(self.home, ".s.PGSQL.5432", account)
        await self._create_files(program, account)
        await self._clear_leftovers()
        await self._start_until_ready(self._command(program), account)

    async def _create_files(self, program: Program, account: Account | None) -> None:
        if self._data.exists():
            self._check_version(program)
            return
        part = self.home / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        await self._initdb(program, account, part)
        # Renamed at the end, so that an interrupted initdb is never taken for a database.
        part.rename(self._data)

    def _check_version(self, program: Program) -> None:
        ours, theirs = (self._data / "PG_VERSION").read_text().strip(), postgres_major(program.path)
        if ours != str(theirs):
            raise DevError(
                f"The data in {self._data} were written by PostgreSQL {ours} and the one at hand is {theirs}: "
                f"set PG_BIN_DIR to a PostgreSQL {ours}, or remove {self.home} to begin anew."
            )

    async def _initdb(self, program: Program, account: Account | None, target: Path) -> None:
        command = [str(program.path.with_name("initdb")), "--pgdata", str(target), "--username=postgres"]
        command += ["--encoding=UTF8", "--auth-local=trust", "--auth-host=reject", *_locale(program)]
        process = await asyncio.create_subprocess_exec(
            *command,
            *([] if self._durable else ["--no-sync"]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.home,
            env=server_environment(),
            start_new_session=True,
            preexec_fn=tied_to_parent(signal.SIGKILL, account),
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise DevError(f"PostgreSQL could not create its files in {target}:\n{output.decode(errors='replace')}")

    async def _clear_leftovers(self) -> None:
        await end_leftovers(self._data.resolve(), "postgres", self._data / "postmaster.pid")
        for path in self._sockets.glob(".s.PGSQL.*"):
            path.unlink(missing_ok=True)

    def _command(self, program: Program) -> list[str]:
        settings = {**_SETTINGS, **(_DURABLE if self._durable else _FLEETING)}
        settings["unix_socket_directories"] = str(self._sockets)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(program.path), "-D", str(self._data), "-p", "5432", *options]

    async def _answers(self) -> bool:
        try:
            await self._ensure_database()
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            return False
        return True

    async def _ensure_database(self) -> None:
        connect = cast(Any, asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        connection: Any = await connect(self.url_of("postgres"), timeout=10)
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()


def _locale(program: Program) -> list[str]:
    if postgres_major(program.path) >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8"]
