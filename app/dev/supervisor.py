"""Everything that ``taskloom dev`` runs, started step by step, kept running, and stopped in order.

The order of stopping is that of starting turned round: the worker first, which gets its time to drain, then the
server, then the databases. Nothing outlives the supervisor: the kernel ends its children even after a SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

from app.dev.checkout_lock import only_one
from app.dev.console import Console
from app.dev.embedded import EmbeddedServer
from app.dev.errors import DevError
from app.dev.http_probe import free_port, until_healthy
from app.dev.keeper import Keeper
from app.dev.options import DevOptions
from app.dev.places import state_directory
from app.dev.postgres import EmbeddedPostgres
from app.dev.service import ChildService, Service
from app.dev.valkey import EmbeddedValkey
from app.settings import Settings

SERVER_STOP_SECONDS = 15.0
GRAPHIQL_STOP_SECONDS = 2.0
SERVER_START_SECONDS = 60.0
# What a worker may take beyond its drain time to write down what it let go.
WORKER_STOP_EXTRA_SECONDS = 10.0


def run_dev(settings: Settings, options: DevOptions | None = None) -> int:
    """Run databases, server and worker until SIGINT or SIGTERM; a second signal stops without waiting.

    Args:
        settings: host and port of the server, and the drain time of the worker.
        options: what to run instead of Taskloom's own server and worker.

    Returns:
        The exit code: 0 after a stop that was asked for, 1 when something could not be started.
    """
    console = Console()
    try:
        asyncio.run(Supervisor(settings, options or DevOptions(), console).run())
    except DevError as error:
        console.problem(str(error))
        return 1
    return 0


class Supervisor:
    """Starts the services of one checkout and keeps them running until it is asked to stop."""

    def __init__(self, settings: Settings, options: DevOptions, console: Console) -> None:
        """Prepare without starting anything."""
        self._settings = settings
        self._options = options
        self._console = console
        self._stop_asked = asyncio.Event()
        self._children: list[ChildService] = []
        self._keeper = Keeper(console)

    async def run(self) -> None:
        """Start everything, say where it is, and return when it was stopped.

        Raises:
            DevError: something could not be started; whatever was started is stopped by then.
        """
        self._listen_to_signals()
        state = state_directory(self._options.checkout)
        # The lock first: who starts a second one here by mistake is not to be sent looking for another port.
        with only_one(state):
            port = free_port(self._settings.host, self._settings.port)
            async with AsyncExitStack() as stack:
                try:
                    await self._serve(stack, state, port)
                finally:
                    await self._keeper.stop()
        self._console.say("taskloom", "stopped")

    async def _serve(self, stack: AsyncExitStack, state: Path, port: int) -> None:
        if await self._unless_stopped(self._start_all(stack, state, port)):
            self._console.welcome(self._settings.host, port)
            await self._stop_asked.wait()
        self._console.say("taskloom", "stopping: worker, server, databases")

    async def _start_all(self, stack: AsyncExitStack, state: Path, port: int) -> None:
        self._console.say("environment", f"Python {sys.version.split()[0]}, data in {state}")
        database_url = await self._url(stack, "DATABASE_URL", EmbeddedPostgres(state / "postgres", durable=True))
        redis_url = await self._url(stack, "REDIS_URL", EmbeddedValkey(state / "valkey", durable=True))
        await self._migrate(database_url)
        environment = self._environment(database_url, redis_url, port)
        await self._start(stack, self._child("graphiql", self._options.graphiql, environment, GRAPHIQL_STOP_SECONDS))
        server = self._child("server", self._options.server, environment, SERVER_STOP_SECONDS)
        worker_seconds = self._settings.drain_seconds + WORKER_STOP_EXTRA_SECONDS
        worker = self._child("worker", self._options.worker, environment, worker_seconds)
        await self._start(stack, server)
        self._console.say("server", f"process {server.pid}, port {port}")
        await self._start(stack, worker)
        self._console.say("worker", f"process {worker.pid}")
        await self._until_server_answers(server, port)
        self._keeper.keep(server)
        self._keeper.keep(worker)

    async def _url(self, stack: AsyncExitStack, setting: str, server: EmbeddedServer) -> str:
        """The URL that is set, or else that of a server of our own, started and kept running."""
        if given := os.environ.get(setting):
            self._console.say(server.name, f"not started, for {setting} is set")
            return given
        await self._start(stack, server)
        self._keeper.keep(server)
        self._console.say(server.name, f"process {server.pid}, {server.url}")
        return server.url

    async def _migrate(self, database_url: str) -> None:
        try:
            version = await self._options.migrate(database_url)
        except Exception as error:
            raise DevError(f"The migrations failed: {error}") from error
        self._console.say("migrations", f"the database is at version {version}")

    def _environment(self, database_url: str, redis_url: str, port: int) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TASKLOOM_HOST": self._settings.host,
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }

    def _child(self, name: str, command: tuple[str, ...], environment: dict[str, str], seconds: float) -> ChildService:
        child = ChildService(name, command, environment=environment, say=self._console.say, stop_seconds=seconds)
        self._children.append(child)
        return child

    async def _start(self, stack: AsyncExitStack, service: Service) -> None:
        # Pushed first: a start that is broken off may have left a process to stop.
        stack.push_async_callback(service.stop)
        await service.start()

    async def _until_server_answers(self, server: Service, port: int) -> None:
        healthy = asyncio.create_task(until_healthy(self._settings.host, port, SERVER_START_SECONDS))
        ended = asyncio.create_task(server.wait())
        await asyncio.wait((healthy, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not healthy.done():
            healthy.cancel()
            raise DevError("The server ended before it answered: its lines above say why.")
        healthy.result()
        self._console.say("server", "answers on /healthz")

    async def _unless_stopped(self, starting: Coroutine[object, object, None]) -> bool:
        """Run the coroutine to its end and return True, or break it off and return False when a stop is asked."""
        work = asyncio.create_task(starting)
        stop = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            work.result()
            return True
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return False

    def _listen_to_signals(self) -> None:
        asked = [signal.SIGINT, signal.SIGTERM]
        # Under nohup the hang-up is ignored, and stays so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asked.append(signal.SIGHUP)
        for ask in asked:
            asyncio.get_running_loop().add_signal_handler(ask, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop_asked.is_set():
            for child in self._children:
                child.kill()
        self._stop_asked.set()
