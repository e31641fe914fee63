"""A service with the shipped definitions and some of its own; a worker only where a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from app import TaskService
from app.db import plain_url
from app.registry import registry
from app.service.bulk.starting import Starting
from app.settings import SHIPPED_TASKS, Settings
from tests.workbench import working
from tests.workers import definitions
from workers.worker import TaskloomWorker

assert definitions
registry.load([SHIPPED_TASKS])


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    """The service on the test's servers."""
    async with TaskService.connect(settings=settings) as service:
        # A busy machine may take longer than its second for what a test expects to be done at once.
        service.bulk._starting.seconds_at_once = 20.0
        yield service


@pytest.fixture
async def worker(settings: Settings, tasks: TaskService) -> AsyncIterator[TaskloomWorker]:
    """A worker that executes what the tests trigger."""
    async with working(settings, dispatch_seconds=0.05) as worker:
        yield worker


@pytest.fixture
def left_to_its_run(tasks: TaskService) -> Starting:
    """Bulk actions are only stored by the one who begins them: everything else is up to a worker, or to the test."""
    tasks.bulk._starting.seconds_at_once = 0.0
    return tasks.bulk._starting


@pytest.fixture
def db_execute(settings: Settings) -> Callable[[str], Awaitable[None]]:
    """Executes a statement, as a clock or a crash that cannot be waited for."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(plain_url(settings.database_url))
        await connection.execute(statement)
        await connection.close()

    return execute
