"""The servers and worker processes of a chaos run, and the proxies that lose replies on their way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

import app.migrations
from app.dev.account import server_account
from app.dev.lifeline import tied_to_parent
from app.dev.places import temporary_root
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.settings import Settings
from tests.chaos import history
from tests.service.lossy import Lossy

ROOT = Path(__file__).parents[2]
WORKERS = 4
MAX_INTERRUPTIONS = 5
STARTING_SECONDS = 2.5
CLOCKS = (0, 7200, 0, -7200)
"""By how many seconds the workers' wall clocks are wrong, one after the other."""
QUICK = {
    "TASKLOOM_TASKS": "tests.chaos.definitions",
    "TASKLOOM_LEASE_SECONDS": "1.5",
    "TASKLOOM_HEARTBEAT_SECONDS": "0.4",
    "TASKLOOM_REAP_SECONDS": "0.3",
    "TASKLOOM_DISPATCH_SECONDS": "0.2",
    "TASKLOOM_POLL_SECONDS": "0.5",
    "TASKLOOM_DRAIN_SECONDS": "2",
    "TASKLOOM_ABORT_GRACE_SECONDS": "2",
    "TASKLOOM_MAX_INTERRUPTIONS": str(MAX_INTERRUPTIONS),
}


class Proxy(Lossy):
    """Hangs up when the server behind it is away, or the client before it is gone."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        try:
            await super().handle(reader, writer)
        except (OSError, RuntimeError):
            # RuntimeError is what uvloop says of a connection that is closed.
            writer.close()

    async def _forward_requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        """Let the server know also of a client that was killed: else its transaction would keep its locks."""
        try:
            with contextlib.suppress(RuntimeError):
                await super()._forward_requests(reader, server, doomed)
        finally:
            server.close()


class Cluster:
    """PostgreSQL, Valkey and workers. Workers and clients each reach PostgreSQL through a proxy of their own."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.postgres = EmbeddedPostgres(home / "postgres", durable=False)
        self.valkey = EmbeddedValkey(home / "valkey", durable=False)
        self.workers: list[asyncio.subprocess.Process] = []
        self._started: dict[int, float] = {}
        self.for_workers: Proxy
        self.for_clients: Proxy
        self._environment = environment
        self._clocks = cycle(CLOCKS)

    @property
    def settings(self) -> Settings:
        """What the clients use."""
        return Settings(
            database_url=self.for_clients.url, redis_url=self.valkey.url, tasks=("tests.chaos.definitions",)
        )

    @property
    def grown_up(self) -> list[asyncio.subprocess.Process]:
        """The workers that have had the time to take runs."""
        oldest = time.monotonic() - STARTING_SECONDS
        return [worker for worker in self.workers if self._started[worker.pid] < oldest]

    async def start_worker(self) -> None:
        """One more worker."""
        environment = {**os.environ, **QUICK, **self._environment, "PYTHONPATH": str(ROOT)}
        environment |= {"DATABASE_URL": self.for_workers.url, "REDIS_URL": self.valkey.url}
        with (self.home / "workers.log").open("ab") as log:
            self.workers.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.faults.shifted", str(next(self._clocks)), "tests.chaos.worker",
                    env=environment, cwd=ROOT, stdout=log, stderr=log,
                    preexec_fn=tied_to_parent(signal.SIGKILL),
                )
            )  # fmt: skip
        self._started[self.workers[-1].pid] = time.monotonic()

    async def replace(self, worker: asyncio.subprocess.Process, ask: signal.Signals, patience: float = 20.0) -> int:
        """End a worker by a signal, by SIGKILL after ``patience`` seconds, and start another; the exit code."""
        if worker in self.workers:
            self.workers.remove(worker)
            await self.start_worker()
        return await end(worker, ask, patience)


async def end(worker: asyncio.subprocess.Process, ask: signal.Signals, patience: float = 20.0) -> int:
    """Send a signal and wait for the end; SIGKILL when that takes longer than ``patience`` seconds."""
    send(worker, ask)
    try:
        return await asyncio.wait_for(worker.wait(), patience)
    except TimeoutError:
        send(worker, signal.SIGKILL)
        return await worker.wait()


def send(worker: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal, if the process is still there."""
    if worker.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            worker.send_signal(number)


@asynccontextmanager
async def made(**environment: str) -> AsyncGenerator[Cluster]:
    """Everything started, in a temporary folder; stopped and removed in the end."""
    home = _folder()
    cluster = Cluster(home, environment)
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cluster.postgres.stop)
            stack.push_async_callback(cluster.valkey.stop)
            await cluster.postgres.start()
            await cluster.valkey.start()
            await app.migrations.upgrade(cluster.postgres.url)
            await history.install(cluster.postgres.url)
            cluster.for_workers = await stack.enter_async_context(_proxy(cluster.postgres.url))
            cluster.for_clients = await stack.enter_async_context(_proxy(cluster.postgres.url))
            stack.push_async_callback(_end_all, cluster)
            for _ in range(WORKERS):
                await cluster.start_worker()
            yield cluster
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _end_all(cluster: Cluster) -> None:
    await asyncio.gather(*(end(worker, signal.SIGKILL) for worker in cluster.workers))


@asynccontextmanager
async def _proxy(url: str) -> AsyncGenerator[Proxy]:
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.aim(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.hang_up()


def _folder() -> Path:
    root = temporary_root(server_account(Path("/nonexistent")))
    home = Path(tempfile.mkdtemp(prefix="taskloom-chaos-", dir=root))
    # Root hands the servers to another user, who must get through to the private directories inside.
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return home
