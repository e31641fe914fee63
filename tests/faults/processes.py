"""Processes of their own for tests: workers that are killed, and whoever triggers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from tests.forked import Forked, forked
from tests.workbench import until

ROOT = Path(__file__).parents[2]
QUICK = {
    "TASKLOOM_TASKS": "tests.faults.definitions",
    "TASKLOOM_LEASE_SECONDS": "1.5",
    "TASKLOOM_HEARTBEAT_SECONDS": "0.4",
    "TASKLOOM_REAP_SECONDS": "0.3",
    "TASKLOOM_DISPATCH_SECONDS": "0.2",
    "TASKLOOM_DRAIN_SECONDS": "5",
}
"""Settings of these workers: a lease that is over soon, so that a test need not wait half a minute."""
AS_SHIPPED = {
    name: str(Settings.model_fields[name.removeprefix("TASKLOOM_").lower()].default)
    for name in QUICK.keys() - {"TASKLOOM_TASKS"}
}
"""The same settings with their defaults, for tests that take their time."""
Process = asyncio.subprocess.Process | Forked
OURS = (sys.executable, "-m", "workers")
"""A worker from the very beginning, for tests of that; others are forked loaded."""
STOCK = (sys.executable, "-m", "arq", "workers.main.WorkerSettings")


class WorkerProcess:
    """One worker in a process of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self, patience: float = 60.0) -> int:
        """The exit code, once the process has ended."""
        await until(lambda: self._process.returncode is not None, patience)
        assert self._process.returncode is not None
        return self._process.returncode

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        await self.ended()


@asynccontextmanager
async def two_workers(settings: Settings, **changes: str) -> AsyncIterator[tuple[WorkerProcess, WorkerProcess]]:
    """Two worker processes, started side by side."""
    async with AsyncExitStack() as stack:
        first, second = await asyncio.gather(
            *(stack.enter_async_context(worker_process(settings, **changes)) for _ in range(2))
        )
        yield first, second


def holder(run: TaskRun, workers: tuple[WorkerProcess, WorkerProcess]) -> WorkerProcess:
    """The one of two workers that holds a run."""
    return next(worker for worker in workers if run.worker and run.worker.endswith(f":{worker.pid}"))


async def started(settings: Settings, command: tuple[str, ...], **changes: str) -> asyncio.subprocess.Process:
    """A worker process, begun a moment ago."""
    return await asyncio.create_subprocess_exec(*command, env=environment(settings, **changes), cwd=ROOT)


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """What a process of its own finds its servers and the definitions by."""
    servers = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return {**os.environ, **QUICK, **changes, **servers, "PYTHONPATH": str(ROOT)}


def shifted(seconds: int, *module: str) -> tuple[str, ...]:
    """The command of a module in a process whose clock is wrong by so many seconds."""
    return (sys.executable, "-m", "tests.faults.shifted", str(seconds), *module)


@asynccontextmanager
async def said_elsewhere(settings: Settings, seconds: int, *module: str) -> AsyncIterator[asyncio.StreamReader]:
    """What a process prints whose clock is wrong by so many seconds, and which is killed when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *shifted(seconds, *module), env=environment(settings), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def triggered_elsewhere(settings: Settings, seconds: int = 0, **options: Any) -> AsyncIterator[UUID]:
    """A run of a process whose clock is wrong by so many seconds, and which is killed when the block ends."""
    async with said_elsewhere(settings, seconds, "tests.faults.trigger_and_stay", json.dumps(options)) as said:
        async with asyncio.timeout(20):
            run_id = UUID((await said.readline()).decode().strip())
        yield run_id


@asynccontextmanager
async def worker_process(
    settings: Settings, *, command: tuple[str, ...] | None = None, **changes: str
) -> AsyncIterator[WorkerProcess]:
    """A worker process; it has its lease when the block begins, and is killed when it ends."""
    if command:
        process: Process = await started(settings, command, **changes)
    else:
        process = await forked("workers", environment=environment(settings, **changes), cwd=ROOT)
    worker = WorkerProcess(process)
    try:
        async with TaskService.connect(settings=settings) as tasks:

            async def has_lease() -> bool:
                assert process.returncode is None, "the worker ended at its start"
                return any(row.pid == process.pid for row in await tasks.workers())

            await until(has_lease, 40)
        yield worker
    finally:
        worker.send(signal.SIGCONT)
        await worker.kill()
