"""A service and, where a test asks for it, a worker on this event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app import TaskService
from app.settings import Settings
from tests.workbench import working
from tests.workers import definitions
from workers.worker import TaskloomWorker

assert definitions


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    """The service on the test's servers."""
    async with TaskService.connect(settings=settings) as service:
        yield service


@pytest.fixture
async def worker(settings: Settings, tasks: TaskService) -> AsyncIterator[TaskloomWorker]:
    """A worker that executes what the tests trigger."""
    async with working(settings) as worker:
        yield worker
