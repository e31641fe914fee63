"""Where the benchmark runs: durable servers in a temporary folder, and processes as an operator starts them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

import app.migrations
from app import TaskService
from app.db import Database, plain_url
from app.definitions import publish
from app.dev.account import server_account
from app.dev.http_probe import free_port
from app.dev.places import temporary_root
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.registry import registry
from app.settings import SHIPPED_TASKS, Settings
from tests.bench.http_client import request

ROOT = Path(__file__).parents[2]
CONCURRENCY = 1000
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True)
class Process:
    """A process of Taskloom's."""

    pid: int
    port: int = 0

    def memory(self) -> float:
        """Its resident memory in MB."""
        kilobytes = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True).stdout
        return int(kilobytes) / 1024


@dataclass(frozen=True)
class Servers:
    """The servers, and the folder that they are in."""

    home: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey


class Bed:
    """The servers with a database that has all tables, a service on them, and a connection for looking."""

    def __init__(self, servers: Servers, settings: Settings, tasks: TaskService, look: Any) -> None:
        self.servers = servers
        self.settings = settings
        self.tasks = tasks
        self.look = look

    @property
    def home(self) -> Path:
        """The temporary folder."""
        return self.servers.home

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the servers, by the names that reports give them."""
        postgres, valkey = self.servers.postgres.pid, self.servers.valkey.pid
        assert postgres is not None
        assert valkey is not None
        return {"PostgreSQL": postgres, "Valkey": valkey}

    async def clear(self) -> None:
        """Empty the tables of runs and the queues, and have all pages written before the next measurement."""
        await self.look.execute("TRUNCATE task_runs, task_iterations, task_logs CASCADE")
        # A measurement without a worker leaves its rings, and the next worker would take time to throw them away.
        async with Redis.from_url(self.settings.redis_url) as redis:
            await redis.flushdb()
        await self.look.execute("CHECKPOINT")

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Process]:
        """A worker process that has its lease; drained and gone at the end."""
        async with self._process("worker", "--concurrency", str(CONCURRENCY)) as process:

            async def has_lease() -> bool:
                return any(row.pid == process.pid for row in await self.tasks.workers())

            await until(has_lease)
            yield Process(process.pid)

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[Process]:
        """A server process that is ready; stopped at the end."""
        port = free_port("127.0.0.1", 0)
        async with self._process("serve", PORT=str(port)) as process:

            async def is_ready() -> bool:
                try:
                    return b'"ready"' in await request(port, "GET", "/readyz")
                except OSError:
                    return False

            await until(is_ready)
            yield Process(process.pid, port)

    @asynccontextmanager
    async def _process(self, *command: str, **variables: str) -> AsyncGenerator[asyncio.subprocess.Process]:
        environment = {**os.environ, "TASKLOOM_TASKS": "tests.bench.definitions", "PYTHONPATH": str(ROOT)}
        environment |= {"DATABASE_URL": self.settings.database_url, "REDIS_URL": self.settings.redis_url, **variables}
        with (self.home / "processes.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.cli", *command, env=environment, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def until(condition: Callable[[], Awaitable[bool]], every: float = 0.02) -> None:
    """Return once the condition holds; fails when that takes longer than ``PATIENCE_SECONDS``."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 (what is waited for is in another process)
            await asyncio.sleep(every)


@asynccontextmanager
async def made() -> AsyncGenerator[Bed]:
    """A bed in a temporary folder; everything is stopped and removed at the end."""
    home = _folder()
    servers = Servers(
        home, EmbeddedPostgres(home / "postgres", durable=True), EmbeddedValkey(home / "valkey", durable=True)
    )
    try:
        await servers.postgres.start()
        await servers.valkey.start()
        async with _on(servers, servers.postgres.url, servers.valkey.url) as bed:
            yield bed
    finally:
        await servers.valkey.stop()
        await servers.postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def beside(bed: Bed, name: str) -> AsyncGenerator[Bed]:
    """Another bed on the same servers, with a database of this name and queues of its own; gone at the end."""
    await bed.look.execute(f'CREATE DATABASE "{name}"')
    try:
        async with _on(bed.servers, bed.servers.postgres.url_of(name), f"{bed.servers.valkey.url}?db=1") as other:
            yield other
    finally:
        await bed.look.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def _on(servers: Servers, database_url: str, redis_url: str) -> AsyncGenerator[Bed]:
    await app.migrations.upgrade(database_url)
    settings = Settings(database_url=database_url, redis_url=redis_url, log_level="WARNING")
    await publish_definitions(settings)
    look = await asyncpg.connect(plain_url(database_url))
    async with TaskService.connect(settings=settings) as tasks:
        yield Bed(servers, settings, tasks, look)
    await look.close()


async def publish_definitions(settings: Settings) -> None:
    """What is triggered must be known, also where no worker has been started yet."""
    registry.load((SHIPPED_TASKS, "tests.bench.definitions"))
    db = Database(settings.database_url)
    await publish(db, registry)
    await db.close()


def _folder() -> Path:
    root = temporary_root(server_account(Path("/nonexistent")))
    home = Path(tempfile.mkdtemp(prefix="taskloom-bench-", dir=root))
    # Root hands the servers to another user, who must get through to the private directories inside.
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return home
