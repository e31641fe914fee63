"""What tests of running tasks share: a worker in this process, and waiting for a condition with a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from app import TaskService
from app.db import plain_url
from app.dev.valkey import EmbeddedValkey
from app.models import Batch, TaskRun
from app.registry import Registry, registry
from app.settings import Settings
from app.states import TaskRunStatus
from workers.engine import Engine
from workers.worker import TaskloomWorker

Value = TypeVar("Value")
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def working(settings: Settings, registry: Registry = registry, **changes: Any) -> AsyncIterator[TaskloomWorker]:
    """A worker on this event loop, ready when the block begins, drained and gone when it ends."""
    worker = TaskloomWorker(Engine(settings.model_copy(update={"drain_seconds": 0.0, **changes}), registry))
    running = asyncio.create_task(worker.async_run())
    await until(lambda: worker.engine.keeper.is_held or running.done())
    try:
        yield worker
    finally:
        worker.drain()
        await running
        await worker.close()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Any]:
    """A connection to the database beside those of Taskloom."""
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    try:
        yield connection
    finally:
        await connection.close()


async def until(condition: Callable[[], Value | Awaitable[Value]], patience: float = PATIENCE_SECONDS) -> Value:
    """The condition's value as soon as it is true; fails when it is not within ``patience`` seconds."""
    async with asyncio.timeout(patience):
        while True:
            value: Any = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.005)


async def until_status(tasks: TaskService, run_id: UUID, *statuses: TaskRunStatus) -> TaskRun:
    """The run, as soon as it stands in one of the statuses."""

    async def reached() -> TaskRun | None:
        run = await tasks.get(run_id)
        return run if run.status in statuses else None

    run = await until(reached)
    assert run is not None
    return run


async def completed(tasks: TaskService, batch: Batch) -> Batch:
    """The batch, once what follows it was triggered or refused."""

    async def is_completed() -> Batch | None:
        found = await tasks.batches.get(batch.id)
        return found if found.completed_at else None

    found = await until(is_completed)
    assert found is not None
    return found


async def lines(tasks: TaskService, run_id: UUID) -> list[str]:
    """The messages of a run's log, in order."""
    return [line.message async for line in tasks.logs(run_id)]


@contextmanager
def hanging(valkey: EmbeddedValkey) -> Iterator[None]:
    """A Valkey that takes connections and commands, and answers none before the block ends."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


@asynccontextmanager
async def no_heartbeat(settings: Settings, pid: int) -> AsyncIterator[None]:
    """The heartbeats of a worker have to wait."""
    async with connected(settings) as connection, connection.transaction():
        assert await connection.fetch("SELECT FROM workers WHERE pid = $1 FOR UPDATE", pid)
        yield
